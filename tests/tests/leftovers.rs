//! After everything is detached nothing remains: no program, map, link or BTF in the kernel, no
//! pin, no mount, no filter, no interface setting.

use std::fs;

use nke_tests::{Hook, IFACE, Objects, World, stranger, trail, tree};

/// Everything of this world that nke may leave behind, but its kernel objects.
#[track_caller]
fn assert_bare(world: &World, objects: &Objects) {
    assert_eq!(tree(&world.state()), [] as [&str; 0]);
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts can be read");
    let state = world.state().display().to_string();
    assert!(!mounts.contains(&state), "{mounts}");
    for hook in Hook::ALL {
        assert!(world.programs(hook).is_empty(), "{}", hook.name());
    }
    let link = world.inside.ip(&format!("-d link show dev {IFACE}"));
    assert!(!link.contains("xdp"), "{link}");
    for direction in ["ingress", "egress"] {
        assert_eq!(
            world
                .inside
                .tc(&format!("filter show dev {IFACE} {direction}")),
            ""
        );
    }
    assert!(
        !world
            .inside
            .tc(&format!("qdisc show dev {IFACE}"))
            .contains("clsact")
    );
    objects.assert_gone();
}

#[test]
fn of_a_busy_life() {
    let world = World::new();
    let mut objects = Objects::default();
    for hook in Hook::ALL {
        let tc: &[&str] = if hook == Hook::Xdp { &[] } else { &["-DTC"] };
        for (source, program) in [
            ("maps.c", "maps"),
            ("kinds.c", "kinds"),
            ("tailcalls.c", "tailcalls"),
        ] {
            let name = format!("{program}-{}", hook.name().replace('/', "-"));
            world.attach(
                hook,
                &stranger::object(source, &name, tc),
                &["--program", program],
            );
        }
        for n in [1, 2, 3] {
            world.attach(hook, &trail::object(n), &[]);
        }
        objects.extend(&world.objects());
        world.at(hook, &["move", "trail1", "--priority", "1"]).ok();
        world
            .at(hook, &["replace", "trail2", &trail::object(9)])
            .ok();
        world.at(hook, &["policy", "drop"]).ok();
        objects.extend(&world.objects());
    }
    world.nke(&["load", "counter"]).ok();
    objects.extend(&world.objects());
    assert!(objects.count() > 100, "{}", objects.count());

    world.nke(&["unload", "counter"]).ok();
    for hook in Hook::ALL {
        let ids: Vec<_> = world.chain(hook).expect("the chain is there").nodes;
        for node in ids {
            world.nke(&["detach", &node.id.to_string()]).ok();
        }
        world.at(hook, &["policy", "pass"]).ok();
    }
    assert_eq!(world.list(), []);
    assert_bare(&world, &objects);
}

#[test]
fn of_replaced_and_moved_nodes_while_the_chain_lives() {
    let world = World::new();
    for n in [1, 2, 3] {
        world.attach(Hook::Xdp, &trail::object(n), &[]);
    }
    let before = world.objects();
    for _ in 0..5 {
        world.nke(&["move", "trail1", "--after", "trail3"]).ok();
        world.nke(&["move", "trail1", "--before", "trail2"]).ok();
        world.nke(&["replace", "trail2", &trail::object(9)]).ok();
        world.nke(&["replace", "trail9", &trail::object(2)]).ok();
    }
    let after = world.objects();
    assert_eq!(
        after.count(),
        before.count(),
        "before {before:?}, after {after:?}"
    );
    // What is no longer pinned is no longer there.
    before.without(&after).assert_gone();
    world.assert_trail(Hook::Xdp, &[1, 2, 3]);
}

#[test]
fn of_an_interface_that_vanishes() {
    let world = World::new();
    for hook in Hook::ALL {
        world.attach(hook, &trail::object(1), &[]);
        world.attach(hook, &trail::object(2), &[]);
    }
    world.attach(Hook::Xdp, &stranger::object("maps.c", "maps", &[]), &[]);
    let objects = world.objects();
    world.inside.ip(&format!("link delete {IFACE}"));
    // The next command of any kind sweeps.
    assert_eq!(world.chains(), []);
    assert_eq!(world.list(), []);
    assert_eq!(tree(&world.state()), [] as [&str; 0]);
    objects.assert_gone();
}

#[test]
fn of_a_namespace_that_vanishes() {
    let world = World::new();
    world.nke(&["load", &trail::object(2)]).ok();
    for hook in Hook::ALL {
        world.attach(hook, &trail::object(1), &[]);
        world.attach(hook, "trail2", &[]);
    }
    let objects = world.objects();
    nke_tests::Ran::of(std::process::Command::new("ip").args([
        "netns",
        "del",
        world.inside.name(),
    ]))
    .ok();
    // The kernel takes a namespace down some time after its last user is gone.
    let gone = nke_tests::Deadline::generous().until(|| world.chains().is_empty());
    assert!(gone, "{:?}", world.chains());
    let held: Vec<_> = world
        .list()
        .into_iter()
        .map(|e| (e.name, e.loads, e.uses))
        .collect();
    assert_eq!(
        held,
        [("trail2".to_owned(), 1, 0)],
        "what was loaded by name stays"
    );
    world.nke(&["unload", "trail2"]).ok();
    assert_eq!(tree(&world.state()), [] as [&str; 0]);
    objects.assert_gone();
}

#[test]
fn of_attaching_what_is_refused() {
    let world = World::new();
    let refused = stranger::object("refused.c", "refused", &[]);
    drop(world.on(&["attach", &refused]).fails("verifier"));
    assert_bare(&world, &Objects::default());

    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let before = (world.objects(), tree(&world.state()));
    drop(world.on(&["attach", &refused]).fails("verifier"));
    drop(
        world
            .on(&["attach", "nobody-has-this"])
            .fails("no-extension"),
    );
    let object = trail::object(2);
    drop(
        world
            .on(&["attach", &object, "--after", "nobody"])
            .fails("no-attachment"),
    );
    assert_eq!((world.objects(), tree(&world.state())), before);
    world.nke(&["detach", "trail1"]).ok();
    assert_bare(&world, &before.0);
}

#[test]
fn a_hundred_rounds_leave_the_count_where_it_was() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let round = || {
        world.nke(&["load", &trail::object(2)]).ok();
        world.attach(Hook::Xdp, "trail2", &[]);
        world.nke(&["detach", "trail2"]).ok();
        world.nke(&["unload", "trail2"]).ok();
    };
    round();
    let before = (world.objects(), tree(&world.state()));
    let mut seen = Objects::default();
    for n in 0..100 {
        if n % 10 == 0 {
            world.nke(&["load", &trail::object(2)]).ok();
            world.attach(Hook::Xdp, "trail2", &[]);
            seen.extend(&world.objects());
            world.nke(&["detach", "trail2"]).ok();
            world.nke(&["unload", "trail2"]).ok();
        } else {
            round();
        }
    }
    assert_eq!((world.objects(), tree(&world.state())), before);
    seen.without(&before.0).assert_gone();
}
