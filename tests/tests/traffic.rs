//! Edits under live traffic: no packet is lost, and every packet sees the chain as it was or as
//! it is to be, whole: no node twice, none left out.

use std::collections::BTreeSet;

use nke_tests::{Hook, Report, Stream, World, tcp_exchange, trail};

/// Between two edits this many packets pass.
const BETWEEN: u64 = 40;

fn start(world: &World, hook: Hook) -> Stream {
    if hook == Hook::Out {
        Stream::outward(world)
    } else {
        Stream::inward(world)
    }
}

/// Nothing was lost, and nothing was seen but these.
#[track_caller]
fn check(report: &Report, legal: &[&[u8]]) {
    assert_eq!(report.lost, [] as [u64; 0], "of {} sent", report.sent);
    let legal: BTreeSet<Vec<u8>> = legal.iter().map(|trail| trail.to_vec()).collect();
    let seen: BTreeSet<Vec<u8>> = report.trails.keys().cloned().collect();
    assert!(
        seen.is_subset(&legal),
        "seen {:?}, legal {legal:?}",
        report.trails
    );
}

#[test]
fn inserting_and_removing() {
    for hook in Hook::ALL {
        let world = World::new();
        for n in [1, 2, 3] {
            world.attach(
                hook,
                &trail::object(n),
                &["--priority", &(10 * n).to_string()],
            );
        }
        let stream = start(&world, hook);
        for _ in 0..10 {
            for priority in ["5", "15", "25", "35"] {
                stream.wait(BETWEEN);
                world.attach(hook, &trail::object(9), &["--priority", priority]);
                stream.wait(BETWEEN);
                world.at(hook, &["detach", "trail9"]).ok();
            }
        }
        stream.wait(BETWEEN);
        let legal: [&[u8]; 5] = [
            &[1, 2, 3],
            &[9, 1, 2, 3],
            &[1, 9, 2, 3],
            &[1, 2, 9, 3],
            &[1, 2, 3, 9],
        ];
        let report = stream.stop();
        check(&report, &legal);
        assert_eq!(
            report.trails.len(),
            legal.len(),
            "every chain was in force: {report:?}"
        );
    }
}

#[test]
fn the_first_and_the_last() {
    for hook in Hook::ALL {
        let world = World::new();
        let stream = start(&world, hook);
        for _ in 0..15 {
            stream.wait(BETWEEN);
            world.attach(hook, &trail::object(1), &[]);
            stream.wait(BETWEEN);
            world.at(hook, &["detach", "trail1"]).ok();
        }
        stream.wait(BETWEEN);
        check(&stream.stop(), &[&[], &[1]]);
    }
}

#[test]
fn moving() {
    for hook in Hook::ALL {
        let world = World::new();
        for n in [1, 2, 3, 4] {
            world.attach(
                hook,
                &trail::object(n),
                &["--priority", &(10 * n).to_string()],
            );
        }
        let stream = start(&world, hook);
        for _ in 0..10 {
            for priority in ["45", "25", "35", "5"] {
                stream.wait(BETWEEN);
                world
                    .at(hook, &["move", "trail1", "--priority", priority])
                    .ok();
            }
        }
        stream.wait(BETWEEN);
        let legal: [&[u8]; 4] = [&[1, 2, 3, 4], &[2, 3, 4, 1], &[2, 1, 3, 4], &[2, 3, 1, 4]];
        let report = stream.stop();
        check(&report, &legal);
        assert_eq!(
            report.trails.len(),
            legal.len(),
            "every chain was in force: {report:?}"
        );
    }
}

#[test]
fn replacing() {
    for hook in Hook::ALL {
        let world = World::new();
        let ids = [1, 2, 3].map(|n| world.attach(hook, &trail::object(n), &[]));
        let [first, middle, last] = ids.map(|id| id.to_string());
        let stream = start(&world, hook);
        for n in [9, 2].repeat(5) {
            stream.wait(BETWEEN);
            world.nke(&["replace", &middle, &trail::object(n)]).ok();
        }
        for (id, n) in [(&first, 8), (&last, 7), (&first, 1), (&last, 3)] {
            stream.wait(BETWEEN);
            world.nke(&["replace", id, &trail::object(n)]).ok();
        }
        stream.wait(BETWEEN);
        let legal: [&[u8]; 5] = [&[1, 2, 3], &[1, 9, 3], &[8, 2, 3], &[8, 2, 7], &[1, 2, 7]];
        check(&stream.stop(), &legal);
    }
}

#[test]
fn a_policy_that_comes_and_goes_touches_nothing_else() {
    let world = World::new();
    world.attach(Hook::Out, &trail::object(1), &[]);
    world.attach(Hook::Out, &trail::object(2), &[]);
    let stream = start(&world, Hook::Out);
    for _ in 0..3 {
        stream.wait(BETWEEN);
        world.on(&["policy", "drop"]).ok();
        world.on(&["policy", "pass"]).ok();
    }
    stream.wait(BETWEEN);
    let report = stream.stop();
    // What met the drop policy is gone, and that must be all that happened to it.
    assert!(
        report.trails.keys().all(|trail| trail == &[1, 2]),
        "{:?}",
        report.trails
    );
}

#[test]
fn a_tcp_conversation_goes_on_through_edits() {
    let world = World::with_addresses();
    for n in [1, 2, 3] {
        world.attach(Hook::In, &trail::object(n), &[]);
    }
    let wait = std::time::Duration::from_secs(20);
    let done = std::thread::scope(|scope| {
        let exchange =
            scope.spawn(|| (0..10).all(|n| tcp_exchange(&world, n % 2 == 0, 80 + n, wait)));
        while !exchange.is_finished() {
            world.attach(Hook::In, &trail::object(9), &["--before", "trail2"]);
            world.nke(&["move", "trail9", "--priority", "99"]).ok();
            world.nke(&["replace", "trail9", &trail::object(8)]).ok();
            world.nke(&["detach", "trail8"]).ok();
        }
        exchange.join().expect("the exchange does not panic")
    });
    assert!(done);
}
