//! `keep state`: the answers of an allowed flow come in, and nothing else does.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nke_tests::{
    Deadline, Hook, INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, World,
    frame::{Frame, Ip},
};
use serde_json::Value;

/// Long enough for whatever is to come, and waited for only where something went wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts rules in the place of all.
#[track_caller]
fn load(world: &World, at: &[&str], rules: &str) {
    let file = world.directory().join("rules");
    fs::write(&file, rules).expect("the directory is ours");
    let file = file.display().to_string();
    let words = [&["filter", "load", "--force", &file], at].concat();
    world.nke(&words).ok();
}

fn at(world: &World, hook: Hook, rules: &str) {
    let words = world.target(&["--hook", hook.name()]);
    load(world, &words, rules);
}

/// The table of flows, which there is one of.
#[track_caller]
fn states(world: &World) -> Value {
    let all: Value = world.nke(&["filter", "states", "--json"]).json();
    assert_eq!(all["states"].as_array().map(Vec::len), Some(1), "{all}");
    all["states"][0].clone()
}

#[track_caller]
fn phases(world: &World) -> Vec<String> {
    let states = states(world);
    let flows = states["flows"].as_array().expect("a list").iter();
    flows
        .map(|flow| flow["state"].as_str().expect("a word").to_owned())
        .collect()
}

/// A connection from one namespace to a server in the other.
struct Talk {
    client: TcpStream,
    server: TcpStream,
}

impl Talk {
    fn open(world: &World, outwards: bool, address: SocketAddr) -> Self {
        let (from, to) = if outwards {
            (&world.inside, &world.outside)
        } else {
            (&world.outside, &world.inside)
        };
        let listener = to.enter(|| TcpListener::bind(address)).expect("free");
        let client = from.enter(|| TcpStream::connect_timeout(&address, PATIENCE));
        let client = client.expect("the connection is let through");
        let (server, _) = listener.accept().expect("the connection is there");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("can be set");
        }
        let mut talk = Self { client, server };
        talk.exchange();
        talk
    }

    /// A word there and one back.
    fn exchange(&mut self) {
        let mut word = [0; 8];
        self.client.write_all(b"question").expect("sent");
        self.server.read_exact(&mut word).expect("it comes");
        self.server.write_all(b"answered").expect("sent");
        self.client.read_exact(&mut word).expect("it comes back");
    }
}

/// Asks by UDP from the inside; strangers outside then send to the same port.
fn ask(world: &World, inside: IpAddr, outside: IpAddr) {
    let bind = |address: IpAddr| UdpSocket::bind(SocketAddr::new(address, 0)).expect("free");
    let client = world.inside.enter(|| bind(inside));
    let (server, stranger) = world.outside.enter(|| (bind(outside), bind(outside)));
    let to = server.local_addr().expect("bound");
    let from = client.local_addr().expect("bound");
    client.send_to(b"question", to).expect("it goes out");
    assert!(Deadline::generous().readable(&server), "the question comes");
    // The wire keeps order: what has not come when the answer has was dropped.
    stranger.send_to(b"stranger", from).expect("sent");
    server.send_to(b"answer", from).expect("sent");
    assert!(Deadline::generous().readable(&client), "the answer comes");
    let mut word = [0; 16];
    let (length, _) = client.recv_from(&mut word).expect("it is there");
    assert_eq!(&word[..length], b"answer");
    assert!(!Deadline::after(Duration::ZERO).readable(&client));
}

const CLOSED: &str = "default drop\n";
const OPEN_OUTWARDS: &str = "default drop\npass out keep state\n";

#[track_caller]
fn a_client_behind_closed_doors(world: &World) {
    let ends: [(IpAddr, IpAddr); 2] = [
        (INSIDE_V4.into(), OUTSIDE_V4.into()),
        (INSIDE_V6.into(), OUTSIDE_V6.into()),
    ];
    for (inside, outside) in ends {
        drop(Talk::open(world, true, SocketAddr::new(outside, 4711)));
        ask(world, inside, outside);
        let listener = world
            .inside
            .enter(|| TcpListener::bind(SocketAddr::new(inside, 4712)))
            .expect("free");
        let stranger = world.outside.enter(|| {
            let to = listener.local_addr().expect("bound");
            TcpStream::connect_timeout(&to, Duration::from_millis(300))
        });
        assert!(stranger.is_err(), "a stranger's connection is dropped");
    }
    let states = states(world);
    assert!(states["made"].as_u64() >= Some(4), "{states}");
    assert_eq!(states["refused"], 0);
}

#[test]
fn answers_come_in_at_xdp() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    at(&world, Hook::Xdp, CLOSED);
    at(&world, Hook::Out, OPEN_OUTWARDS);
    a_client_behind_closed_doors(&world);
    let rules: Value = world.at(Hook::Out, &["filter", "list", "--json"]).json();
    let passed = rules["filters"][0]["rules"][0]["packets"].as_u64();
    assert!(passed > Some(4), "a flow counts for its rule: {rules}");
    let rules: Value = world.at(Hook::Xdp, &["filter", "list", "--json"]).json();
    let known = rules["filters"][0]["known_hits"]["packets"].as_u64();
    assert!(known > Some(4), "elsewhere by itself: {rules}");
}

#[test]
fn answers_come_in_at_traffic_control() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    at(&world, Hook::In, CLOSED);
    at(&world, Hook::Out, OPEN_OUTWARDS);
    a_client_behind_closed_doors(&world);
}

#[test]
fn answers_come_in_at_the_ip_layer() {
    let world = World::with_addresses();
    for (hook, rules) in [("ip/in", CLOSED), ("ip/out", OPEN_OUTWARDS)] {
        let place = ["--netns", world.inside.name(), "--hook", hook];
        world
            .nke(&[&["attach", "packet-filter"], &place[..]].concat())
            .ok();
        load(&world, &place, rules);
    }
    a_client_behind_closed_doors(&world);
}

#[test]
fn flows_outlive_edits_of_rules() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    at(&world, Hook::Xdp, CLOSED);
    let others = (1..=6).map(|port| format!("pass out proto udp to any port {port}\n"));
    let rules = format!("{OPEN_OUTWARDS}{}", others.collect::<String>());
    at(&world, Hook::Out, &rules);
    let mut talk = Talk::open(&world, true, (OUTSIDE_V4, 4711).into());
    let listed = || -> (Option<u64>, Option<u64>) {
        let all: Value = world.at(Hook::Out, &["filter", "list", "--json"]).json();
        let filter = &all["filters"][0];
        let rules = filter["rules"].as_array().expect("a list").iter();
        let keeps = |rule: &&Value| rule["rule"] == "pass out keep state";
        let packets = rules.clone().find(keeps).map(|rule| &rule["packets"]);
        (
            packets.and_then(Value::as_u64),
            filter["known_hits"]["packets"].as_u64(),
        )
    };
    let (before, known) = listed();
    assert_eq!(known, Some(0));

    // In place: the rule is the same, and counts on.
    let add = [
        "filter",
        "add",
        "--at",
        "1",
        "pass out proto udp to any port 7",
    ];
    world.at(Hook::Out, &add).ok();
    talk.exchange();
    let (behind, known) = listed();
    assert!(behind > before, "{before:?} {behind:?}");
    assert_eq!(known, Some(0));
    let flow = &states(&world)["flows"][0];
    assert_eq!(
        (&flow["rule"], &flow["rule_hook"]),
        (&2.into(), &"interface/out".into())
    );

    // Other rules, none of which would pass it.
    at(&world, Hook::Out, CLOSED);
    talk.exchange();
    assert!(listed().1 > Some(0), "{:?}", listed());
    assert_eq!(states(&world)["flows"][0]["rule"], Value::Null);
}

/// A world where a server inside may be asked, and nothing else goes on.
fn server() -> World {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    let rules = "default drop\npass in proto tcp to any port 80 keep state\n";
    at(&world, Hook::Xdp, rules);
    at(&world, Hook::Out, CLOSED);
    world
}

#[test]
fn a_connection_opens_and_closes() {
    let world = server();
    let talk = Talk::open(&world, false, (INSIDE_V4, 80).into());
    assert_eq!(phases(&world), ["settled"]);
    let Talk { client, mut server } = talk;
    client.shutdown(std::net::Shutdown::Write).expect("open");
    server.read_to_end(&mut Vec::new()).expect("it ends");
    assert_eq!(phases(&world), ["closing"]);
    drop(server);
    let closed = || phases(&world) == ["closed"];
    assert!(Deadline::generous().until(closed), "{}", states(&world));
    let flow = &states(&world)["flows"][0];
    assert!(flow["expires"].as_u64() <= Some(45), "{flow}");
    assert_eq!(
        (&flow["direction"], &flow["to_port"]),
        (&"in".into(), &80.into())
    );
}

#[test]
fn a_flood_takes_no_room_from_who_is_there() {
    let world = server();
    world.on(&["filter", "states", "--limit", "16"]).ok();
    let mut talk = Talk::open(&world, false, (INSIDE_V4, 80).into());
    let (tap, ip) = (world.tap_outside(), Ip::new("10.1.0.9", "10.1.0.2"));
    for port in 1000..1200 {
        tap.send(&Frame::from_outside().ip(&ip.tcp(port, 80, 2)));
    }
    let all = || states(&world)["made"].as_u64() >= Some(201);
    assert!(Deadline::generous().until(all), "{}", states(&world));
    talk.exchange();
    let states = states(&world);
    assert_eq!(
        (&states["limit"], &states["refused"]),
        (&16.into(), &0.into())
    );
    assert_eq!(states["evicted"], 201 - 16, "{states}");
    assert_eq!(
        phases(&world).iter().filter(|it| *it == "settled").count(),
        1
    );

    world.on(&["filter", "states", "--flush"]).ok();
    assert!(phases(&world).is_empty());
    let table = world.on(&["filter", "states"]).ok().stdout;
    assert!(table.contains("0 flows of 16"), "{table}");
}

/// What a hook says of a packet.
fn passes(world: &World, hook: Hook, packet: &[u8]) -> bool {
    let answer = world.run(hook, packet).expect("a chain").answer;
    // XDP_DROP, TC_ACT_SHOT
    !matches!((hook, answer), (Hook::Xdp, 1) | (Hook::In | Hook::Out, 2))
}

/// A message of ICMP between two addresses.
fn message(ip: &Ip, kind: u8, rest: &[u8]) -> Vec<u8> {
    let protocol = if ip.source.is_ipv4() { 1 } else { 58 };
    ip.packet(protocol, &[&[kind, 0, 0, 0], rest].concat())
}

#[test]
fn echoes_and_errors_are_of_the_flow_that_they_are_about() {
    for (near, far, ask, answer, error) in [
        ("10.1.0.2", "10.1.0.1", 8, 0, 3),
        ("fd01::2", "fd01::1", 128, 129, 1),
    ] {
        let world = World::new();
        world.attach(Hook::In, "packet-filter", &[]);
        world.attach(Hook::Out, "packet-filter", &[]);
        at(&world, Hook::In, CLOSED);
        at(&world, Hook::Out, OPEN_OUTWARDS);
        let (out, back) = (Ip::new(near, far), Ip::new(far, near));
        let go = |hook: Hook, packet: &[u8]| {
            let frame = match hook {
                Hook::Out => Frame::from_inside(),
                Hook::In | Hook::Xdp => Frame::from_outside(),
            };
            passes(&world, hook, &frame.ip(packet))
        };
        let echo = [0, 7, 0, 1];
        assert!(!go(Hook::In, &message(&back, answer, &echo)), "not asked");
        assert!(go(Hook::Out, &message(&out, ask, &echo)));
        assert!(go(Hook::In, &message(&back, answer, &echo)));
        assert!(
            !go(Hook::In, &message(&back, answer, &[0, 8, 0, 1])),
            "another's"
        );
        assert!(
            !go(Hook::In, &message(&back, ask, &echo)),
            "the other end asks"
        );

        let question = out.udp(4000, 53, b"question");
        let quoting = |quoted: &[u8]| message(&back, error, &[&[0; 4], quoted].concat());
        assert!(!go(Hook::In, &quoting(&question)), "nobody has sent that");
        assert!(go(Hook::Out, &question));
        assert!(go(Hook::In, &quoting(&question)));
        assert!(!go(Hook::In, &quoting(&out.udp(4001, 53, b"question"))));
        // About a packet of somebody else.
        assert!(!go(Hook::In, &quoting(&back.udp(53, 4000, b"answer"))));
        assert!(go(Hook::In, &back.udp(53, 4000, b"answer")));
        // Only a SYN makes a connection known.
        assert!(go(Hook::Out, &out.tcp(5000, 80, 0x10)));
        assert!(!go(Hook::In, &back.tcp(80, 5000, 0x10)));
    }
}

#[test]
fn rules_keep_their_words() {
    let world = World::new();
    world.attach(Hook::In, "packet-filter", &[]);
    let add = |rule: &str| world.at(Hook::In, &["filter", "add", rule]);
    let text = world.on(&["filter", "states"]).ok().stdout;
    assert!(text.contains("no rule keeps state"), "{text}");
    let error = add("drop in proto udp keep state").fails("malformed-rule");
    assert!(error.contains("only `pass` keeps state"), "{error}");
    for rule in ["pass in proto udp keep", "pass in proto udp log keep state"] {
        let error = add(rule).fails("malformed-rule");
        assert!(error.contains("expected"), "{error}");
    }
    add("pass in log proto udp to any port 53 keep state").ok();
    let list = world.on(&["filter", "list"]).ok().stdout;
    assert!(
        list.contains("pass in log proto udp to any port 53 keep state"),
        "{list}"
    );
}

/// The bundled filter as another version of itself, in a file of the test's.
fn next_version(world: &World) -> String {
    const VERSION: &[u8] = b"version = '";
    let all: Value = world.nke(&["list", "--json"]).json();
    let loaded = all["extensions"].as_array().expect("a list").iter();
    let path = loaded.map(|one| &one["path"]).find_map(Value::as_str);
    let mut object = fs::read(path.expect("a path")).expect("it is there");
    let at = object.windows(VERSION.len()).position(|it| it == VERSION);
    let at = at.expect("the manifest says it") + VERSION.len();
    // Of the same length: the manifest lies in a section of the object.
    object[at] += 1;
    let file = world.directory().join("packet-filter.o");
    fs::write(&file, object).expect("the directory is ours");
    file.display().to_string()
}

#[test]
fn flows_live_through_an_upgrade() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    at(&world, Hook::Xdp, CLOSED);
    at(&world, Hook::Out, OPEN_OUTWARDS);
    let mut talk = Talk::open(&world, true, (OUTSIDE_V4, 4711).into());
    let version = || -> Value {
        let all: Value = world.nke(&["list", "--json"]).json();
        all["extensions"][0]["version"].clone()
    };
    let first = version();
    let next = next_version(&world);
    let packets = || {
        let flow = &states(&world)["flows"][0];
        flow["packets"][1].as_u64().expect("a count")
    };
    // Only the flow lets the other end's packets in: without it the connection hangs.
    for (words, other) in [
        (&["upgrade", &next][..], true),
        (&["rollback", "packet-filter"], false),
    ] {
        let stop = AtomicBool::new(false);
        let before = packets();
        thread::scope(|scope| {
            let talking = scope.spawn(|| {
                let mut words = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    talk.exchange();
                    words += 1;
                }
                talk.exchange();
                words
            });
            world.nke(words).ok();
            stop.store(true, Ordering::Relaxed);
            assert!(talking.join().expect("the connection stands") > 0);
        });
        assert_eq!(version() != first, other, "{words:?}");
        let known = states(&world);
        assert_eq!(known["flows"].as_array().map(Vec::len), Some(1), "{known}");
        assert_eq!((&known["made"], &known["evicted"]), (&1.into(), &0.into()));
        assert_eq!(known["flows"][0]["state"], "settled", "{known}");
        assert_eq!(
            known["flows"][0]["rule"], 1,
            "by the rule that it was: {known}"
        );
        assert!(packets() > before, "the new program counts on");
        let listed: Value = world.at(Hook::Out, &["filter", "list", "--json"]).json();
        assert_eq!(listed["filters"][0]["known_hits"]["packets"], 0, "{listed}");
    }
    // What begins now is known, too.
    drop(Talk::open(&world, true, (OUTSIDE_V4, 4713).into()));
    assert_eq!(states(&world)["made"], 2);
}
