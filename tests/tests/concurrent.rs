//! Many `nke` at once: each edit happens whole, one after the other, and nobody ever sees half.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nke_tests::{Dice, Hook, Stream, World, trace, trail};

#[test]
fn the_first_commands_of_all_find_one_state() {
    // Each of them finds no state, and makes it.
    let world = World::new();
    let barrier = Barrier::new(8);
    let objects: Vec<_> = (1..=8).map(trail::object).collect();
    thread::scope(|scope| {
        for (n, object) in (1..).zip(&objects) {
            let (world, barrier) = (&world, &barrier);
            scope.spawn(move || {
                let priority = n.to_string();
                let mut command =
                    world.command(&world.target(&["attach", object, "--priority", &priority]));
                barrier.wait();
                nke_tests::Ran::of(&mut command).ok();
            });
        }
    });
    world.assert_trail(Hook::Xdp, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the mounts can be read");
    let state = world.state().display().to_string();
    assert_eq!(mounts.matches(&state).count(), 1, "one bpffs");
}

#[test]
fn a_state_that_empties_and_fills_is_never_lost() {
    // The last to leave unmounts it while the next one comes in.
    let world = World::new();
    thread::scope(|scope| {
        for (n, hook) in [(1, Hook::Xdp), (2, Hook::In), (3, Hook::Out)] {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..15 {
                    world.attach(hook, &trail::object(n), &[]);
                    world.assert_trail(hook, &[n]);
                    let chain = world.chain(hook).expect("the chain is there");
                    assert_eq!(chain.nodes.len(), 1, "{chain:?}");
                    world.at(hook, &["detach", &format!("trail{n}")]).ok();
                    world.assert_trail(hook, &[]);
                }
            });
        }
    });
    assert_eq!(nke_tests::tree(&world.state()), [] as [&str; 0]);
}

#[test]
fn edits_of_one_chain_at_once() {
    for hook in Hook::ALL {
        let world = World::new();
        world.attach(hook, &trail::object(100), &["--priority", "0"]);
        world.attach(hook, &trail::object(101), &["--priority", "1000"]);
        thread::scope(|scope| {
            for n in 1..=5u8 {
                let world = &world;
                scope.spawn(move || edit(world, hook, n));
            }
        });
        // Each left its own node behind, at its priority.
        world.assert_trail(hook, &[100, 1, 2, 3, 4, 5, 101]);
        let chain = world.chain(hook).expect("the chain is there");
        let names = [
            "trail100", "trail1", "trail2", "trail3", "trail4", "trail5", "trail101",
        ];
        assert_eq!(chain.names(), names);
        let mut ids: Vec<_> = chain.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7, "{chain:?}");
        assert_eq!(world.list().len(), 7);
        let nodes = world
            .state()
            .join("chains")
            .join(hook.name().replace('/', "-"));
        let left = nke_tests::tree(&nodes);
        let directories = left.iter().filter(|line| line.matches('/').count() == 3);
        let directories: Vec<_> = directories.filter(|line| line.ends_with('/')).collect();
        assert_eq!(directories.len(), 8, "seven nodes and the root: {left:#?}");
    }
}

/// What one of them does: its own node in, about, replaced, out, and in again for good.
fn edit(world: &World, hook: Hook, n: u8) {
    let (object, other) = (trail::object(n), trail::object(n + 50));
    let priority = (u32::from(n) * 10).to_string();
    for round in 0..4 {
        let id = world
            .attach(hook, &object, &["--priority", "500"])
            .to_string();
        world.nke(&["move", &id, "--priority", &priority]).ok();
        world.nke(&["replace", &id, &other]).ok();
        world.nke(&["replace", &id, &object]).ok();
        if round < 3 {
            world.nke(&["detach", &id]).ok();
        }
    }
}

#[test]
fn readers_never_see_half_an_edit() {
    let world = World::new();
    for (n, priority) in [(1, "10"), (2, "20"), (3, "30")] {
        world.attach(Hook::Xdp, &trail::object(n), &["--priority", priority]);
    }
    let stream = Stream::inward(&world);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let chain = world.chain(Hook::Xdp).expect("the chain is always there");
                let names: Vec<_> = chain
                    .names()
                    .into_iter()
                    .filter(|n| *n != "trail9")
                    .collect();
                assert_eq!(names.len(), 3, "{chain:?}");
                assert!(
                    chain
                        .nodes
                        .windows(2)
                        .all(|w| w[0].priority <= w[1].priority),
                    "{chain:?}"
                );
                let uses: u32 = world.list().iter().map(|extension| extension.uses).sum();
                assert!((3..=4).contains(&uses));
                seen += 1;
            }
            seen
        });
        for n in 0..25 {
            let priority = (n % 4 * 10 + 5).to_string();
            world.attach(Hook::Xdp, &trail::object(9), &["--priority", &priority]);
            world
                .nke(&["move", "trail2", "--priority", &(n % 3 * 15).to_string()])
                .ok();
            world.nke(&["detach", "trail9"]).ok();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader saw no half") > 5);
    });
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    let whole = |trail: &Vec<u8>| {
        let mut sorted = trail.clone();
        sorted.sort_unstable();
        sorted == [1, 2, 3] || sorted == [1, 2, 3, 9]
    };
    assert!(report.trails.keys().all(whole), "{:?}", report.trails);
}

#[test]
fn loads_and_unloads_at_once_are_all_counted() {
    let world = World::new();
    let object = trail::object(1);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    world.nke(&["load", &object]).ok();
                }
                for _ in 0..3 {
                    world.nke(&["unload", "trail1"]).ok();
                }
            });
        }
    });
    assert_eq!(world.list()[0].loads, 12);
}

#[test]
fn some_are_killed_and_the_others_do_not_suffer() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(100), &["--priority", "0"]);
    world.attach(Hook::Xdp, &trail::object(101), &["--priority", "1000"]);
    let stream = Stream::inward(&world);
    thread::scope(|scope| {
        // Two whose every edit must do what it says, and two that are killed again and again.
        for n in 1..=2 {
            let world = &world;
            scope.spawn(move || edit(world, Hook::Xdp, n));
        }
        for seed in 1..=2 {
            let world = &world;
            scope.spawn(move || be_killed(world, seed));
        }
    });
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    for trail in report.trails.keys() {
        assert_eq!(
            (trail.first(), trail.last()),
            (Some(&100), Some(&101)),
            "{trail:?}"
        );
        // A killed attach may be done, and done again. The others are there once or not at all.
        for n in [1, 2] {
            let theirs = trail.iter().filter(|seen| [n, n + 50].contains(seen));
            assert!(theirs.count() <= 1, "{trail:?}");
        }
    }

    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(chain.names(), ["trail100", "trail1", "trail2", "trail101"]);
    for node in chain.nodes {
        world.nke(&["detach", &node.id.to_string()]).ok();
    }
    assert_eq!(world.list(), []);
    assert_eq!(nke_tests::tree(&world.state()), [] as [&str; 0]);
}

/// Edits of a node of its own, most of which never come to their end.
fn be_killed(world: &World, seed: u64) {
    let mut dice = Dice::new(seed);
    let object = trail::object(30 + u8::try_from(seed).expect("small"));
    let name = format!("trail{}", 30 + seed);
    let priority = (30 + seed).to_string();
    for _ in 0..15 {
        for words in [
            world.target(&["attach", &object, "--priority", &priority]),
            vec!["move", &name, "--priority", &priority],
            vec!["detach", &name],
        ] {
            let mut left = dice.below(600);
            // Whether it was killed, failed since an earlier one was, or came to its end: what
            // counts is what the others see.
            drop(trace(&mut world.command(&words), |_| {
                left = left.saturating_sub(1);
                left == 0
            }));
        }
    }
    // Attached more than once if detaching was killed, or not at all.
    while world.nke(&["detach", &name]).code == Some(0) {}
    for node in world
        .chain(Hook::Xdp)
        .map(|chain| chain.nodes)
        .unwrap_or_default()
    {
        if node.extension == name {
            world.nke(&["detach", &node.id.to_string()]).ok();
        }
    }
}
