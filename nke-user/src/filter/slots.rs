//! Which slot of the hits each rule has.
//!
//! A rule that stays keeps its slot, and so its hits, wherever it moves in the list. Which rules
//! stay is seen from the rules themselves: an edit is written as the list that shall be, and a
//! rule of it that was there before is the same rule.
//!
//! Nothing here does I/O.

use std::collections::{HashMap, HashSet, VecDeque};

use nke_ebpf::abi::CAPACITY;

use super::rule::Rule;

/// The slots of a list of rules, and what must become of their old counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// Each rule's slot.
    pub of_rules: Vec<u32>,
    /// Slots of new rules that nobody uses: they are emptied before the new rules are in force.
    pub free: Vec<u32>,
    /// Slots of new rules that rules on their way out still use: they can be emptied only once the
    /// new rules are in force. Only when there are no others are these given out.
    pub contested: Vec<u32>,
}

/// Gives out slots; nothing if there are more rules than slots.
pub(super) fn assign(old: &[(Rule, u32)], new: &[Rule]) -> Option<Slots> {
    let mut staying: HashMap<&Rule, VecDeque<u32>> = HashMap::new();
    for (rule, slot) in old {
        staying.entry(rule).or_default().push_back(*slot);
    }
    let kept: Vec<Option<u32>> = new
        .iter()
        .map(|rule| staying.get_mut(rule).and_then(VecDeque::pop_front))
        .collect();

    let in_use: HashSet<u32> = old.iter().map(|(_, slot)| *slot).collect();
    let taken: HashSet<u32> = kept.iter().flatten().copied().collect();
    let capacity = u32::try_from(CAPACITY).ok()?;
    let mut unused = (0..capacity).filter(|slot| !in_use.contains(slot));
    let mut leaving = (0..capacity).filter(|slot| in_use.contains(slot) && !taken.contains(slot));

    let mut slots = Slots {
        of_rules: Vec::new(),
        free: Vec::new(),
        contested: Vec::new(),
    };
    for kept in kept {
        let slot = match kept {
            Some(slot) => slot,
            None => match unused.next() {
                Some(slot) => {
                    slots.free.push(slot);
                    slot
                }
                None => {
                    let slot = leaving.next()?;
                    slots.contested.push(slot);
                    slot
                }
            },
        };
        slots.of_rules.push(slot);
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Action, Protocol, Transport};

    fn rule(number: u8) -> Rule {
        Rule {
            transport: Transport::Protocol(Protocol(number)),
            ..Rule::all(Action::Drop)
        }
    }

    fn check(old: &[(u8, u32)], new: &[u8], of_rules: &[u32], free: &[u32]) {
        let old: Vec<_> = old
            .iter()
            .map(|&(number, slot)| (rule(number), slot))
            .collect();
        let new: Vec<_> = new.iter().map(|&number| rule(number)).collect();
        let (of_rules, free) = (of_rules.to_vec(), free.to_vec());
        assert_eq!(
            assign(&old, &new),
            Some(Slots {
                of_rules,
                free,
                contested: Vec::new()
            })
        );
    }

    #[test]
    fn a_rule_that_stays_keeps_its_slot() {
        check(&[], &[1, 2], &[0, 1], &[0, 1]);
        check(&[(1, 0), (2, 1)], &[2], &[1], &[]);
        check(&[(1, 0), (2, 1)], &[2, 1], &[1, 0], &[]);
        check(&[(1, 0), (2, 1)], &[3, 1, 2], &[2, 0, 1], &[2]);
        check(&[(2, 1)], &[2, 3], &[1, 0], &[0]);
    }

    #[test]
    fn equal_rules_have_a_slot_each() {
        check(&[(1, 5)], &[1, 1], &[5, 0], &[0]);
        check(&[(1, 5), (1, 6)], &[1], &[5], &[]);
    }

    #[test]
    fn slots_in_use_are_given_out_last() {
        let of = |action| (0..CAPACITY as u32).map(move |slot| (Rule::all(action), slot));
        let old: Vec<_> = of(Action::Drop).collect();
        let new: Vec<_> = of(Action::Pass).map(|(rule, _)| rule).collect();
        let slots = assign(&old, &new).unwrap();
        assert_eq!(slots.contested.len(), CAPACITY);
        assert!(slots.free.is_empty());

        let half: Vec<_> = old.iter().copied().take(CAPACITY / 2).collect();
        let slots = assign(&half, &new[..CAPACITY / 2]).unwrap();
        assert_eq!((slots.free.len(), slots.contested.len()), (CAPACITY / 2, 0));
    }

    #[test]
    fn too_many_rules_have_no_slots() {
        assert_eq!(assign(&[], &vec![rule(1); CAPACITY + 1]), None);
        assert!(assign(&[], &vec![rule(1); CAPACITY]).is_some());
    }
}
