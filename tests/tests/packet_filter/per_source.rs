//! Limits `per source`: each sender has its burst, whoever else sends.

use std::collections::HashMap;

use nke::filter::{Action, RuleSet};
use nke_tests::{
    Dice, Hook, World,
    frame::{Frame, Ip},
};

use crate::filter::Filter;

/// How many places the table of a rule set has.
const PLACES: usize = 65_536;

fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

fn v4(source: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = source;
    let source = format!("{a}.{b}.{c}.{d}");
    Frame::from_outside().ip(&Ip::new(&source, "10.0.0.2").udp(1, 1, &[0; 20]))
}

fn v6(source: &str) -> Vec<u8> {
    Frame::from_outside().ip(&Ip::new(source, "fd00::2").udp(1, 1, &[0; 20]))
}

fn is_passed(filter: &Filter, packet: &[u8]) -> bool {
    filter.run(packet) == Some(Action::Pass)
}

#[test]
fn each_source_has_its_burst_at_every_hook() {
    for hook in [Hook::Xdp, Hook::In, Hook::Out] {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        // None comes back within the test.
        filter.write(&rules(
            "drop proto udp limit over 1/d burst 3 per source\ncount proto udp limit 1/d burst 1 per source",
        ));
        let mut dice = Dice::new(7);
        let mut seen: HashMap<[u8; 4], u32> = HashMap::new();
        for _ in 0..2000 {
            let source = [10, 0, dice.pick(&[1, 2, 3, 4]), dice.pick(&[5, 6, 7, 8, 9])];
            let times = seen.entry(source).or_default();
            *times += 1;
            let passed = is_passed(&filter, &v4(source));
            assert_eq!(passed, *times <= 3, "{hook:?}: {source:?}, {times}");
        }
        // The other limit knows the same sources by itself.
        let packets: Vec<u64> = filter.read().rules.iter().map(|it| it.1.packets).collect();
        assert_eq!(packets, [2000 - 3 * 20, 20], "{hook:?}");
    }
}

#[test]
fn a_source_is_what_the_rule_says() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let passed = |filter: &Filter, packets: &[Vec<u8>]| -> Vec<bool> {
        packets
            .iter()
            .map(|packet| is_passed(filter, packet))
            .collect()
    };
    let fours = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 1, 1], [10, 0, 0, 1]].map(v4);
    let sixes = [
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "2001:db8::1",
    ]
    .map(v6);
    for (said, of_v4, of_v6) in [
        ("", [true, true, true, false], [true, false, true, false]),
        (
            "/24",
            [true, false, true, false],
            [true, false, true, false],
        ),
        ("/128", [true, true, true, false], [true, true, true, false]),
        (
            "/16/48",
            [true, false, false, false],
            [true, false, false, false],
        ),
    ] {
        filter.write(&rules(&format!(
            "drop limit over 1/d burst 1 per source{said}"
        )));
        assert_eq!(passed(&filter, &fours), of_v4, "{said}");
        assert_eq!(passed(&filter, &sixes), of_v6, "{said}");
    }
}

#[test]
fn a_flood_of_sources_is_bounded_and_frees_nobody_who_is_over() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    filter.write(&rules("drop limit over 1/d burst 50 per source"));
    let (calm, loud) = (v4([192, 0, 2, 1]), v4([192, 0, 2, 2]));
    for _ in 0..60 {
        let _: Option<Action> = filter.run(&loud);
    }
    let before = filter.memory();
    assert!(is_passed(&filter, &calm) && !is_passed(&filter, &loud));
    for number in 0..u32::try_from(PLACES * 3).expect("few") {
        let [_, b, c, d] = number.to_be_bytes();
        assert!(is_passed(&filter, &v4([11, b, c, d])), "each is new");
        if number.is_multiple_of(1024) {
            assert!(!is_passed(&filter, &loud), "it is forgotten after {number}");
        }
    }
    assert_eq!(filter.memory(), before);
    assert!(is_passed(&filter, &calm));
}

#[test]
fn sources_that_go_too_early_are_counted() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let flood = |filter: &Filter, net: u8, count: usize| {
        for number in 0..u32::try_from(count).expect("few") {
            let [_, b, c, d] = number.to_be_bytes();
            assert!(is_passed(filter, &v4([net, b, c, d])), "each is new");
        }
    };
    // None comes back within the test.
    let limit = "drop limit over 1/d burst 50 per source";
    filter.write(&rules(limit));
    flood(&filter, 11, 16);
    assert_eq!(filter.read().evicted_sources, 0);
    flood(&filter, 12, PLACES * 2);
    let gone = filter.read().evicted_sources;
    // As many as came, but for those that there are places for: almost all of these are taken.
    let (most, came) = (PLACES as u64, 16 + PLACES as u64 * 2);
    assert!(
        (came - most..came - most * 9 / 10).contains(&gone),
        "{gone} of {came}"
    );
    let listed = world.on(&["filter", "list"]).ok().stdout;
    let line = format!("\n{gone} sources of limits were forgotten too early, for want of room\n");
    assert!(listed.ends_with(&line), "{listed}");
    // They are counted on in an edit, in place or not.
    for more in ["drop to any port 9", "drop limit over 2/d per source"] {
        filter.write(&rules(&format!("{limit}\n{more}")));
        assert_eq!(filter.read().evicted_sources, gone, "{more}");
    }
    flood(&filter, 13, 1000);
    let gone = filter.read().evicted_sources - gone;
    assert!(gone > 900, "{gone}");

    // Who has rested is not missed.
    filter.write(&rules("drop limit over 1000000/s burst 1 per source"));
    let before = filter.read().evicted_sources;
    flood(&filter, 14, PLACES * 2);
    assert_eq!(filter.read().evicted_sources, before);
}

#[test]
fn what_has_come_by_of_a_source_stays_in_an_edit() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::In);
    let limit = "drop limit over 1/d burst 2 per source";
    filter.write(&rules(limit));
    let sources: Vec<_> = (0..200).map(|number| v4([10, 1, 2, number])).collect();
    let passed = |filter: &Filter| {
        let passed = sources.iter().filter(|packet| is_passed(filter, packet));
        passed.count()
    };
    assert_eq!(passed(&filter), 200);
    // Anew, before it and behind it; a limit that says the same twice is two.
    filter.write(&rules(&format!(
        "drop to any port 9\n{limit}\ndrop to any port 10"
    )));
    assert_eq!(passed(&filter), 200);
    assert_eq!(passed(&filter), 0);
    filter.write(&rules(&format!("{limit}\n{limit}")));
    assert_eq!(passed(&filter), 0);
    // In place.
    let many = |last: &str| {
        rules(&format!(
            "{limit}\ndrop to any port 9\ndrop to any port 10\ndrop to any port 11\ndrop to any port 12\n{last}"
        ))
    };
    filter.write(&many(""));
    assert_eq!(passed(&filter), 0);
    filter.write(&many("drop to any port 13"));
    assert_eq!(passed(&filter), 0);
    // Another limit begins anew.
    filter.write(&rules("drop limit over 1/d burst 1 per source"));
    assert_eq!(passed(&filter), 200);
    assert_eq!(passed(&filter), 0);
}
