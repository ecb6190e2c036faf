//! Modes: in which way the kernel calls a chain, chosen or fallen back to, and what each leaves.

use std::net::UdpSocket;

use nke_tests::{Deadline, Hook, IFACE, Ran, Tap, World, kernel, trail};

/// The mode of the only chain, as the command shows it.
#[track_caller]
fn mode(world: &World) -> Option<String> {
    let chains = world.chains();
    assert_eq!(chains.len(), 1, "{chains:#?}");
    chains.into_iter().next().and_then(|chain| chain.mode)
}

/// A frame from the outside must meet these programs on its way in.
#[track_caller]
fn assert_met(world: &World, seen: &[u8]) {
    let behind = Tap::open_for(&world.inside, IFACE, trail::KIND);
    world.tap_outside().send(&trail::frame(3));
    let frame = behind.expect("the frame", |frame| trail::read(frame).is_some());
    assert_eq!(trail::read(&frame), Some((3, seen.to_vec())));
}

fn link(world: &World) -> String {
    world.inside.ip(&format!("-d link show dev {IFACE}"))
}

fn has_clsact(world: &World) -> bool {
    let qdiscs = world.inside.tc(&format!("qdisc show dev {IFACE}"));
    qdiscs.contains("clsact")
}

#[test]
fn native_where_the_driver_can() {
    for asked in [&[][..], &["--mode", "native"]] {
        let world = World::new();
        let object = trail::object(1);
        let said = world.on(&[&["attach", &object], asked].concat()).ok();
        assert!(said.stdout.contains("(native)"), "{said:?}");
        assert_eq!(mode(&world).as_deref(), Some("native"));
        let link = link(&world);
        assert!(
            link.contains(" xdp ") && !link.contains("xdpgeneric"),
            "{link}"
        );
        assert_met(&world, &[1]);
    }
}

#[test]
fn generic_where_it_is_asked_for() {
    let world = World::new();
    let said = world
        .on(&["attach", &trail::object(1), "--mode", "generic"])
        .ok();
    assert!(said.stdout.contains("(generic)"), "{said:?}");
    assert_eq!(mode(&world).as_deref(), Some("generic"));
    assert!(link(&world).contains("xdpgeneric"), "{}", link(&world));
    // Whoever joins the chain runs in its mode.
    world.on(&["attach", &trail::object(2)]).ok();
    assert_met(&world, &[1, 2]);
    world.on(&["detach", "trail1"]).ok();
    world
        .on(&["attach", &trail::dropper(3), "--priority", "1"])
        .ok();
    assert_eq!(world.trail(Hook::Xdp).seen, [3]);
    world.on(&["detach", "drop3"]).ok();
    world.on(&["detach", "trail2"]).ok();
    assert!(!link(&world).contains("xdp"), "{}", link(&world));
}

#[test]
fn generic_where_the_driver_cannot() {
    let world = World::new();
    let netns = world.inside.name();
    // The loopback is everywhere; the others are where the kernel has them.
    let mut interfaces = vec!["lo"];
    for kind in ["bridge", "ifb", "vxlan id 7 dstport 4789"] {
        let name = kind.split(' ').next().unwrap_or(kind);
        let words = ["-n", netns, "link", "add", name, "up", "type"];
        let mut command = std::process::Command::new("ip");
        let added = Ran::of(command.args(words).args(kind.split(' ')));
        interfaces.extend((added.code == Some(0)).then_some(name));
    }
    let object = trail::object(1);
    for interface in interfaces {
        let at = |words: &[&str]| {
            let place = ["-i", interface, "--netns", netns];
            world.nke(&[words, &place].concat())
        };
        let refused = at(&["attach", &object, "--mode", "native"]).fails("no-native-xdp");
        let line = format!(
            "nke: interface/xdp of {interface}: attach: its driver has no native XDP; use --mode \
             generic, or leave --mode out\n"
        );
        assert_eq!(refused, line);
        assert!(!world.is_mounted());
        let said = at(&["attach", &object]).ok().stdout;
        assert!(said.contains("(generic)"), "{said}");
        assert_eq!(mode(&world).as_deref(), Some("generic"));
        at(&["detach", "trail1"]).ok();
    }
    assert!(!world.is_mounted());
}

#[test]
fn packets_of_the_loopback_meet_a_generic_chain() {
    let world = World::new();
    let netns = world.inside.name();
    let sockets = || {
        Ok((
            UdpSocket::bind("127.0.0.1:0")?,
            UdpSocket::bind("127.0.0.1:0")?,
        ))
    };
    let sockets: std::io::Result<_> = world.inside.enter(sockets);
    let (from, to) = sockets.expect("the loopback is up");
    let address = to.local_addr().expect("it is bound");
    let place = ["-i", "lo", "--netns", netns];
    let object = trail::object(1);
    world.nke(&[&["attach", &object], &place[..]].concat()).ok();
    from.send_to(b"datagram", address).expect("it goes out");
    assert!(Deadline::generous().readable(&to));
    let packets = world.chains()[0].node("trail1").packets;
    assert!(
        packets.is_some_and(|packets| packets.go_on >= 1),
        "{packets:?}"
    );
}

#[test]
fn tcx_unless_clsact_is_asked_for() {
    for (asked, is) in [
        (None, "tcx"),
        (Some("tcx"), "tcx"),
        (Some("clsact"), "clsact"),
    ] {
        let world = World::new();
        let words: Vec<_> = asked
            .into_iter()
            .flat_map(|mode| ["--mode", mode])
            .collect();
        world.attach(Hook::In, &trail::object(1), &words);
        assert_eq!(mode(&world).as_deref(), Some(is));
        assert_eq!(has_clsact(&world), is == "clsact");
        // Whoever joins the chain runs in its mode.
        world.attach(Hook::In, &trail::object(2), &[]);
        assert_met(&world, &[1, 2]);
    }
}

#[test]
fn a_clsact_chain_is_edited_as_others_are() {
    let world = World::new();
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    world.attach(Hook::In, &trail::object(2), &["--before", "trail1"]);
    assert_met(&world, &[2, 1]);
    world
        .at(Hook::In, &["move", "trail2", "--priority", "60"])
        .ok();
    world
        .at(Hook::In, &["replace", "trail1", &trail::object(3)])
        .ok();
    assert_met(&world, &[3, 2]);
    world.at(Hook::In, &["policy", "drop"]).ok();
    assert_eq!(world.trail(Hook::In).answer, Hook::In.drop());
    world.at(Hook::In, &["policy", "pass"]).ok();
    assert_met(&world, &[3, 2]);
    world.at(Hook::In, &["detach", "trail3"]).ok();
    world.at(Hook::In, &["detach", "trail2"]).ok();
    assert!(!has_clsact(&world) && !world.is_mounted());
}

#[test]
fn a_qdisc_of_nkes_goes_with_the_last_chain_on_it() {
    let world = World::new();
    assert!(!has_clsact(&world));
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    world.attach(Hook::Out, &trail::object(2), &["--mode", "clsact"]);
    assert!(has_clsact(&world));
    world.nke(&["detach", "trail1"]).ok();
    assert!(has_clsact(&world), "the other direction needs it");
    assert_eq!(world.trail(Hook::Out).seen, [2]);
    world.nke(&["detach", "trail2"]).ok();
    assert!(!has_clsact(&world));
    assert!(!world.is_mounted());

    // In the other order as well.
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    world.attach(Hook::Out, &trail::object(2), &["--mode", "clsact"]);
    world.nke(&["detach", "trail2"]).ok();
    assert_met(&world, &[1]);
    world.nke(&["detach", "trail1"]).ok();
    assert!(!has_clsact(&world));
}

/// Loads a `trail` program and adds it as a filter, as another tool would; its id.
fn add_filter(world: &World, number: u8, command: &str) -> u32 {
    let pin = world.reference().join(format!("others{number}"));
    let object = trail::object(number);
    let mut load = std::process::Command::new("bpftool");
    Ran::of(load.args(["prog", "loadall", &object]).arg(&pin)).ok();
    let pin = pin.join("trail_tc");
    world
        .inside
        .tc(&format!("{command} bpf da object-pinned {}", pin.display()));
    kernel::pinned_id(&pin).expect("it is pinned")
}

#[test]
fn a_qdisc_of_others_stays() {
    let world = World::new();
    world.inside.tc(&format!("qdisc add dev {IFACE} clsact"));
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    world.nke(&["detach", "trail1"]).ok();
    assert!(has_clsact(&world));
    world.inside.tc(&format!("qdisc del dev {IFACE} clsact"));

    // nke's own stays as long as it has a filter of others.
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    let id = add_filter(&world, 9, &format!("filter add dev {IFACE} egress"));
    world.nke(&["detach", "trail1"]).ok();
    assert!(has_clsact(&world));
    assert_eq!(
        (world.programs(Hook::In), world.programs(Hook::Out)),
        (vec![], vec![id])
    );
}

#[test]
fn filters_that_are_no_ebpf_count_too() {
    let world = World::new();
    let add = |direction: &str| {
        let words = [
            "-n",
            world.inside.name(),
            "filter",
            "add",
            "dev",
            IFACE,
            direction,
            "prio",
        ];
        let words = words.iter().chain(&["4", "bpf", "bytecode", "1,6 0 0 0"]);
        Ran::of(std::process::Command::new("tc").args(words)).ok();
    };
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    add("egress");
    world.nke(&["detach", "trail1"]).ok();
    assert!(has_clsact(&world), "it still has a filter");
    world.attach(Hook::Out, &trail::object(1), &["--mode", "clsact"]);
    let filters = world.inside.tc(&format!("filter show dev {IFACE} egress"));
    assert!(filters.find("pref 4") < filters.find("pref 5"), "{filters}");
    assert!(
        filters.contains("pref 5 bpf chain 0 handle 0x1 nke_root"),
        "{filters}"
    );
}

#[test]
fn a_filter_that_others_took_away_is_gone() {
    for command in ["qdisc del dev eth0 clsact", "filter del dev eth0 ingress"] {
        let world = World::new();
        world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
        let objects = world.objects();
        world.inside.tc(command);
        assert_eq!(world.chains(), [], "after {command}");
        assert_eq!(world.list(), []);
        assert!(!has_clsact(&world), "after {command}");
        assert!(!world.is_mounted());
        objects.assert_gone();
        world.attach(Hook::In, &trail::object(2), &["--mode", "clsact"]);
        assert_met(&world, &[2]);
    }
}

#[test]
fn a_filter_that_others_put_in_place_of_nkes_is_theirs() {
    let world = World::new();
    world.attach(Hook::In, &trail::object(1), &["--mode", "clsact"]);
    let replace = format!("filter replace dev {IFACE} ingress prio 1 handle 1");
    let id = add_filter(&world, 9, &replace);
    assert_eq!(world.programs(Hook::In), [id]);
    assert_eq!(world.chain(Hook::In).expect("theirs is shown").nodes, []);
    assert_eq!(world.list(), []);
    assert_eq!(world.programs(Hook::In), [id], "it was not nke's to remove");
    world.attach(Hook::In, &trail::object(2), &["--mode", "clsact"]);
    assert_met(&world, &[9, 2]);
    world.nke(&["detach", "trail2"]).ok();
    assert_met(&world, &[9]);
}

#[test]
fn a_chain_stays_in_its_mode() {
    let object = trail::object(2);
    for (hook, runs, asked) in [
        (Hook::Xdp, "native", "generic"),
        (Hook::Xdp, "generic", "native"),
        (Hook::In, "tcx", "clsact"),
        (Hook::Out, "clsact", "tcx"),
    ] {
        let world = World::new();
        world.attach(hook, &trail::object(1), &["--mode", runs]);
        let name = hook.name();
        let words = ["attach", &object, "--hook", name, "--mode", asked];
        let line = format!(
            "nke: {name} of {IFACE}: attach: the chain runs in {runs} mode; detach all of it to \
             change that\n"
        );
        world.refuses(&world.target(&words), &line);
        world.nke(&["detach", "trail1"]).ok();
        world.attach(hook, &object, &["--mode", asked]);
        assert_eq!(mode(&world).as_deref(), Some(asked));
    }
}

#[test]
fn a_hook_has_modes_of_its_own() {
    let world = World::new();
    for (hook, mode) in [
        (Hook::Xdp, "tcx"),
        (Hook::Xdp, "clsact"),
        (Hook::In, "native"),
        (Hook::Out, "generic"),
    ] {
        let name = hook.name();
        let words = ["attach", "counter", "--hook", name, "--mode", mode];
        let line = format!("nke: {name}: attach: there is no mode {mode} here; leave --mode out\n");
        world.refuses(&world.target(&words), &line);
    }
}
