//! Which rules stay, and so keep their hits.
//!
//! Which they are is seen from the rules themselves: an edit is written as the list that shall be, and a
//! rule of it that was there before is the same rule, wherever it moves.
//!
//! Nothing here does I/O.

use std::collections::{HashMap, VecDeque};

use nke_ebpf::abi::{PAGE_WORDS, Test, limit};

use super::rule::Rule;
use super::stored::Set;
use super::tree;

/// For each new rule, the place in the old list of the rule that it is.
pub(super) fn staying(old: &[Rule], new: &[Rule]) -> Vec<Option<usize>> {
    // An edit changes few of many: what is before them and behind them is the same.
    let same = |(old, new): &(&Rule, &Rule)| old == new;
    let before = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (&old[before..], &new[before..]);
    let pairs = old_rest.iter().rev().zip(new_rest.iter().rev());
    let behind = pairs.take_while(same).count();
    let (old_end, new_end) = (old.len() - behind, new.len() - behind);

    let mut places: HashMap<&Rule, VecDeque<usize>> = HashMap::new();
    for (place, rule) in (before..).zip(&old[before..old_end]) {
        places.entry(rule).or_default().push_back(place);
    }
    let place = |rule| places.get_mut(rule).and_then(VecDeque::pop_front);
    let mut staying: Vec<Option<usize>> = (0..before).map(Some).collect();
    staying.extend(new[before..new_end].iter().map(place));
    staying.extend((old_end..old.len()).map(Some));
    staying
}

/// Whether the rules that stay do so in their order.
pub(super) fn in_order(staying: &[Option<usize>]) -> bool {
    staying.iter().flatten().is_sorted()
}

/// Has the limits of rules that stay go on in another set from what has come by; each is there with the number that it
/// had in the old one.
pub(super) fn limits(old: &Set, new: &Set, staying: &[Option<u32>]) {
    let tests = new.tests();
    if !tests.iter().any(|test| test.kind == Test::LIMIT) {
        return;
    }
    let old_tests = old.tests();
    for (number, before) in (1..).zip(staying) {
        let from = before.and_then(|before| word(old, before, &old_tests));
        let word = word(new, number, &tests);
        if let (Some(from), Some(to)) = (from.and_then(|word| old.word(word)), word)
            && new.word(to).is_some_and(|word| word < from)
        {
            new.write(to, &[from]);
        }
    }
}

/// The word of the limit of the rule of this number, if it has one.
fn word(set: &Set, number: u32, tests: &[Test]) -> Option<usize> {
    let rule = set.rule(set.listed(number))?;
    let test = tree::tests_of(&rule, tests)?.last()?;
    let word = usize::try_from(test.more[limit::WORD]).ok()?;
    (test.kind == Test::LIMIT && word < PAGE_WORDS).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Action, Protocol, Transport};

    fn check(old: &[u8], new: &[u8], expected: &[Option<usize>]) {
        let rules = |numbers: &[u8]| -> Vec<Rule> {
            let rule = |number| Rule {
                transport: Transport::Protocol(Protocol(number)),
                ..Rule::all(Action::Drop)
            };
            numbers.iter().copied().map(rule).collect()
        };
        assert_eq!(staying(&rules(old), &rules(new)), expected);
    }

    #[test]
    fn a_rule_that_was_there_is_the_same_wherever_it_moves() {
        check(&[], &[1, 2], &[None, None]);
        check(&[1, 2], &[2], &[Some(1)]);
        check(&[1, 2], &[3, 2, 1], &[None, Some(1), Some(0)]);
    }

    #[test]
    fn equal_rules_are_as_many_as_they_are() {
        check(&[1], &[1, 1], &[Some(0), None]);
        check(&[1, 1], &[1], &[Some(0)]);
        check(&[1, 2, 1], &[1], &[Some(0)]);
        check(&[2, 1, 3, 1], &[1, 1, 2], &[Some(1), Some(3), Some(0)]);
    }
}
