//! The rules that are to be, said by those that are: which of them stay, and which come.
//!
//! ```
//! use nke::filter::{Action, Revision, RuleSet};
//!
//! let rules: RuleSet = "pass proto tcp\ndrop proto udp".parse()?;
//! let mut revision = Revision::of(rules.default, rules.rules.len());
//! revision.remove(0);
//! revision.insert(1, &["pass proto icmp".parse()?]);
//! let after = revision.rules(rules.rules);
//! assert_eq!(after.to_string(), "default pass\ndrop proto udp\npass proto icmp\n");
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! So what stays need not be known: one rule among ten thousand is added without reading the others. Nothing here
//! does I/O.

use super::rule::{Action, Rule, RuleSet};

/// A change of a rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub(super) default: Action,
    /// For each rule that is to be, the place from 0 of the one that it is; nothing if it comes.
    pub(super) staying: Vec<Option<usize>>,
    /// Those that come, in their order.
    pub(super) coming: Vec<Rule>,
}

impl Revision {
    /// One that changes nothing yet, of so many rules.
    #[must_use]
    pub fn of(default: Action, rules: usize) -> Self {
        Self {
            default,
            staying: (0..rules).map(Some).collect(),
            coming: Vec::new(),
        }
    }

    /// What is to become of whatever no rule matches.
    #[must_use]
    pub const fn default(&self) -> Action {
        self.default
    }

    /// Says what is to become of whatever no rule matches.
    pub const fn set_default(&mut self, default: Action) {
        self.default = default;
    }

    /// How many rules there are to be.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.staying.len()
    }

    /// Puts rules before the one that has this place, from 0; behind all if there is none.
    pub fn insert(&mut self, at: usize, rules: &[Rule]) {
        let at = at.min(self.staying.len());
        let coming = self.coming_before(at);
        let none = rules.iter().map(|_| None);
        self.staying.splice(at..at, none);
        self.coming.splice(coming..coming, rules.iter().cloned());
    }

    /// Takes the rule of this place away; nothing happens if there is none.
    pub fn remove(&mut self, at: usize) {
        if at < self.staying.len() && self.staying.remove(at).is_none() {
            self.coming.remove(self.coming_before(at));
        }
    }

    /// Takes all rules away.
    pub fn clear(&mut self) {
        self.staying.clear();
        self.coming.clear();
    }

    /// How many rules come before this place.
    fn coming_before(&self, at: usize) -> usize {
        let before = self.staying[..at].iter();
        before.filter(|place| place.is_none()).count()
    }

    /// All rules that are to be, of those that are.
    #[must_use]
    pub fn rules(&self, mut are: Vec<Rule>) -> RuleSet {
        let Self {
            default,
            staying,
            coming,
        } = self;
        let mut coming = coming.iter();
        let rule = |place: &Option<usize>| match place {
            // No rule stays twice.
            Some(place) => {
                let was = are.get_mut(*place)?;
                Some(std::mem::replace(was, Rule::all(Action::Pass)))
            }
            None => coming.next().cloned(),
        };
        RuleSet {
            default: *default,
            rules: staying.iter().filter_map(rule).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::arbitrary;

    proptest! {
        #[test]
        fn a_revision_does_what_is_done_to_the_list(
            first in prop::collection::vec(arbitrary::rule(), 0..6),
            edits in prop::collection::vec(
                (prop::option::of(prop::collection::vec(arbitrary::rule(), 0..3)), 0..8usize),
                0..8,
            ),
        ) {
            let mut revision = Revision::of(Action::Pass, first.len());
            let mut rules = first.clone();
            for (coming, at) in edits {
                match coming {
                    Some(coming) => {
                        revision.insert(at, &coming);
                        let at = at.min(rules.len());
                        rules.splice(at..at, coming);
                    }
                    None => {
                        revision.remove(at);
                        if at < rules.len() {
                            rules.remove(at);
                        }
                    }
                }
                prop_assert_eq!(revision.length(), rules.len());
                prop_assert_eq!(revision.rules(first.clone()).rules, rules.clone());
            }
            revision.clear();
            revision.set_default(Action::Drop);
            prop_assert_eq!(revision.rules(first), RuleSet { default: Action::Drop, rules: Vec::new() });
        }
    }
}
