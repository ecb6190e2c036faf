//! Edits while packets are judged: none sees half of one, and rules that stay keep their hits.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nke::filter::{
    Action, Decider, Error, Hits, Rule, RuleSet, dissect,
    shapes::{Dice, Shape},
};
use nke_tests::{
    Hook, World,
    frame::{Frame, Ip},
};

use crate::filter::Filter;

fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

fn udp(port: u16) -> Vec<u8> {
    Frame::from_outside().ip(&Ip::new("10.0.0.1", "10.0.0.2").udp(1, port, b""))
}

fn hits(filter: &Filter) -> Vec<(String, u64)> {
    let listing = filter.read();
    listing
        .rules
        .iter()
        .map(|(rule, hits)| (rule.to_string(), hits.packets))
        .collect()
}

#[track_caller]
fn check_hits(filter: &Filter, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(rule, hits)| ((*rule).to_owned(), *hits))
        .collect();
    assert_eq!(hits(filter), expected);
}

#[test]
fn without_rules_everything_passes() {
    let world = World::new();
    let filter = Filter::attach(&world, Hook::Xdp);
    assert_eq!(filter.run(&udp(53)), Some(Action::Pass));
    let listing = filter.read();
    assert_eq!(
        (listing.rules(), listing.default_hits),
        (RuleSet::default(), Hits::default())
    );
}

#[test]
fn rules_that_stay_keep_their_hits() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::In);
    filter.write(&rules("drop to any port 1\ndrop to any port 2\n"));
    for port in [1, 2, 2] {
        assert_eq!(filter.run(&udp(port)), Some(Action::Drop));
    }
    check_hits(
        &filter,
        &[("drop to any port 1", 1), ("drop to any port 2", 2)],
    );

    // Another comes in front, and both change places.
    filter.write(&rules(
        "drop to any port 3\ndrop to any port 2\ndrop to any port 1\n",
    ));
    filter.run(&udp(3));
    filter.run(&udp(1));
    check_hits(
        &filter,
        &[
            ("drop to any port 3", 1),
            ("drop to any port 2", 2),
            ("drop to any port 1", 2),
        ],
    );

    // One goes; when it comes again it is another.
    filter.write(&rules("drop to any port 1\n"));
    filter.write(&rules("drop to any port 2\ndrop to any port 1\n"));
    check_hits(
        &filter,
        &[("drop to any port 2", 0), ("drop to any port 1", 2)],
    );
}

#[test]
fn a_full_filter_says_so_and_stays_as_it_is() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let limit = nke_ebpf::abi::RUN * nke_ebpf::abi::ROOTS;
    // Rules that no field tells apart: there is no tree that could help.
    let line = |port: usize| format!("drop to any port {port}\n").repeat(limit);
    let full = rules(&line(1));
    filter.write(&full);
    assert_eq!(filter.run(&udp(1)), Some(Action::Drop));
    assert_eq!(filter.run(&udp(2)), Some(Action::Pass));

    let mut more = full.clone();
    more.rules.insert(0, Rule::all(Action::Drop));
    let Err(Error::Full {
        wanted,
        limit: said,
    }) = filter.try_write(&more)
    else {
        nke_tests::fail("one rule too many was written");
    };
    assert_eq!((wanted, said), (limit + 1, limit));
    assert_eq!(filter.read().rules(), full);
    assert_eq!(filter.run(&udp(2)), Some(Action::Pass));

    // All of them go at once, and as many others come, which begin at zero.
    filter.write(&rules(&line(3)));
    assert!(
        filter
            .read()
            .rules
            .iter()
            .all(|(_, hits)| *hits == Hits::default())
    );
}

#[test]
fn a_packet_sees_the_old_rules_or_the_new() {
    const EDITS: usize = 300;
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    // Each set passes the packet, one near its beginning, one near its end; of the wrong half of
    // each there is no rule for it.
    let others: String = (0..900)
        .map(|port| format!("drop to any port {port}\n"))
        .collect();
    let pass = "pass to any port 1000\n";
    let early = rules(&format!("default drop\n{pass}{others}"));
    let late = rules(&format!("default drop\n{others}{pass}"));
    filter.write(&early);

    let stop = AtomicBool::new(false);
    let run = filter.runner();
    let packet = udp(1000);
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(run(&packet), Some(Action::Pass), "packet {count}");
                count += 1;
            }
            count
        });
        for edit in 0..EDITS {
            filter.write(if edit % 2 == 0 { &late } else { &early });
        }
        stop.store(true, Ordering::Relaxed);
        let count = runner.join().expect("every packet passed");
        let listing = filter.read();
        let passed = listing
            .rules
            .iter()
            .find(|(rule, _)| rule.to_string() == pass.trim());
        // The rule has stayed through all edits, and has counted every packet once.
        assert_eq!(passed.map(|(_, hits)| hits.packets), Some(count));
        assert_eq!(listing.default_hits, Hits::default());
    });
}

#[test]
fn a_packet_sees_all_of_an_edit_in_place_or_nothing() {
    const EDITS: usize = 300;
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    // Two rules go at once and two others come, of which each passes the packet; in between it would
    // find a rule that drops it, or none.
    let others: String = (0..900)
        .map(|port| format!("drop to any port {port}\n"))
        .collect();
    let one = "drop to 10.0.0.3\npass to any port 1000\n";
    let other = "pass to 10.0.0.2\ndrop to any port 900-1100\n";
    let sets = [one, other].map(|two| rules(&format!("default drop\n{others}{two}")));
    filter.write(&sets[0]);

    let stop = AtomicBool::new(false);
    let run = filter.runner();
    let packet = udp(1000);
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(run(&packet), Some(Action::Pass), "packet {count}");
                count += 1;
            }
            count
        });
        for edit in 1..=EDITS {
            filter.write(&sets[edit % 2]);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(runner.join().expect("every packet passed") > 0);
    });
    assert_eq!(filter.read().default_hits, Hits::default());
}

#[test]
fn rules_that_come_and_go_are_judged_and_counted_as_they_say() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::In);
    let mut dice = Dice::new(11);
    let drawn = Shape::Ipc.draw(&mut dice, 400, false);
    let parsed = |index: usize| -> Rule { drawn[index].to_string().parse().expect("a rule") };
    let mut set = RuleSet {
        rules: (0..300).map(parsed).collect(),
        ..RuleSet::default()
    };
    filter.write(&set);
    let mut hits = vec![Hits::default(); set.rules.len()];
    for new in 300..400 {
        // A rule that goes takes its hits with it.
        let at = dice.below(set.rules.len() as u64) as usize;
        if dice.percent(50) {
            set.rules.insert(at, parsed(new));
            hits.insert(at, Hits::default());
        } else {
            set.rules.remove(at);
            hits.remove(at);
        }
        filter.write(&set);
        for _ in 0..20 {
            let packet = drawn[dice.below(400) as usize].packet(&mut dice);
            let judgement = set.judge(&dissect(&packet, filter.direction()));
            assert_eq!(filter.run(&packet), Some(judgement.action), "{judgement:?}");
            if let Decider::Rule(index) = judgement.by {
                hits[index].packets += 1;
                hits[index].bytes += packet.len() as u64;
            }
        }
        let listing = filter.read();
        assert_eq!(listing.rules(), set);
        let found: Vec<Hits> = listing.rules.iter().map(|(_, hits)| *hits).collect();
        assert_eq!(found, hits);
    }
}

#[test]
fn a_packet_is_judged_by_the_expressions_of_its_own_rules() {
    const EDITS: usize = 120;
    // The same expressions in another order, or fewer, so that the answers to those of one set are others to the next:
    // by any of them a rule of another set drops the packet, or none passes it. There are many, so that most
    // edits come while they are asked.
    let pass = "pass expr 'udp port 1000'\n";
    let others: String = (2001..=2020)
        .map(|port| format!("drop expr 'udp port {port}'\n"))
        .collect();
    let sets = [
        rules(&format!("default drop\n{pass}{others}")),
        rules(&format!("default drop\n{others}{pass}")),
        rules(&format!("default drop\n{others}pass to any port 1000\n")),
    ];
    for hook in [Hook::Xdp, Hook::In] {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        filter.write(&sets[0]);
        let stop = AtomicBool::new(false);
        let run = filter.runner();
        let packet = udp(1000);
        thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let mut count = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(run(&packet), Some(Action::Pass), "{hook:?}: packet {count}");
                    count += 1;
                }
                count
            });
            for edit in 1..=EDITS {
                filter.write(&sets[edit % sets.len()]);
            }
            stop.store(true, Ordering::Relaxed);
            let count = runner.join().expect("every packet passed");
            assert!(count > EDITS as u64, "{count} packets");
            assert_eq!(filter.read().default_hits, Hits::default(), "{hook:?}");
        });
    }
}
