//! `nke detach`: by id or by name, and only what was meant.

use nke_tests::{Hook, IFACE, Stream, World, trail};

#[test]
fn by_id() {
    let world = World::new();
    let ids = [1, 2, 3].map(|n| world.attach(Hook::Xdp, &trail::object(n), &[]));
    let ran = world.nke(&["detach", &ids[1].to_string()]).ok();
    let place = format!("interface/xdp of {IFACE} in {}", world.inside.name());
    assert_eq!(ran.stdout, format!("detached {} ({place})\n", ids[1]));
    world.assert_trail(Hook::Xdp, &[1, 3]);
    world.nke(&["detach", &ids[0].to_string()]).ok();
    world.assert_trail(Hook::Xdp, &[3]);
    world.nke(&["detach", &ids[2].to_string()]).ok();
    world.assert_trail(Hook::Xdp, &[]);
}

#[test]
fn by_name() {
    for hook in Hook::ALL {
        let world = World::new();
        for n in [1, 2, 3] {
            world.attach(hook, &trail::object(n), &[]);
        }
        world.nke(&["detach", "trail3"]).ok();
        world.assert_trail(hook, &[1, 2]);
        world.on(&["detach", "trail1"]).ok();
        world.assert_trail(hook, &[2]);
        world.at(hook, &["detach", "trail2"]).ok();
        assert!(world.programs(hook).is_empty(), "the root is gone too");
        assert_eq!(world.chain(hook), None);
    }
}

#[test]
fn what_is_at_several_places_must_be_told_apart() {
    let world = World::new();
    let ids = Hook::ALL.map(|hook| world.attach(hook, &trail::object(1), &[]));
    let before = world.chains();
    let error = world.nke(&["detach", "trail1"]).fails("many-attachments");
    let place = |n: usize| {
        format!(
            "{} ({} of {IFACE} in {})",
            ids[n],
            Hook::ALL[n].name(),
            world.inside.name()
        )
    };
    assert_eq!(
        error,
        format!(
            "nke: attachment trail1: detach: several fit: {}, {}, {}; name one by its id, or say \
             where it is: -i, --netns or --cgroup, and --hook\n",
            place(0),
            place(1),
            place(2)
        )
    );
    assert_eq!(world.chains(), before);
    world
        .nke(&["detach", "trail1", "--hook", "interface/in"])
        .ok();
    assert_eq!(world.chain(Hook::In), None);
    assert_eq!(world.chains().len(), 2);
}

#[test]
fn an_interface_narrows_it_down() {
    let (one, other) = (World::new(), World::new());
    // Two worlds, one state: as if the command saw two interfaces.
    for world in [&one, &other] {
        let words = world.target(&["attach", "trail"]);
        std::fs::copy(trail::object(1), one.extensions().join("trail.o")).expect("copied");
        one.nke(&words).ok();
    }
    assert!(
        one.nke(&["detach", "trail"])
            .fails("many-attachments")
            .contains("several fit")
    );
    one.nke(&other.target(&["detach", "trail"])).ok();
    one.assert_trail(Hook::Xdp, &[1]);
    other.assert_trail(Hook::Xdp, &[]);
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let before = world.chains();
    for (words, place) in [
        (&["detach", "nobody"][..], ""),
        (&["detach", "4000000000"], ""),
        (
            &["detach", "nobody", "--hook", "interface/in"],
            " at interface/in",
        ),
    ] {
        let error = world.nke(words).fails("no-attachment");
        assert_eq!(
            error,
            format!(
                "nke: attachment {}: detach: none such{place}; `nke chain` shows those that are\n",
                words[1]
            )
        );
    }
    assert_eq!(world.chains(), before);
}

#[test]
fn an_empty_state_leaves_nothing_behind() {
    let world = World::new();
    for hook in Hook::ALL {
        world.attach(hook, &trail::object(1), &[]);
    }
    let objects = world.objects();
    assert!(objects.count() > 20, "{objects:?}");
    for hook in Hook::ALL {
        world.at(hook, &["detach", "trail1"]).ok();
    }
    assert_eq!(nke_tests::tree(&world.state()), [] as [&str; 0]);
    objects.assert_gone();
}

#[test]
fn traffic_flows_on() {
    let world = World::new();
    for n in [1, 2, 3] {
        world.attach(Hook::Xdp, &trail::object(n), &[]);
    }
    let stream = Stream::inward(&world);
    for name in ["trail2", "trail1", "trail3"] {
        stream.wait(500);
        world.nke(&["detach", name]).ok();
    }
    stream.wait(500);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    let seen: Vec<_> = report.trails.into_keys().collect();
    assert_eq!(seen, [vec![], vec![1, 2, 3], vec![1, 3], vec![3]]);
}
