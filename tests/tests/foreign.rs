//! Programs that others have attached: shown where they run, and never touched.

use std::{path::PathBuf, process::Command};

use nke_tests::{Chain, Foreign, Hook, IFACE, Ran, Tap, World, kernel, trail};

/// Loads a `trail` program of a number, as another tool would; its pin and its id.
fn load(world: &World, number: u8, kind: &str) -> (PathBuf, u32) {
    let all = world.reference().join(format!("others{number}"));
    let object = trail::object(number);
    Ran::of(
        Command::new("bpftool")
            .args(["prog", "loadall", &object])
            .arg(&all),
    )
    .ok();
    let pin = all.join(format!("trail_{kind}"));
    let id = kernel::pinned_id(&pin).expect("bpftool has pinned it");
    (pin, id)
}

/// How the command shows a `trail` program of others.
fn foreign(program_id: u32, kind: &str, how: &str, before: bool) -> Foreign {
    Foreign {
        program_id,
        name: format!("trail_{kind}"),
        how: how.to_owned(),
        before,
    }
}

fn chain(world: &World, hook: Hook) -> Chain {
    let chain = world.chain(hook);
    chain.unwrap_or_else(|| nke_tests::fail("there is something to show"))
}

/// What a packet meets on its way over the real wire.
#[track_caller]
fn met(world: &World, hook: Hook) -> Vec<u8> {
    let (from, to, frame) = match hook {
        Hook::Xdp | Hook::In => {
            let behind = Tap::open_for(&world.inside, IFACE, trail::KIND);
            (world.tap_outside(), behind, trail::frame(7))
        }
        Hook::Out => {
            let frame = trail::frame_out(7);
            (world.tap_inside(), world.tap_outside(), frame)
        }
    };
    from.send(&frame);
    let frame = to.expect("the frame", |frame| {
        trail::read(frame).is_some_and(|(sequence, _)| sequence == 7)
    });
    trail::read(&frame).expect("it is one").1
}

#[test]
fn an_xdp_program_of_others_keeps_its_place() {
    for how in ["xdpdrv", "xdpgeneric"] {
        let world = World::new();
        let (pin, id) = load(&world, 9, "xdp");
        let pin = pin.display();
        world
            .inside
            .ip(&format!("link set {IFACE} {how} pinned {pin}"));
        for mode in [&[][..], &["--mode", "native"], &["--mode", "generic"]] {
            let object = trail::object(1);
            let words = world.target(&[&["attach", &object], mode].concat());
            let line = format!(
                "nke: interface/xdp of {IFACE}: attach: it is taken by program {id} (trail_xdp), \
                 which is not nke's; detach that first (`ip link set dev {IFACE} xdp off`, \
                 `xdp-loader unload`), or use interface/in\n"
            );
            world.refuses(&words, &line);
        }
        assert!(!world.is_mounted());
        let shown = chain(&world, Hook::Xdp);
        assert_eq!(shown.foreign, [foreign(id, "xdp", "xdp", false)]);
        assert_eq!((shown.mode, shown.nodes.len()), (None, 0));
        let text = world.on(&["chain"]).ok().stdout;
        let netns = world.inside.name();
        let expected = format!(
            "interface/xdp of {IFACE} in {netns}: no chain of nke's\n    XDP program {id} \
             (trail_xdp), not nke's\n"
        );
        assert_eq!(text, expected);

        // Behind it there is room.
        world.attach(Hook::In, &trail::object(1), &[]);
        assert_eq!(met(&world, Hook::In), [9, 1]);
        world.nke(&["detach", "trail1"]).ok();
        assert_eq!(world.programs(Hook::Xdp), [id]);
    }
}

#[test]
fn an_xdp_chain_is_not_taken_by_others() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let before = world.standing();
    let (pin, _) = load(&world, 9, "xdp");
    let pin = pin.display().to_string();
    for words in [
        &["xdp", "pinned", &pin][..],
        &["xdpgeneric", "pinned", &pin],
        &["xdp", "off"],
    ] {
        for force in [&[][..], &["-force"]] {
            let mut command = Command::new("ip");
            command.args(["-n", world.inside.name()]).args(force);
            let ran = Ran::of(command.args(["link", "set", IFACE]).args(words));
            assert_ne!(ran.code, Some(0), "{ran:?}");
        }
    }
    world.assert_standing(&before);
    assert_eq!(met(&world, Hook::Xdp), [1]);
}

#[test]
fn tcx_programs_before_and_behind_the_chain() {
    for hook in [Hook::In, Hook::Out] {
        let world = World::new();
        let (first, first_id) = load(&world, 8, "tc");
        let (last, last_id) = load(&world, 9, "tc");
        world.attach_foreign_tcx(hook, &first);
        assert_eq!(
            chain(&world, hook).foreign,
            [foreign(first_id, "tc", "tcx", false)]
        );
        world.attach(hook, &trail::object(1), &[]);
        world.attach(hook, &trail::object(2), &[]);
        world.attach_foreign_tcx(hook, &last);

        let others = [
            foreign(first_id, "tc", "tcx", true),
            foreign(last_id, "tc", "tcx", false),
        ];
        assert_eq!(chain(&world, hook).foreign, others);
        assert_eq!(met(&world, hook), [8, 1, 2, 9]);
        let text = world.at(hook, &["chain"]).ok().stdout;
        let at = |what: &str| text.find(what).unwrap_or_else(|| nke_tests::fail(&text));
        let places = [
            at(&format!("TCX program {first_id} (trail_tc), not nke's")),
            at("trail1"),
            at("trail2"),
            at(&format!("TCX program {last_id} (trail_tc), not nke's")),
        ];
        assert!(places.is_sorted(), "{text}");

        // Every change of the chain leaves them in their places.
        let second = trail::object(3);
        world.at(hook, &["replace", "trail2", &second]).ok();
        world
            .at(hook, &["move", "trail3", "--before", "trail1"])
            .ok();
        world.at(hook, &["policy", "drop"]).ok();
        world.at(hook, &["policy", "pass"]).ok();
        assert_eq!(met(&world, hook), [8, 3, 1, 9]);
        world.at(hook, &["detach", "trail1"]).ok();
        world.at(hook, &["detach", "trail3"]).ok();
        assert_eq!(met(&world, hook), [8, 9]);
        assert_eq!(world.programs(hook), [first_id, last_id]);
        assert!(!world.is_mounted());
    }
}

#[test]
fn filters_of_others_run_behind_a_tcx_chain() {
    for (hook, direction) in [(Hook::In, "ingress"), (Hook::Out, "egress")] {
        let world = World::new();
        let (pin, id) = load(&world, 9, "tc");
        let pin = pin.display();
        world.inside.tc(&format!("qdisc add dev {IFACE} clsact"));
        let add = format!("filter add dev {IFACE} {direction} bpf da object-pinned {pin}");
        world.inside.tc(&add);
        assert_eq!(
            chain(&world, hook).foreign,
            [foreign(id, "tc", "clsact", false)]
        );
        world.attach(hook, &trail::object(1), &[]);
        assert_eq!(
            chain(&world, hook).foreign,
            [foreign(id, "tc", "clsact", false)]
        );
        assert_eq!(met(&world, hook), [1, 9]);
        world.nke(&["detach", "trail1"]).ok();
        assert_eq!(met(&world, hook), [9]);
        let qdisc = world.inside.tc(&format!("qdisc show dev {IFACE}"));
        assert!(qdisc.contains("clsact"), "{qdisc}");
    }
}

#[test]
fn filters_of_others_before_and_behind_a_clsact_chain() {
    for (hook, direction) in [(Hook::In, "ingress"), (Hook::Out, "egress")] {
        let world = World::new();
        let (first, first_id) = load(&world, 8, "tc");
        let (last, last_id) = load(&world, 9, "tc");
        let add = |pin: &PathBuf, priority: u16| {
            let pin = pin.display();
            world.inside.tc(&format!(
                "filter add dev {IFACE} {direction} prio {priority} bpf da object-pinned {pin}"
            ));
        };
        world.inside.tc(&format!("qdisc add dev {IFACE} clsact"));
        add(&first, 5);
        // nke goes behind what is there.
        world.attach(hook, &trail::object(1), &["--mode", "clsact"]);
        add(&last, 7);
        let others = [
            foreign(first_id, "tc", "clsact", true),
            foreign(last_id, "tc", "clsact", false),
        ];
        assert_eq!(chain(&world, hook).foreign, others);
        assert_eq!(met(&world, hook), [8, 1, 9]);
        world.attach(hook, &trail::object(2), &[]);
        assert_eq!(met(&world, hook), [8, 1, 2, 9]);
        world.nke(&["detach", "trail1"]).ok();
        world.nke(&["detach", "trail2"]).ok();
        assert_eq!(met(&world, hook), [8, 9]);
        assert_eq!(world.programs(hook), [first_id, last_id]);
        assert!(!world.is_mounted());
    }
}

#[test]
fn tcx_and_filters_and_the_chain_at_once() {
    let world = World::new();
    let (tcx, tcx_id) = load(&world, 8, "tc");
    let (filter, filter_id) = load(&world, 9, "tc");
    world.attach_foreign_tcx(Hook::In, &tcx);
    world.inside.tc(&format!("qdisc add dev {IFACE} clsact"));
    let pin = filter.display();
    world.inside.tc(&format!(
        "filter add dev {IFACE} ingress bpf da object-pinned {pin}"
    ));
    world.attach(Hook::In, &trail::object(1), &[]);
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    let others = [
        foreign(tcx_id, "tc", "tcx", true),
        foreign(filter_id, "tc", "clsact", false),
    ];
    assert_eq!(chain(&world, Hook::In).foreign, others);
    assert_eq!(chain(&world, Hook::Xdp).foreign, []);
    assert_eq!(met(&world, Hook::In), [2, 8, 1, 9]);
    // Without an interface, only nke's chains are asked for; those of others come with them.
    let shown: Vec<_> = world
        .chains()
        .into_iter()
        .map(|chain| chain.foreign.len())
        .collect();
    assert_eq!(shown, [0, 2]);
}

#[test]
fn pins_of_others_in_nkes_bpffs_are_kept() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let (_, id) = load(&world, 9, "tc");
    // As iproute2 does, which takes the first bpffs that it finds.
    let directory = world.state().join("tc/globals");
    std::fs::create_dir_all(&directory).expect("root may");
    std::os::unix::fs::symlink("tc", world.state().join("xdp")).expect("root may");
    let pin = directory.join("theirs");
    kernel::pin_program(id, &pin).expect("it can be pinned twice");
    world.nke(&["detach", "trail1"]).ok();
    assert_eq!(
        kernel::pinned_id(&pin),
        Some(id),
        "its bpffs stays as long as it is there"
    );
    assert_eq!((world.list(), world.chains()), (vec![], vec![]));
    std::fs::remove_file(&pin).expect("it is there");
    world.nke(&["list"]).ok();
    assert!(!world.is_mounted(), "empty directories keep nothing");
}
