//! Which rules stay, and so keep their hits.
//!
//! Which they are is seen from the rules themselves: an edit is written as the list that shall be, and a
//! rule of it that was there before is the same rule, wherever it moves.
//!
//! Nothing here does I/O.

use std::collections::{HashMap, VecDeque};

use super::rule::Rule;

/// For each new rule, the place in the old list of the rule that it is.
pub(super) fn staying(old: &[Rule], new: &[Rule]) -> Vec<Option<usize>> {
    let mut places: HashMap<&Rule, VecDeque<usize>> = HashMap::with_capacity(old.len());
    for (place, rule) in old.iter().enumerate() {
        places.entry(rule).or_default().push_back(place);
    }
    let place = |rule| places.get_mut(rule).and_then(VecDeque::pop_front);
    new.iter().map(place).collect()
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
    }
}
