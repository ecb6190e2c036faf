//! Network namespaces: named, by path, entered; interfaces in them that look alike, change their
//! name, or vanish.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use nke_tests::{
    Chain, Deadline, Hook, IFACE, Namespace, Ran, World, binaries, stranger, trail, tree,
};

/// `nke` with these words, run by another program.
#[track_caller]
fn through(world: &World, by: &[&str], words: &[&str]) -> Ran {
    let mut command = Command::new(by[0]);
    world.dress(&mut command);
    command.args(&by[1..]).arg(binaries::nke()).args(words);
    Ran::of(&mut command)
}

/// `nke` with these words inside a namespace, as `ip netns exec` runs it.
#[track_caller]
fn inside(world: &World, namespace: &Namespace, words: &[&str]) -> Ran {
    through(world, &["ip", "netns", "exec", namespace.name()], words)
}

#[track_caller]
fn only(world: &World) -> Chain {
    let chains = world.chains();
    assert_eq!(chains.len(), 1, "{chains:#?}");
    chains.into_iter().next().expect("it was counted")
}

#[test]
fn by_name_and_by_path() {
    let world = World::new();
    let name = world.inside.name();
    let (run, var) = (world.inside.path(), format!("/var/run/netns/{name}"));
    // A process that is in it, and waits for its standard input to end.
    let mut process = Command::new("ip")
        .args(["netns", "exec", name, "sh", "-c", "echo here; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("it was asked for"))
        .read_line(&mut line)
        .expect("it says that it is there");
    let proc = format!("/proc/{}/ns/net", process.id());
    for (number, netns) in (1..).zip([name, &run, &proc, &var]) {
        if netns == var && !Path::new(netns).exists() {
            continue;
        }
        let object = trail::object(number);
        let words = ["attach", &object, "-i", IFACE, "--netns", netns, "--json"];
        world.nke(&words).ok();
        world.assert_trail(Hook::Xdp, &(1..=number).collect::<Vec<_>>());
        let chain = only(&world);
        assert_eq!(
            chain.netns.as_deref(),
            Some(name),
            "a name is shown where there is one"
        );
        let listed = world.nke(&["chain", "-i", IFACE, "--netns", netns]).ok();
        assert!(
            listed.stdout.contains(&format!("trail{number}")),
            "{listed:?}"
        );
    }
    drop(process.stdin.take());
    process.wait().expect("it ends with its input");
    world
        .nke(&["detach", "trail3", "-i", IFACE, "--netns", &run])
        .ok();
    world.nke(&["detach", "trail1", "--netns", name]).ok();
    assert_eq!(only(&world).node("trail2").position, 1);
}

#[test]
fn a_namespace_without_a_name() {
    let world = World::new();
    // One that only a process holds, with an interface of its own.
    let mut process = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up; echo here; exec cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("it was asked for"))
        .read_line(&mut line)
        .expect("it says that it is there");
    let path = format!("/proc/{}/ns/net", process.id());
    world
        .nke(&["attach", &trail::object(1), "-i", "lo", "--netns", &path])
        .ok();
    let chain = only(&world);
    assert_eq!(
        (chain.interface.as_deref(), chain.netns.as_deref()),
        (Some("lo"), Some(&*path))
    );
    world.nke(&["chain", "-i", "lo", "--netns", &path]).ok();
    world
        .nke(&["detach", "trail1", "-i", "lo", "--netns", &path])
        .ok();
    assert!(!world.is_mounted());

    // With the process, the namespace goes.
    world
        .nke(&["attach", "counter", "-i", "lo", "--netns", &path])
        .ok();
    let objects = nke_tests::Objects::pinned_below(&world.state());
    drop(process.stdin.take());
    process.wait().expect("it ends with its input");
    assert!(Deadline::generous().until(|| world.chains().is_empty()));
    assert_eq!(world.list(), []);
    assert!(!world.is_mounted());
    objects.assert_gone();
}

#[test]
fn what_was_attached_outside_is_found_inside() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let run = |words: &[&str]| inside(&world, &world.inside, words);
    let shown = run(&["chain", "-i", IFACE]).ok().stdout;
    assert!(
        shown.starts_with(&format!("interface/xdp of {IFACE}, native")),
        "{shown}"
    );
    run(&["attach", &trail::object(2), "-i", IFACE]).ok();
    world.assert_trail(Hook::Xdp, &[1, 2]);
    run(&["move", "trail2", "-i", IFACE, "--before", "trail1"]).ok();
    world.assert_trail(Hook::Xdp, &[2, 1]);
    run(&["detach", "trail1"]).ok();
    assert_eq!(only(&world).names(), ["trail2"]);
    assert_eq!(only(&world).netns.as_deref(), Some(world.inside.name()));
    // Seen from the other end of the wire, it is the same.
    inside(&world, &world.outside, &["detach", "trail2"]).ok();
    assert_eq!(tree(&world.state()), [""; 0]);
    assert!(!world.is_mounted());
}

/// The words that run a command inside a world's namespace.
type Way<'a> = &'a dyn Fn(&World) -> Vec<String>;

#[test]
fn the_first_command_of_all_may_be_inside() {
    let ways: [Way<'_>; 3] = [
        &|world| words(&["ip", "netns", "exec", world.inside.name()]),
        // A shell in between, and a second namespace of mounts within the first.
        &|world| {
            let line = format!("ip netns exec {} unshare -m \"$@\"", world.inside.name());
            words(&["sh", "-c", &line, "sh"])
        },
        &|world| {
            let net = format!("--net={}", world.inside.path());
            words(&["nsenter", &net, "unshare", "-m", "--propagation", "slave"])
        },
    ];
    for way in ways {
        let world = World::new();
        let by = way(&world);
        let by: Vec<_> = by.iter().map(String::as_str).collect();
        let object = trail::object(1);
        through(&world, &by, &["attach", &object, "-i", IFACE]).ok();
        // The namespace of mounts is gone, and nothing with it.
        world.assert_trail(Hook::Xdp, &[1]);
        assert!(world.is_mounted(), "after {by:?}");
        assert_eq!(only(&world).netns.as_deref(), Some(world.inside.name()));
        through(&world, &by, &["attach", &trail::object(2), "-i", IFACE]).ok();
        world.nke(&["detach", "trail1"]).ok();
        world.assert_trail(Hook::Xdp, &[2]);
        through(&world, &by, &["detach", "trail2"]).ok();
        assert!(!world.is_mounted(), "after {by:?}");
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_relative_state_directory_is_the_same_inside() {
    let world = World::new();
    let attach = ["--state", "state", "attach", &trail::object(1), "-i", IFACE];
    inside(&world, &world.inside, &attach).ok();
    assert_eq!(only(&world).names(), ["trail1"]);
    world.nke(&["--state", "./state/", "detach", "trail1"]).ok();
    assert!(!world.is_mounted());
}

#[test]
fn interfaces_of_one_number_never_mix() {
    let world = World::new();
    let ends = [&world.inside, &world.outside];
    assert_eq!(
        ends[0].ifindex(IFACE),
        ends[1].ifindex(IFACE),
        "or this tests nothing"
    );
    for hook in Hook::ALL {
        for (number, end) in (1..).zip(ends) {
            let object = trail::object(number);
            let target = ["-i", IFACE, "--netns", end.name(), "--hook", hook.name()];
            world
                .nke(&[&["attach", &object], &target[..]].concat())
                .ok();
        }
    }
    world.assert_trail(Hook::Xdp, &[1]);
    let names = |chains: Vec<Chain>| {
        let place = |chain: Chain| {
            (
                chain.netns.clone().expect("a name"),
                chain.names()[0].to_owned(),
            )
        };
        let mut names: Vec<_> = chains.into_iter().map(place).collect();
        names.sort();
        names.dedup();
        names
    };
    let expected = [
        (ends[0].name().to_owned(), "trail1"),
        (ends[1].name().to_owned(), "trail2"),
    ]
    .map(|(netns, name)| (netns, name.to_owned()));
    assert_eq!(names(world.chains()), expected);

    // A change at one end is none at the other.
    let at = |end: &Namespace, words: &[&str]| {
        let target = [
            "-i",
            IFACE,
            "--netns",
            end.name(),
            "--hook",
            "interface/xdp",
        ];
        world.nke(&[words, &target].concat())
    };
    drop(at(ends[0], &["detach", "trail2"]).fails("no-attachment"));
    drop(at(ends[1], &["detach", "trail1"]).fails("no-attachment"));
    at(ends[0], &["policy", "drop"]).ok();
    at(ends[1], &["replace", "trail2", &trail::object(3)]).ok();
    world.assert_trail(Hook::In, &[1]);
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.drop());
    at(ends[0], &["detach", "trail1"]).ok();
    at(ends[0], &["policy", "pass"]).ok();
    assert_eq!(world.programs(Hook::Xdp), [0; 0]);
    let left = world.nke(&["chain", "--hook", "interface/xdp"]).ok().stdout;
    assert!(
        left.contains(ends[1].name()) && left.contains("trail3"),
        "{left}"
    );
}

#[test]
fn a_renamed_interface_has_its_chain_under_the_new_name() {
    let world = World::new();
    for hook in Hook::ALL {
        world.attach(hook, &trail::object(1), &[]);
    }
    world.inside.ip(&format!("link set {IFACE} down"));
    world.inside.ip(&format!("link set {IFACE} name wan0"));
    world.inside.ip("link set wan0 up");
    let chains = world.chains();
    assert_eq!(chains.len(), 3);
    assert!(
        chains
            .iter()
            .all(|chain| chain.interface.as_deref() == Some("wan0")),
        "{chains:#?}"
    );
    let netns = world.inside.name();
    drop(
        world
            .nke(&["chain", "-i", IFACE, "--netns", netns])
            .fails("no-interface"),
    );
    let target = ["-i", "wan0", "--netns", netns, "--hook", "interface/xdp"];
    let object = trail::object(2);
    let said = world.nke(&[&["attach", &object], &target[..]].concat());
    let said = said.ok().stdout;
    assert!(
        said.contains("interface/xdp of wan0 (native), position 2 of 2"),
        "{said}"
    );
    let said = world
        .nke(&[&["detach", "trail1"], &target[..]].concat())
        .ok()
        .stdout;
    assert!(said.contains("of wan0 in"), "{said}");

    // The old name may be another's by now.
    world
        .inside
        .ip(&format!("link add {IFACE} type veth peer name other"));
    let said = world
        .nke(&["chain", "-i", IFACE, "--netns", netns])
        .ok()
        .stdout;
    assert_eq!(said, "no chain\n");
}

#[test]
fn an_interface_that_vanishes_takes_its_chain_along() {
    for (mode, hooks) in [(None, &Hook::ALL[..]), (Some("clsact"), &Hook::ALL[1..])] {
        let world = World::new();
        let mode: Vec<_> = mode.into_iter().flat_map(|mode| ["--mode", mode]).collect();
        for hook in hooks {
            world.attach(*hook, &trail::object(1), &mode);
            world.attach(*hook, "counter", &[]);
        }
        // One that stays.
        world
            .inside
            .ip("link add name stays type veth peer name other");
        let netns = world.inside.name();
        world
            .nke(&["attach", "trail1", "-i", "stays", "--netns", netns])
            .ok();
        let objects = world.objects();
        world.inside.ip(&format!("link del {IFACE}"));
        let chain = only(&world);
        assert_eq!(
            (chain.interface.as_deref(), chain.names()),
            (Some("stays"), vec!["trail1"])
        );
        let names: Vec<_> = world.list().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["trail1"], "counter went with its last attachment");

        // Another of its name, or even of its number, is another.
        let add = format!(
            "link add {IFACE} index 2 type veth peer name {IFACE} netns {}",
            world.outside.name()
        );
        world.inside.ip(&add);
        assert_eq!(world.chain(Hook::In), None);
        world.attach(Hook::In, &trail::object(2), &mode);
        world.assert_trail(Hook::In, &[2]);

        world.nke(&["detach", "trail1"]).ok();
        world.nke(&["detach", "trail2"]).ok();
        assert!(!world.is_mounted());
        objects.assert_gone();
    }
}

#[test]
fn a_namespace_that_vanishes_takes_its_chains_along() {
    for mode in ["tcx", "clsact"] {
        let world = World::new();
        world
            .nke(&["load", &stranger::object("plain.c", "held", &[])])
            .ok();
        world.attach(Hook::In, &trail::object(1), &["--mode", mode]);
        world.attach(Hook::Out, "counter", &["--mode", mode]);
        world.attach(Hook::Xdp, "counter", &[]);
        let outside = world.outside.name();
        world
            .nke(&["attach", "trail1", "-i", IFACE, "--netns", outside])
            .ok();
        let inode = world.inside.inode();
        Ran::of(Command::new("ip").args(["netns", "del", world.inside.name()])).ok();
        // The other end of the wire vanishes once the kernel has taken the namespace down.
        let gone = || !outside_has_interface(&world);
        assert!(Deadline::generous().until(gone));
        assert_eq!(world.chains(), [], "both ends are gone");
        let names: Vec<_> = world.list().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["held"]);
        let left = tree(&world.state());
        assert!(
            !left.iter().any(|line| line.contains(&inode.to_string())),
            "{left:?}"
        );
        world.nke(&["unload", "held"]).ok();
        assert!(!world.is_mounted());
    }
}

fn outside_has_interface(world: &World) -> bool {
    let words = ["-n", world.outside.name(), "link", "show", IFACE];
    Ran::of(Command::new("ip").args(words)).code == Some(0)
}

#[test]
fn an_interface_that_moves_takes_its_chain_along() {
    let world = World::new();
    let elsewhere = Namespace::new("else");
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world.attach(Hook::In, &trail::object(2), &[]);
    let (here, there) = (world.inside.name(), elsewhere.name());
    world.inside.ip(&format!("link set {IFACE} netns {there}"));
    elsewhere.ip(&format!("link set {IFACE} name wan0"));
    elsewhere.ip("link set wan0 up");
    let places: Vec<_> = world
        .chains()
        .into_iter()
        .map(|chain| (chain.netns, chain.interface))
        .collect();
    let place = (Some(there.to_owned()), Some("wan0".to_owned()));
    assert_eq!(places, [place.clone(), place]);
    // Who joins the chain there, joins the one that came along.
    let place = ["-i", "wan0", "--netns", there];
    let object = trail::object(3);
    let said = world.nke(&[&["attach", &object], &place[..]].concat());
    let said = said.ok().stdout;
    assert!(said.contains("of wan0 (native), position 2 of 2"), "{said}");

    // What comes to where it was, whatever its name and number, has no part in it.
    let index = elsewhere.ifindex("wan0");
    world.inside.ip(&format!(
        "link add {IFACE} index {index} type veth peer name other"
    ));
    let target = ["-i", IFACE, "--netns", here];
    let shown = world.nke(&[&["chain"], &target[..]].concat()).ok().stdout;
    assert_eq!(shown, "no chain\n");
    let object = trail::object(4);
    world
        .nke(&[&["attach", &object], &target[..]].concat())
        .ok();
    assert_eq!(world.trail(Hook::Xdp).seen, [4]);
    assert_eq!(world.chains().len(), 3);
    world.nke(&["detach", "trail4"]).ok();

    // It finds its way back, too, even if nobody looks in between.
    world.inside.ip(&format!("link del {IFACE}"));
    elsewhere.ip(&format!("link set wan0 netns {here} name {IFACE}"));
    world.inside.ip(&format!("link set {IFACE} up"));
    world.assert_trail(Hook::Xdp, &[1, 3]);
    world.assert_trail(Hook::In, &[2]);
    world.inside.ip(&format!("link set {IFACE} netns {there}"));
    elsewhere.ip(&format!("link set {IFACE} netns {here}"));
    for name in ["trail1", "trail2", "trail3"] {
        world.on(&["detach", name]).ok();
    }
    assert!(!world.is_mounted());
}

#[test]
fn an_impostor_is_told_from_an_interface_that_has_moved() {
    let world = World::new();
    let elsewhere = Namespace::new("else");
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    // All of it happens before nke looks again.
    let index = world.inside.ifindex(IFACE);
    world
        .inside
        .ip(&format!("link set {IFACE} netns {}", elsewhere.name()));
    world.inside.ip(&format!(
        "link add {IFACE} index {index} type veth peer name other"
    ));
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    assert_eq!(world.trail(Hook::Xdp).seen, [2]);
    let mut chains = world.chains();
    chains.sort_by_key(|chain| chain.names()[0].to_owned());
    let places: Vec<_> = chains.iter().map(|chain| chain.netns.as_deref()).collect();
    assert_eq!(places, [Some(elsewhere.name()), Some(world.inside.name())]);
    assert_eq!(chains[0].names(), ["trail1"]);
}
