//! Which rules stay, and so keep their hits.
//!
//! Which they are is seen from the rules themselves: an edit is written as the list that shall be, and a
//! rule of it that was there before is the same rule, wherever it moves.
//!
//! The only I/O is that of sets, whose pages are mapped where they are first asked for.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::RandomState},
    hash::BuildHasher as _,
    io,
};

use nke_ebpf::abi::{self, PAGE_WORDS, Test, limit, sources};

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
///
/// # Errors
///
/// The kernel's if it has no room to map a set.
pub(super) fn limits(old: &Set, new: &Set, staying: &[Option<u32>]) -> io::Result<()> {
    let tests = new.tests();
    if !tests.iter().any(|test| test.kind == Test::LIMIT) {
        return Ok(());
    }
    let old_tests = old.tests();
    for (number, before) in (1..).zip(staying) {
        let from = before.and_then(|before| word(old, before, &old_tests));
        let word = word(new, number, &tests);
        if let (Some(from), Some(to)) = (from.and_then(|word| old.word(word)), word)
            && new.word(to).is_some_and(|word| word < from)
        {
            new.write(to, &[from])?;
        }
    }
    Ok(())
}

/// The word of the limit of the rule of this number, if it has one.
fn word(set: &Set, number: u32, tests: &[Test]) -> Option<usize> {
    let test = last(set, number, tests).filter(|test| test.kind == Test::LIMIT)?;
    let word = usize::try_from(test.more[limit::WORD]).ok()?;
    (word < PAGE_WORDS).then_some(word)
}

/// The last test of the rule of this number.
fn last<'a>(set: &Set, number: u32, tests: &'a [Test]) -> Option<&'a Test> {
    let rule = set.rule(set.listed(number))?;
    tree::tests_of(&rule, tests)?.last()
}

/// Gives each limit per source the key that its sources are hashed with: that of the rule which stays, or one that nobody
/// knows. False if there is no such limit.
pub(super) fn keys(
    (rules, tests): (&[abi::Rule], &mut [Test]),
    old: Option<&Set>,
    staying: &[Option<u32>],
) -> bool {
    let per_source = |test: &Test| test.kind == Test::LIMIT_PER_SOURCE;
    if !tests.iter().any(per_source) {
        return false;
    }
    let old_tests = old.map(Set::tests).unwrap_or_default();
    for (rule, before) in rules.iter().zip(staying) {
        let own = tree::tests_of_mut(rule, tests);
        let Some(test) = own.and_then(<[Test]>::last_mut).filter(|it| per_source(it)) else {
            continue;
        };
        let before = before.zip(old);
        let before = before.and_then(|(number, old)| last(old, number, &old_tests));
        test.more[limit::WORD] = match before.filter(|test| per_source(test)) {
            Some(before) => before.more[limit::WORD],
            None => RandomState::new().hash_one(rule.number),
        };
    }
    true
}

/// Has sources of limits be known in another set with what has come by of them. Where both know one, or there is no room,
/// what is further over its limit stays. Where no limit stays, none of them would ever be asked for.
///
/// # Errors
///
/// As [`limits`].
pub(super) fn sources(old: &Set, new: &Set) -> io::Result<()> {
    if new.sources(0).is_none() {
        return Ok(());
    }
    new.write(sources::EVICTED_BEFORE, &[evicted(old)])?;
    let keys = |set: &Set| -> HashSet<u64> {
        let tests = set.tests().into_iter();
        let limits = tests.filter(|test| test.kind == Test::LIMIT_PER_SOURCE);
        limits.map(|test| test.more[limit::WORD]).collect()
    };
    if keys(old).is_disjoint(&keys(new)) {
        return Ok(());
    }
    for bucket in 0..sources::BUCKETS {
        let (Some(from), Some(to)) = (old.sources(bucket), new.sources(bucket)) else {
            return Ok(());
        };
        let places = |set: &Set, at: usize| -> Vec<(u64, u64)> {
            let words: Vec<u64> = set.words(at, sources::PLACES * 2).collect();
            let (places, _) = words.as_chunks();
            places.iter().map(|[key, time]| (*key, *time)).collect()
        };
        let mut taken = places(new, to);
        for (key, time) in places(old, from) {
            let known = taken.iter().position(|place| place.0 == key);
            let idle = (0..taken.len()).min_by_key(|place| taken[*place].1);
            let Some(place) = known.or(idle).filter(|_| key != 0) else {
                continue;
            };
            if taken[place].1 < time {
                taken[place] = (key, time);
                // The time first, as packets write it.
                new.write(to + place * 2 + 1, &[time])?;
                new.write(to + place * 2, &[key])?;
            }
        }
    }
    Ok(())
}

/// How many sources of limits went for want of room, though not all of what had come by of them had come by at the rate.
pub(super) fn evicted(set: &Set) -> u64 {
    let words = set.words(sources::EVICTED, 2);
    words.fold(0, u64::wrapping_add)
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
