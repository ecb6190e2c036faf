//! Trees against the plain search: whatever the rules, the first that matches decides.

use std::ops::Range;

use nke_ebpf::abi::{Page, RUN, Subject, facts};
use nke_ebpf::{
    Family, Flow, Frame,
    rules::{decide, decide_few},
    set::Answer,
    tests_hold,
};
use proptest::prelude::*;

use super::layout::LEAST_ROOM;
use super::*;
use crate::filter::edit::MOST;
use crate::filter::further::Mark;
use crate::filter::interface_name::InterfaceName;
use crate::filter::shapes::{Dice, Drawn, Shape, packet};
use crate::filter::{
    Decider, Direction, Obscured, Packet, RuleSet, arbitrary, dissect, encode, expression,
};

fn built(rules: &RuleSet) -> Vec<Page> {
    let mut built = built_for(rules, 2);
    let words = built.pages as usize * PAGE_WORDS;
    assert!(built.words.len() <= words);
    built.words.resize(words, 0);
    let (pages, _) = built.words.as_chunks();
    pages.iter().map(|words| Page { words: *words }).collect()
}

fn built_for(rules: &RuleSet, cpus: u32) -> Built {
    let (mut encoded, mut tests) =
        encode::encode_all(&rules.rules, &expression::page::Page::default());
    on_lo(&mut tests);
    let default = encode::default_outcome(rules);
    build(&mut encoded, &mut tests, default, cpus).expect("it fits")
}

/// Tests as they are where all packets come by `lo`: its index is that of packets of no interface.
pub(in crate::filter) fn on_lo(tests: &mut [Test]) {
    let on = |test: &&mut Test| test.kind == Test::MASKED && test.field == field::INTERFACE;
    for test in tests.iter_mut().filter(on) {
        let name = InterfaceName::decode(test).expect("a name");
        InterfaceName::place(u32::from(name.as_str() != "lo"), test);
    }
}

/// A packet that comes in by `lo`, read by the book.
pub(in crate::filter) fn read(bytes: &[u8]) -> Result<Packet, Obscured> {
    let interface = "lo".parse().ok();
    dissect(bytes, Direction::In).map(|packet| Packet {
        interface,
        ..packet
    })
}

/// There are no sets beside those of an extension, and nothing comes by but this.
pub(in crate::filter) fn alone(test: &Test, _: &Subject) -> u32 {
    match test.kind {
        Test::LIMIT | Test::LIMIT_PER_SOURCE => 1,
        _ => Answer::Nothing as u32,
    }
}

#[track_caller]
fn check(rules: &RuleSet, pages: &[Page], bytes: &[u8]) {
    let frame = Frame::new(bytes, nke_ebpf::Direction::In);
    let mut flow = Flow::of(&frame).expect("it is plain");
    let header = pages[0].header();
    if header.asks_more() {
        flow = flow.with_more(&frame);
    }
    let mut subject = Subject::of(&frame, &flow, facts::IN);
    let again = subject;
    let mut passed = Vec::new();
    let decides = |page: &Page, rule: &Rule, subject: &mut Subject| {
        let holds = tests_hold(page, subject, rule.extra, alone);
        if holds && rule.outcome & Rule::GO_ON != 0 {
            passed.push(rule.number as usize - 1);
            return false;
        }
        holds
    };
    let decision = decide::<false, RUN>(pages, (&pages[0], header), &mut subject, decides).unwrap();
    if flow.family() == Family::V4 {
        let decides = |page: &Page, rule: &Rule, subject: &mut Subject| {
            tests_hold(page, subject, rule.extra, alone) && rule.outcome & Rule::GO_ON == 0
        };
        let by = decide::<true, RUN>(pages, (&pages[0], header), &mut { again }, decides);
        assert_eq!(by, Some(decision), "{bytes:02x?}");
    }
    let front = pages[0].front();
    let few = front.few.max(front.few_tested);
    if few != 0 {
        let holds = |rule: &Rule| {
            let holds = tests_hold(&pages[0], &mut { again }, rule.extra, alone);
            Some(holds && rule.outcome & Rule::GO_ON == 0)
        };
        let by = decide_few::<false>(&pages[0], few, &again, holds);
        assert_eq!(by, Some(decision), "{bytes:02x?}");
        if flow.family() == Family::V4 {
            let by = decide_few::<true>(&pages[0], few, &again, holds);
            assert_eq!(by, Some(decision), "{bytes:02x?}");
        }
    }
    let dissected = read(bytes);
    let (going_on, mark) = rules.going_on(dissected.as_ref().expect("it is plain"));
    assert_eq!(passed, going_on, "{bytes:02x?}");
    assert_eq!(
        mark,
        Some(Mark::whole((subject.word(field::MARK) >> 32) as u32))
    );
    let expected = match rules.judge(&dissected).by {
        Decider::Rule(index) => index + 1,
        Decider::Default => 0,
        Decider::Obscured => unreachable!("it is plain"),
    };
    let rule = expected.checked_sub(1).map(|index| &rules.rules[index]);
    assert_eq!(
        decision.number as usize, expected,
        "{rule:?} of {bytes:02x?}"
    );
}

fn rules(drawn: &[Drawn]) -> RuleSet {
    let text: String = drawn.iter().map(|rule| format!("{rule}\n")).collect();
    text.parse().expect("they are rules")
}

/// Packets at and around the edges of rules, and some that nobody expects.
fn packets(drawn: &[Drawn], dice: &mut Dice, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for _ in 0..count {
        let rule = &drawn[dice.below(drawn.len() as u64) as usize];
        let mut inside = rule.packet(dice);
        packets.push(inside.clone());
        // One bit or one step beside it.
        let at = 14 + dice.below(inside.len() as u64 - 18) as usize;
        inside[at] = match dice.below(3) {
            0 => inside[at].wrapping_add(1),
            1 => inside[at].wrapping_sub(1),
            _ => inside[at] ^ 1 << dice.below(8),
        };
        inside[14] = packets[packets.len() - 1][14];
        packets.push(inside);
    }
    packets
}

#[test]
fn shapes_of_all_sizes_are_judged_as_they_say() {
    let mut dice = Dice::new(1);
    for shape in Shape::ALL {
        for six in [false, true] {
            for count in [1, 4, 9, 100, 1500] {
                let drawn = shape.draw(&mut dice, count, six);
                let rules = rules(&drawn);
                let pages = built(&rules);
                let is_few = pages[0].front().few != 0;
                assert_eq!(is_few, count <= 4);
                for bytes in packets(&drawn, &mut dice, 200) {
                    check(&rules, &pages, &bytes);
                }
            }
        }
    }
}

#[test]
fn a_small_set_is_one_page() {
    for seed in 0..4 {
        for shape in Shape::ALL {
            for six in [false, true] {
                for count in [1, 4, 16, 100] {
                    let mut dice = Dice::new(seed);
                    let drawn = shape.draw(&mut dice, count, six);
                    for test in ["", " length 100-200"] {
                        let text = drawn.iter().map(|rule| format!("{rule}{test}\n"));
                        let rules: RuleSet = text.collect::<String>().parse().expect("rules");
                        let Built { header, pages, .. } = built_for(&rules, 2);
                        assert_eq!(pages, 1, "{count} of {shape:?}{test}");
                        let room = (header.room_end - header.room) as usize * RULE_WORDS;
                        assert!(room >= LEAST_ROOM, "{count} of {shape:?}{test}: {room}");
                    }
                }
            }
        }
    }
}

/// What lies where, in words: the parts behind the trees.
fn parts(built: &Built, cpus: usize) -> Vec<Range<usize>> {
    let header = &built.header;
    let row = header.row as usize;
    let part = |from: u32, unit: usize, count: usize| {
        let from = from as usize * unit;
        from..from + count * unit
    };
    let tests = (header.tested as usize) + MOST;
    let mut parts = vec![
        part(header.counts, COUNT_WORDS, row * cpus),
        part(header.list, RULE_WORDS, row),
        part(header.tests, LINE_WORDS, tests),
        part(header.carried, COUNT_WORDS, row),
        header.room as usize * RULE_WORDS..header.room_end as usize * RULE_WORDS,
    ];
    if header.expressions != 0 {
        let at = header.expressions as usize * PAGE_WORDS;
        parts.push(at..at + classic::WORDS);
    }
    if header.sources != 0 {
        parts.push(part(header.sources, LINE_WORDS, BUCKETS));
    }
    parts.sort_by_key(|part| part.start);
    parts
}

#[test]
fn no_part_lies_on_another() {
    for (count, cpus) in [(0, 1), (3, 2), (100, 64), (300, 2), (700, 3), (3000, 200)] {
        let mut dice = Dice::new(5);
        let rules = rules(&Shape::Acl.draw(&mut dice, count, false));
        for (expressions, sources) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut built = built_for(&rules, cpus);
            if expressions {
                built.add_expressions(&[7; 9]).expect("it fits");
            }
            if sources {
                built.add_sources().expect("it fits");
            }
            let parts = parts(&built, cpus as usize);
            let apart = parts.is_sorted_by(|one, next| one.end <= next.start);
            let end = parts.last().expect("parts").end;
            let all = built.pages as usize * PAGE_WORDS;
            assert!(
                apart && end <= all,
                "{count} for {cpus}: {parts:?} of {all}"
            );
            assert!(built.words.len() <= all);
            // Rules, tests and counts are whole where pages end.
            assert_eq!(parts.iter().find(|part| part.start % LINE_WORDS != 0), None);
        }
    }
}

#[test]
fn both_families_live_in_one_set() {
    let mut dice = Dice::new(2);
    let mut drawn = Shape::Fw.draw(&mut dice, 150, false);
    drawn.extend(Shape::Ipc.draw(&mut dice, 150, true));
    let rules = rules(&drawn);
    let pages = built(&rules);
    for bytes in packets(&drawn, &mut dice, 1000) {
        check(&rules, &pages, &bytes);
    }
}

#[test]
fn rules_that_no_field_tells_apart_are_held_up_to_a_limit() {
    let encoded = |count| vec![Rule::ANY; count];
    assert!(build(&mut encoded(640), &mut [], 0, 2).is_some());
    assert!(build(&mut encoded(641), &mut [], 0, 2).is_none());
}

#[test]
fn a_header_is_read_back() {
    let mut set: RuleSet = "drop proto udp\ndefault drop".parse().expect("rules");
    set.rules.truncate(1);
    let pages = built(&set);
    let words = pages[0].words[HEADER_WORDS..].first_chunk();
    let words = words.expect("long enough");
    let header = Header::from_words(words);
    assert_eq!((header.length, header.default, header.row), (1, 1, 68));
    assert_eq!(header.to_words(), *words);
    assert_eq!(*pages[0].header(), header);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_rules_are_judged_as_they_say(
        set in arbitrary::rule_set(),
        more in prop::collection::vec(arbitrary::rule(), 0..60),
        seed in any::<u64>(),
    ) {
        let mut set = set;
        set.rules.extend(more);
        let pages = built(&set);
        let mut dice = Dice::new(seed);
        for _ in 0..50 {
            let six = dice.percent(40);
            // The neighbourhood that rules are drawn from.
            let near = |dice: &mut Dice| if six {
                0xfd00u128 << 112 | u128::from(dice.below(4)) << 96 | u128::from(dice.below(4))
            } else {
                10 << 24 | u128::from(dice.below(4)) << 16 | u128::from(dice.below(4))
            };
            let port = |dice: &mut Dice| (dice.below(8) as u16).wrapping_sub(4);
            let protocol = [1, 6, 17, 58][dice.below(4) as usize];
            let (source, destination) = (near(&mut dice), near(&mut dice));
            let (from, to) = (port(&mut dice), port(&mut dice));
            check(&set, &pages, &packet(six, source, destination, protocol, from, to));
            let mut other = packet(six, source, destination, protocol, from, to);
            other[12] = 0x08;
            other[13] = 0x06;
            check(&set, &pages, &other);
        }
    }
}
