//! Edits in place against the plain search: after each of them, the first rule that matches decides.

use nke_ebpf::abi::{Page, RUN, Subject, facts};
use nke_ebpf::{Flow, Frame, rules, tests_hold};
use proptest::prelude::*;

use super::*;
use crate::filter::seen;
use crate::filter::shapes::{Dice, Drawn, Shape};
use crate::filter::tree::tests::{alone, on_lo, read};
use crate::filter::{Decider, arbitrary, expression};

#[test]
fn rules_come_between_their_neighbours() {
    let old = [100, 200, 300];
    let check = |staying: &[Option<usize>], expected: Option<&[u32]>| {
        assert_eq!(orders(&old, staying).as_deref(), expected, "{staying:?}");
    };
    check(&[Some(0), Some(1), Some(2)], Some(&[]));
    check(&[Some(0), None, Some(1), Some(2)], Some(&[150]));
    check(&[None, None, None, Some(0)], Some(&[25, 50, 75]));
    check(&[Some(2), None, None], Some(&[300 + STEP, 300 + 2 * STEP]));
    check(&[None; 1], Some(&[STEP]));
    let many = [&[None; 100][..], &[Some(0)]].concat();
    check(&many, None);
}

/// A set that holds these rules and no trace of others.
fn anew(rules: &RuleSet) -> Set {
    let (mut encoded, mut tests) =
        encode::encode_all(&rules.rules, &expression::page::Page::default());
    on_lo(&mut tests);
    let default = encode::default_outcome(rules);
    let built = tree::build(&mut encoded, &mut tests, default, 2).expect("it fits");
    Set::in_memory(built.pages, &built.words)
}

fn rules_of(set: &Set) -> Result<(Vec<crate::filter::Rule>, Places), crate::filter::Error> {
    let places = Places::of(set)?;
    Ok((seen::rules_of(set, &places)?, places))
}

/// Prepares these rules, of which some stay.
fn prepared(set: &Set, places: &Places, new: &RuleSet, staying: &[Option<usize>]) -> Option<Edit> {
    let coming = new.rules.iter().zip(staying).filter(|it| it.1.is_none());
    let new = New {
        default: new.default,
        staying,
        coming: coming.map(|(rule, _)| rule).collect(),
    };
    prepare(set, places, &new)
}

/// Makes these rules of those that are there; whether it could be done in place.
fn edited(set: Set, new: &RuleSet) -> (Set, bool) {
    let (old, places) = rules_of(&set).expect("they are rules");
    let staying = carry::staying(&old, &new.rules);
    match prepared(&set, &places, new, &staying) {
        Some(edit) => {
            // Until then, nothing has changed.
            let set = set.again();
            assert_eq!(rules_of(&set).expect("rules").0, old);
            set.put_in_force(edit.behind);
            (set.again(), true)
        }
        None => (anew(new), false),
    }
}

#[track_caller]
fn check(set: &Set, new: &RuleSet, packets: &[Vec<u8>]) {
    let (rules, places) = rules_of(set).expect("they are rules");
    assert_eq!(rules, new.rules);
    let words: Vec<u64> = set.words(0, usize::MAX).collect();
    let (pages, _) = words.as_chunks();
    let pages: Vec<Page> = pages.iter().map(|words| Page { words: *words }).collect();
    let header = pages[0].header();
    for bytes in packets {
        let frame = Frame::new(bytes, nke_ebpf::Direction::In);
        let mut flow = Flow::of(&frame).expect("it is plain");
        if header.asks_more() {
            flow = flow.with_more(&frame);
        }
        let mut subject = Subject::of(&frame, &flow, facts::IN);
        let mut passed = Vec::new();
        let decides = |page: &Page, rule: &Rule, subject: &mut Subject| {
            let holds = tests_hold(page, subject, rule.extra, alone);
            if holds && rule.outcome & Rule::GO_ON != 0 {
                passed.push(rule.number);
                return false;
            }
            holds
        };
        let decision =
            rules::decide::<false, RUN>(&pages[..], (&pages[0], header), &mut subject, decides)
                .unwrap();
        let dissected = read(bytes);
        let (going_on, _) = new.going_on(dissected.as_ref().expect("it is plain"));
        let going_on = going_on.iter().map(|index| places.numbers[*index]);
        assert_eq!(passed, going_on.collect::<Vec<_>>(), "{bytes:02x?}");
        let judgement = new.judge(&dissected);
        let number = match judgement.by {
            Decider::Rule(index) => places.numbers[index],
            Decider::Default => 0,
            Decider::Obscured => unreachable!("it is plain"),
        };
        assert_eq!(decision.number, number, "{judgement:?} of {bytes:02x?}");
        let becomes = decision.outcome & (Rule::VERDICTS | Rule::REDIRECT);
        let wanted = encode::outcome(judgement.action);
        assert_eq!(
            becomes, wanted,
            "{judgement:?} of {bytes:02x?}: {decision:?}"
        );
        let place = number.checked_sub(1).map(|index| {
            let index = header.list as usize + index as usize;
            let page = &pages[index / abi::RULES_IN_PAGE];
            page.place(index, header.edition) as usize
        });
        let expected = places.numbers.iter().position(|it| *it == number);
        assert_eq!(place, expected.map(|place| place + 1));
    }
}

fn parsed(drawn: &Drawn) -> crate::filter::Rule {
    drawn.to_string().parse().expect("it is a rule")
}

#[test]
fn shapes_that_are_edited_are_judged_as_they_say() {
    let mut dice = Dice::new(3);
    for shape in Shape::ALL {
        for count in [1, 20, 1000] {
            let mut drawn = shape.draw(&mut dice, count + 60, false);
            drawn.extend(shape.draw(&mut dice, 20, true));
            let packets: Vec<_> = drawn.iter().map(|rule| rule.packet(&mut dice)).collect();
            let mut rules = RuleSet {
                rules: drawn[..count].iter().map(parsed).collect(),
                ..RuleSet::default()
            };
            let mut set = anew(&rules);
            let mut in_place = 0;
            for new in &drawn[count..] {
                let at = dice.below(rules.rules.len() as u64 + 1) as usize;
                if dice.percent(60) || at == rules.rules.len() {
                    rules.rules.insert(at, parsed(new));
                } else {
                    rules.rules.remove(at);
                }
                let done;
                (set, done) = edited(set, &rules);
                in_place += usize::from(done);
                check(&set, &rules, &packets);
            }
            assert!(in_place > 20, "{shape:?} of {count}: {in_place} of 80");
        }
    }
}

#[test]
fn an_edit_that_was_interrupted_changes_nothing() {
    let rules: RuleSet =
        "drop proto 1\ndrop proto 2\ndrop proto 3\ndrop proto 4\ndrop proto 5\npass"
            .parse()
            .expect("rules");
    let mut fewer = rules.clone();
    fewer.rules.remove(0);
    let set = anew(&rules);
    let (old, places) = rules_of(&set).expect("rules");
    let staying = carry::staying(&old, &fewer.rules);
    assert!(prepared(&set, &places, &fewer, &staying).is_some());
    // And so it ends. The next one sees it, and goes another way.
    let set = set.again();
    let (old, places) = rules_of(&set).expect("rules");
    assert_eq!(old, rules.rules);
    assert!(!places.whole);
    assert!(!edited(set, &fewer).1);
}

#[test]
fn rules_that_change_places_are_written_anew() {
    let rules: RuleSet =
        "drop proto 1\ndrop proto 2\ndrop proto 3\ndrop proto 4\ndrop proto 5\npass"
            .parse()
            .expect("rules");
    let mut others = rules.clone();
    others.rules.swap(0, 1);
    assert!(!edited(anew(&rules), &others).1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_rules_that_are_edited_are_judged_as_they_say(
        first in arbitrary::rule_set(),
        edits in prop::collection::vec(
            (prop::collection::vec(arbitrary::rule(), 0..4), any::<[prop::sample::Index; 2]>()),
            1..40,
        ),
        seed in any::<u64>(),
    ) {
        let mut dice = Dice::new(seed);
        let drawn = Shape::Fw.draw(&mut dice, 30, false);
        let packets: Vec<_> = drawn.iter().map(|rule| rule.packet(&mut dice)).collect();
        let mut rules = first;
        let mut set = anew(&rules);
        for (coming, [from, to]) in edits {
            // A stretch of rules goes, and others come in its place.
            let from = from.index(rules.rules.len() + 1);
            let end = (from + to.index(4)).min(rules.rules.len());
            rules.rules.splice(from..end, coming);
            (set, _) = edited(set, &rules);
            check(&set, &rules, &packets);
        }
    }
}
