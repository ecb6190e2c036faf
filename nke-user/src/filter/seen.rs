//! A rule set as it is in the kernel: where its rules lie is read at once, what they say only where it is asked.
//!
//! What a map says is not believed: a rule that this version cannot have written is no rule.

use nke_ebpf::abi;

use super::error::Error;
use super::rule::{Action, Rule};
use super::stored::Set;
use super::{encode, expression, tree};

/// What is known of the rules that are there: their numbers and orders, as they stand in the list.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) numbers: Vec<u32>,
    pub(super) orders: Vec<u32>,
    /// Whether no edit has been interrupted.
    pub(super) whole: bool,
}

impl Places {
    /// Where the rules of a set lie, in their order.
    pub(super) fn of(set: &Set) -> Result<Self, Error> {
        let (edition, length) = (set.header.edition, set.header.length);
        let mut listed = Vec::with_capacity(length.min(1 << 20) as usize);
        let mut whole = true;
        for number in 1..=length {
            let foreign = Error::ForeignRule {
                number: number as usize,
            };
            let Some(rule) = set.rule(set.listed(number)) else {
                return Err(foreign);
            };
            whole &= rule.until == u32::MAX || rule.until <= edition;
            if rule.until > edition {
                // What lies behind the word of a number is found by it.
                if !(1..=length).contains(&rule.number) {
                    return Err(foreign);
                }
                listed.push((rule.order, rule.number));
            }
        }
        listed.sort_by_key(|(order, _)| *order);
        let (orders, numbers) = listed.into_iter().unzip();
        Ok(Self {
            numbers,
            orders,
            whole,
        })
    }
}

/// A rule set as it was found.
pub(super) struct Seen {
    /// The kernel's number of its map.
    pub(super) id: u32,
    pub(super) set: Set,
    pub(super) places: Places,
}

impl Seen {
    pub(super) fn of(id: u32, set: Set) -> Result<Self, Error> {
        let places = Places::of(&set)?;
        Ok(Self { id, set, places })
    }

    /// What becomes of whatever no rule matches.
    pub(super) const fn default(&self) -> Action {
        encode::action(self.set.header.default)
    }

    /// All rules.
    pub(super) fn rules(&self) -> Result<Vec<Rule>, Error> {
        rules_of(&self.set, &self.places)
    }

    /// The rules of these places, from 0, as far as they are there.
    pub(super) fn rules_at(&self, places: &[usize]) -> Result<Vec<Rule>, Error> {
        let numbers = places.iter().filter_map(|place| {
            let number = self.places.numbers.get(*place)?;
            Some((*place, *number))
        });
        read(&self.set, numbers)
    }
}

/// The rules of a set, by where they lie.
pub(super) fn rules_of(set: &Set, places: &Places) -> Result<Vec<Rule>, Error> {
    read(set, places.numbers.iter().copied().enumerate())
}

/// The rules of these places and numbers.
fn read(set: &Set, numbers: impl Iterator<Item = (usize, u32)>) -> Result<Vec<Rule>, Error> {
    let tests = set.tests();
    let expressions = expression::page::all(&set.expressions());
    let rule = |(place, number): (usize, u32)| {
        let listed = set.rule(set.listed(number));
        let rule = listed.and_then(|listed| {
            let plain = abi::Rule {
                order: 0,
                until: u32::MAX,
                place: [0; 2],
                ..listed
            };
            let tests = tree::tests_of(&plain, &tests)?;
            encode::decode(&plain, tests, &expressions)
        });
        rule.ok_or(Error::ForeignRule { number: place + 1 })
    };
    numbers.map(rule).collect()
}
