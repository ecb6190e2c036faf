//! `nke chain --way`: what it prints is what a packet meets, in the order in which it does.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
};

use nke_tests::{
    Cgroup, Deadline, Hook, INSIDE_V4, OUTSIDE_V4, Ran, World,
    steps::{self, HOOKS, PAYLOAD, PORT},
};
use serde_json::{Value, json};

/// Two programs at every hook but ip/forward.
fn attach_everywhere(world: &World, cgroup: &Cgroup) {
    for hook in HOOKS.iter().filter(|hook| **hook != "ip/forward") {
        world.attach_steps(hook, &world.scope(hook, cgroup.path()));
    }
}

/// What is printed of the interface, the namespace and the cgroup for one of the ways.
#[track_caller]
fn printed(world: &World, cgroup: &Cgroup, way: &str) -> Vec<(String, u64)> {
    let words = world.target(&["--cgroup", cgroup.path()]);
    world.printed_steps(way, &words)
}

/// Without hooks that this kind of packet does not meet.
fn met(mut steps: Vec<(String, u64)>, not: &[&str]) -> Vec<(String, u64)> {
    steps.retain(|(hook, _)| !not.contains(&hook.as_str()));
    steps
}

/// Hooks without their programs, each once.
fn hooks(steps: &[(String, u64)]) -> Vec<&str> {
    let mut hooks: Vec<_> = steps.iter().map(|(hook, _)| hook.as_str()).collect();
    hooks.dedup();
    hooks
}

fn numbers(steps: &[(String, u64)]) -> Vec<u64> {
    steps.iter().map(|(_, number)| *number).collect()
}

#[test]
fn a_datagram_goes_out_in_the_printed_order() {
    let world = World::with_addresses();
    let cgroup = Cgroup::new();
    attach_everywhere(&world, &cgroup);
    let server = world.outside.enter(|| UdpSocket::bind((OUTSIDE_V4, PORT)));
    let server = server.expect("the port is free");
    let to = SocketAddr::from((OUTSIDE_V4, PORT));
    let sent = cgroup.enter(&world.inside, || {
        let socket = UdpSocket::bind((INSIDE_V4, 5555))?;
        // Connected and told where to all the same: it meets both hooks.
        socket.connect(to)?;
        socket.send_to(&PAYLOAD, to)
    });
    assert_eq!(sent.expect("it goes out"), PAYLOAD.len());
    assert!(Deadline::generous().readable(&server));

    let printed = met(printed(&world, &cgroup, "out"), &["socket/stream-out"]);
    let expected = [
        "socket/create",
        "socket/bind4",
        "socket/post-bind4",
        "socket/connect4",
        "socket/sendmsg4",
        "ip/out",
        "ip/postrouting",
        "socket/data-out",
        "interface/out",
    ];
    assert_eq!(hooks(&printed), expected);
    assert_eq!(world.steps(), numbers(&printed));
}

#[test]
fn a_datagram_comes_in_in_the_printed_order() {
    let world = World::with_addresses();
    let cgroup = Cgroup::new();
    attach_everywhere(&world, &cgroup);
    let server = cgroup.enter(&world.inside, || UdpSocket::bind((INSIDE_V4, PORT)));
    let server = server.expect("the port is free");
    let before = world.steps().len();
    let client = world.outside.enter(|| UdpSocket::bind((OUTSIDE_V4, 0)));
    let client = client.expect("any port is free");
    client
        .send_to(&PAYLOAD, (INSIDE_V4, PORT))
        .expect("it goes out");
    assert!(Deadline::generous().readable(&server));
    let mut buffer = [0; 512];
    let (length, _) = server.recv_from(&mut buffer).expect("it is there");
    assert_eq!(length, PAYLOAD.len());

    let printed = met(printed(&world, &cgroup, "in"), &["socket/stream-in"]);
    let expected = [
        "interface/xdp",
        "interface/in",
        "ip/prerouting",
        "ip/in",
        "socket/lookup",
        "socket/data-in",
        "socket/recvmsg4",
    ];
    assert_eq!(hooks(&printed), expected);
    assert_eq!(world.steps()[before..], numbers(&printed));
}

#[test]
fn bytes_of_a_connection_meet_the_hooks_in_the_printed_order() {
    let world = World::with_addresses();
    let cgroup = Cgroup::new();
    attach_everywhere(&world, &cgroup);
    let server = world
        .outside
        .enter(|| TcpListener::bind((OUTSIDE_V4, PORT)));
    let server = server.expect("the port is free");
    let near = cgroup.enter(&world.inside, || TcpStream::connect((OUTSIDE_V4, PORT)));
    let mut near = near.expect("it is listened to");
    let (mut far, _) = server.accept().expect("one has connected");
    let mut buffer = [0; PAYLOAD.len()];
    let before = world.steps().len();
    near.write_all(&PAYLOAD).expect("it goes out");
    far.read_exact(&mut buffer).expect("it arrives");
    let between = world.steps().len();
    far.write_all(&PAYLOAD).expect("it goes out");
    near.read_exact(&mut buffer).expect("it arrives");

    let calls = [
        "socket/create",
        "socket/bind4",
        "socket/post-bind4",
        "socket/connect4",
        "socket/sendmsg4",
    ];
    let out = met(printed(&world, &cgroup, "out"), &calls);
    let ways = [
        "socket/stream-out",
        "ip/out",
        "ip/postrouting",
        "socket/data-out",
        "interface/out",
    ];
    assert_eq!(hooks(&out), ways);
    assert_eq!(world.steps()[before..between], numbers(&out));
    let in_ = met(
        printed(&world, &cgroup, "in"),
        &["socket/lookup", "socket/recvmsg4"],
    );
    let ways = [
        "interface/xdp",
        "interface/in",
        "ip/prerouting",
        "ip/in",
        "socket/data-in",
        "socket/stream-in",
    ];
    assert_eq!(hooks(&in_), ways);
    assert_eq!(world.steps()[between..], numbers(&in_));
}

/// Attaches one program of steps.c at socket/create of a cgroup.
fn attach_create(world: &World, cgroup: &Cgroup, program: &str) {
    let object = steps::object();
    let fixed = ["attach", &object, "--hook", "socket/create"];
    let words = ["--program", program, "--cgroup", cgroup.path()];
    world.nke(&[fixed, words].concat()).ok();
}

#[test]
fn cgroups_above_come_behind() {
    let world = World::with_addresses();
    let above = Cgroup::new();
    let cgroup = above.child();
    // The upper one first, to see that it is not the order of attachment.
    attach_create(&world, &above, "step_22");
    attach_create(&world, &cgroup, "step_23");
    let bound = cgroup.enter(&world.inside, || UdpSocket::bind((INSIDE_V4, 0)));
    drop(bound.expect("any port is free"));
    let printed = printed(&world, &cgroup, "out");
    assert_eq!(world.steps(), [23, 22]);
    assert_eq!(numbers(&printed), [23, 22]);
    // From above, what is below is not on the way.
    assert_eq!(numbers(&self::printed(&world, &above, "out")), [22]);

    let words = world.target(&["chain", "--way", "--cgroup", cgroup.path()]);
    let text = world.nke(&words).ok().stdout;
    let at = |what: &str| text.find(what).unwrap_or_else(|| nke_tests::fail(&text));
    assert!(at("socket/create") < at("socket/bind"), "{text}");
    let words = [&words[..], &["--hook", "socket/create", "--json"]].concat();
    let found: Value = world.nke(&words).json();
    let chains = &found["ways"][2]["hooks"][0]["chains"];
    let places = [cgroup.path(), above.path()].map(Value::from);
    assert_eq!(
        [&chains[0]["cgroup"], &chains[1]["cgroup"]],
        places.each_ref()
    );
    assert_eq!(
        [&chains[0]["foreign"], &chains[1]["foreign"]],
        [&json!([]); 2]
    );
}

#[test]
fn every_hook_is_shown_in_80_columns() {
    let world = World::new();
    world.attach(Hook::Xdp, "counter", &[]);
    let netns = ["--netns", world.inside.name()];
    let words = [&["chain", "--way"], &netns[..]].concat();
    let found: Value = world.nke(&[&words[..], &["--json"]].concat()).json();
    let ways = found["ways"].as_array().expect("it is one");
    let names: Vec<_> = ways.iter().map(|way| &way["way"]).collect();
    assert_eq!(names, ["in", "forward", "out", "call"]);
    let text = world.seen(&words);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let mut rest = text.as_str();
    for at in ways
        .iter()
        .filter_map(|way| way["hooks"].as_array())
        .flatten()
    {
        let hook = at["hook"].as_str().expect("it is one");
        let family = hook.trim_end_matches(['4', '6']).trim_end_matches("-unix");
        let found = rest.find(family).unwrap_or_else(|| nke_tests::fail(&text));
        // Of a family there is one line.
        rest = &rest[found..];
        // Others may have programs on the test's own cgroup.
        let chains = at["chains"].as_array().into_iter().flatten();
        let nodes = chains.filter_map(|chain| chain["nodes"].as_array());
        let nodes = nodes.flatten().count();
        assert_eq!(nodes, usize::from(hook == "interface/xdp"), "{hook}");
    }
    // What is not there is one line.
    for (word, name) in [
        ("--cgroup", "/nowhere"),
        ("--netns", "nowhere"),
        ("-i", "nowhere0"),
    ] {
        let error = world.nke(&["chain", "--way", word, name]).fails_somehow().1;
        assert!(
            error.contains("nowhere") && error.lines().count() == 1,
            "{error}"
        );
    }
    world.nke(&["detach", "counter"]).ok();
    assert!(!world.is_mounted());
}

/// Runs nft inside; what it says.
fn nft(world: &World, words: &[&str]) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", world.inside.name(), "nft"]);
    Ran::of(command.args(words)).ok().stdout
}

/// What is at a hook of the ways: nke's nodes and others, as they are printed.
#[track_caller]
fn shown(world: &World, hook: &str) -> Vec<String> {
    let words = world.target(&["chain", "--way", "--hook", hook]);
    let text = world.nke(&words).ok().stdout;
    let words = world.target(&["chain", "--way", "--json", "--hook", hook]);
    let found: Value = world.nke(&words).json();
    let ways = found["ways"].as_array().into_iter().flatten();
    let hooks = ways.filter_map(|way| way["hooks"].as_array()).flatten();
    let chain = hooks
        .map(|at| &at["chains"][0])
        .next()
        .expect("one was asked for");
    let foreign = |before: bool| {
        let others = chain["foreign"].as_array().into_iter().flatten();
        let others = others.filter(move |other| other["before"] == before);
        others.map(|other| {
            assert_eq!(
                (&other["how"], &other["program_id"]),
                (&json!("nftables"), &Value::Null)
            );
            let name = other["name"].as_str().expect("it has one");
            format!("{name} {}", other["priority"])
        })
    };
    let nodes = chain["nodes"].as_array().into_iter().flatten();
    let nodes = nodes.map(|node| node["extension"].as_str().unwrap_or_default().to_owned());
    let shown: Vec<_> = foreign(true).chain(nodes).chain(foreign(false)).collect();
    // The table has them in the same order: by their last words, since it breaks lines.
    let last = |one: &String| match one.split(' ').collect::<Vec<_>>()[..] {
        [_, _, chain, _] => chain.to_owned(),
        _ => one.clone(),
    };
    let places: Vec<_> = shown.iter().map(|one| text.find(&last(one))).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{text}");
    shown
}

#[test]
fn chains_of_nftables_are_shown_in_their_places() {
    let world = World::with_addresses();
    let netns = ["--netns", world.inside.name()];
    world
        .nke(&[&["attach", "counter", "--hook", "ip/out"], &netns[..]].concat())
        .ok();
    nft(&world, &[include_str!("way.nft")]);
    let expected = [
        "inet t ahead -150",
        "counter",
        "ip6 six sixth 5",
        "inet t newer 10",
        "inet t behind 10",
    ];
    assert_eq!(shown(&world, "ip/out"), expected);
    assert_eq!(shown(&world, "ip/in"), ["inet t elsewhere 10"]);

    // Of the two with one priority the newer is first: it drops what the other does not see.
    let sent = world
        .inside
        .enter(|| UdpSocket::bind((INSIDE_V4, 0))?.send_to(b"x", (OUTSIDE_V4, 50)));
    assert_eq!(
        sent.expect_err("dropped").kind(),
        ErrorKind::PermissionDenied
    );
    let listed = nft(&world, &["list", "chain", "inet", "t", "behind"]);
    assert!(listed.contains("counter packets 0 "), "{listed}");

    // Next to an interface, traffic control is nearer to the wire.
    assert_eq!(shown(&world, "interface/in"), ["netdev n received 0"]);
    for hook in [Hook::In, Hook::Out] {
        world.attach(hook, "counter", &[]);
    }
    assert_eq!(
        shown(&world, "interface/in"),
        ["counter", "netdev n received 0"]
    );
    assert_eq!(
        shown(&world, "interface/out"),
        ["netdev n sent 0", "counter"]
    );
    let text = world.on(&["chain", "--hook", "interface/in"]).ok().stdout;
    assert!(
        text.ends_with("    nftables chain netdev n received, priority 0, not nke's\n"),
        "{text}"
    );
}
