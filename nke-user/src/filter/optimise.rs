//! What a list of rules could do without, and where its order is all that tells.
//!
//! ```
//! use nke::filter::{Finding, RuleSet};
//!
//! let rules: RuleSet = "
//!     pass from 10.0.0.0/8
//!     drop from 10.1.0.0/16     # never decides: all of it passes above
//!     pass from 192.0.2.1       # what no rule matches passes as well
//! ".parse()?;
//! assert_eq!(
//!     rules.findings(),
//!     [
//!         Finding::Shadowed { rule: 1, by: vec![0], otherwise: true },
//!         Finding::Redundant { rule: 0 },
//!         Finding::Redundant { rule: 2 },
//!     ]
//! );
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! All rules that are shadowed or redundant can be deleted together, and no packet is judged
//! otherwise. This only looks, and where it is not sure it says nothing.

use std::ops::Range;

use super::cover::{Bounds, Region};
use super::near::Filed;
use super::rule::{Action, Rule, RuleSet};

/// How often all rules are gone through.
const PASSES: usize = 3;

/// Of more rules that shadow another together it is not tried which could be left out.
const MOST_NAMED: usize = 64;

/// Something about a list of rules that its owner may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It matches nothing.
    Dead {
        /// The rule's index.
        rule: usize,
    },
    /// It never decides: rules before it match all that it does.
    Shadowed {
        /// The rule's index.
        rule: usize,
        /// Those before it that together match all that it does, and of which none can be left out.
        by: Vec<usize>,
        /// Whether one of those says otherwise, so that it looks as if it did something.
        otherwise: bool,
    },
    /// Whatever it decides would become of the packets without it, too.
    Redundant {
        /// The rule's index.
        rule: usize,
    },
    /// Both match some packets, each matches others, and they do not say the same: their order
    /// tells.
    Overlap {
        /// The rule that decides about what both match.
        first: usize,
        /// The rule behind it.
        second: usize,
    },
}

impl RuleSet {
    /// All that there is to say, shadowed rules first and overlaps last, each in order.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.findings_telling(&mut |_, _| {})
    }

    /// The same, which tells before each step how many are done and how many there are: it takes a while with ten thousands of
    /// rules.
    #[must_use]
    pub fn findings_telling(&self, told: &mut dyn FnMut(usize, usize)) -> Vec<Finding> {
        let all = PASSES * self.rules.len();
        let mut done = 0;
        let mut step = || {
            told(done, all);
            done += 1;
        };
        let regions: Vec<_> = self.rules.iter().map(Region::of).collect();
        let list = List {
            rules: &self.rules,
            default: self.default,
            bounds: regions.iter().map(Region::bounds).collect(),
            filed: Filed::new(&regions),
            regions,
        };
        let mut stays = vec![true; self.rules.len()];
        let mut findings = list.shadowed(&mut stays, &mut step);
        let overlaps = list.overlaps(&stays, &mut step);
        findings.extend(list.redundant(&mut stays, &mut step));
        findings.extend(overlaps);
        findings
    }
}

struct List<'a> {
    rules: &'a [Rule],
    default: Action,
    regions: Vec<Region>,
    /// Their corners: each rule is held against all others that may be near.
    bounds: Vec<Bounds>,
    filed: Filed,
}

impl List<'_> {
    /// Whether two rules do the same to a packet.
    fn agree(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.rules[one], &self.rules[other]);
        let does = |rule: &Rule| (rule.action, rule.log, rule.sample, rule.keep_state);
        does(one) == does(other)
    }

    /// Those of some rules that may meet another.
    fn near(
        &self,
        rule: usize,
        others: Range<usize>,
        stays: &[bool],
    ) -> impl Iterator<Item = usize> {
        let bounds = self.bounds[rule];
        let others = self.filed.near(&self.regions[rule]).among(others);
        others.filter(move |other| stays[*other] && bounds.meet(&self.bounds[*other]))
    }

    fn shadowed(&self, stays: &mut [bool], step: &mut dyn FnMut()) -> Vec<Finding> {
        let mut findings = Vec::new();
        for rule in 0..self.rules.len() {
            step();
            if self.regions[rule].is_empty() {
                stays[rule] = false;
                findings.push(Finding::Dead { rule });
                continue;
            }
            let mut left = self.regions[rule].clone();
            let mut by = Vec::new();
            let decides = |before: &usize| !self.rules[*before].action.goes_on();
            for before in self.near(rule, 0..rule, stays).filter(decides) {
                if !left.meets(&self.regions[before]) {
                    continue;
                }
                let pieces = left.clone();
                if left.subtract(&self.regions[before]).is_err() {
                    break;
                }
                if left != pieces {
                    by.push(before);
                }
                if left.is_empty() {
                    break;
                }
            }
            if left.is_empty() {
                stays[rule] = false;
                let by = self.enough(rule, by);
                let otherwise = by.iter().any(|by| !self.agree(*by, rule));
                findings.push(Finding::Shadowed {
                    rule,
                    by,
                    otherwise,
                });
            }
        }
        findings
    }

    /// Of rules that leave nothing to another, those that do without the rest: none of them could be left out, unless
    /// they are too many to try.
    fn enough(&self, rule: usize, by: Vec<usize>) -> Vec<usize> {
        let suffice = |by: &[usize]| {
            let mut left = self.regions[rule].clone();
            by.iter()
                .all(|one| left.subtract(&self.regions[*one]).is_ok())
                && left.is_empty()
        };
        // The last took what was left, and may have all of it.
        if let Some(last) = by.last().filter(|last| suffice(&[**last])) {
            return vec![*last];
        }
        let mut enough = by;
        if enough.len() <= MOST_NAMED {
            for index in (0..enough.len()).rev() {
                let one = enough.remove(index);
                if !suffice(&enough) {
                    enough.insert(index, one);
                }
            }
        }
        enough
    }

    /// From the last to the first, each without those that have been found: so that all can go.
    fn redundant(&self, stays: &mut [bool], step: &mut dyn FnMut()) -> Vec<Finding> {
        let mut found = Vec::new();
        for rule in (0..self.rules.len()).rev() {
            step();
            if stays[rule] && self.is_redundant(rule, stays) {
                stays[rule] = false;
                found.push(Finding::Redundant { rule });
            }
        }
        found.reverse();
        found
    }

    fn is_redundant(&self, rule: usize, stays: &[bool]) -> bool {
        if self.rules[rule].action.goes_on() {
            return false;
        }
        // What it decides about.
        let mut left = self.regions[rule].clone();
        let decides = |before: &usize| !self.rules[*before].action.goes_on();
        for before in self.near(rule, 0..rule, stays).filter(decides) {
            if left.subtract(&self.regions[before]).is_err() {
                return false;
            }
        }
        for behind in self.near(rule, rule + 1..self.rules.len(), stays) {
            if !left.meets(&self.regions[behind]) {
                continue;
            }
            if !self.agree(rule, behind) || left.subtract(&self.regions[behind]).is_err() {
                return false;
            }
        }
        let Rule {
            action,
            log,
            keep_state,
            ..
        } = &self.rules[rule];
        left.is_empty() || (*action == self.default && !log && !keep_state)
    }

    fn overlaps(&self, stays: &[bool], step: &mut dyn FnMut()) -> Vec<Finding> {
        let mut findings = Vec::new();
        for second in 0..self.rules.len() {
            step();
            if !stays[second] {
                continue;
            }
            for first in self.near(second, 0..second, stays) {
                let (one, other) = (&self.rules[first], &self.rules[second]);
                // Only what is forwarded goes both in and out, and rules are seldom for that.
                let ways = one.way.zip(other.way);
                // What tests keep apart does not show here.
                let apart = one.action == other.action
                    || one.action.goes_on()
                    || other.action.goes_on()
                    || !(one.tests.is_empty() && other.tests.is_empty())
                    || one.expression.is_some()
                    || other.expression.is_some()
                    || ways.is_some_and(|(one, other)| one != other)
                    || !self.regions[first].meets(&self.regions[second]);
                // A rule and its exceptions in front of it are how lists are written.
                if !apart && !self.covers(second, first) {
                    findings.push(Finding::Overlap { first, second });
                }
            }
        }
        findings
    }

    fn covers(&self, large: usize, small: usize) -> bool {
        let mut left = self.regions[small].clone();
        left.subtract(&self.regions[large]).is_ok() && left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::{Decider, arbitrary};

    #[track_caller]
    fn check(text: &str, expected: &[Finding]) {
        let rules: RuleSet = text.parse().unwrap();
        assert_eq!(rules.findings(), expected, "{text}");
    }

    fn shadowed(rule: usize, by: &[usize], otherwise: bool) -> Finding {
        let by = by.to_vec();
        Finding::Shadowed {
            rule,
            by,
            otherwise,
        }
    }

    #[test]
    fn what_never_decides_is_found() {
        check("default drop\npass\npass", &[shadowed(1, &[0], false)]);
        check(
            "default drop\npass proto tcp\ndrop proto tcp to any port 22",
            &[shadowed(1, &[0], true)],
        );
        // One that says the same has all of it, whatever another in front says of some of it.
        check(
            "pass inet6 proto tcp\ndrop proto tcp flags S/SA\ndrop proto tcp flags S/SAFR",
            &[
                shadowed(2, &[1], false),
                Finding::Overlap {
                    first: 0,
                    second: 1,
                },
            ],
        );
        // Only together: and the last one is needed.
        check(
            "default drop\npass to 10.0.0.0/9\npass to 10.128.0.0/9\npass to 10.0.0.0/8",
            &[shadowed(2, &[0, 1], false)],
        );
        check(
            "default drop\npass proto tcp to any port 0-9\npass to any port 10-65535\n\
             pass proto tcp to any port 5-20",
            &[shadowed(2, &[0, 1], false)],
        );
        // A later fragment has no ports.
        check(
            "default drop\npass proto tcp to any port 0-65535\npass proto tcp",
            &[Finding::Redundant { rule: 0 }],
        );
        check(
            "default drop\npass inet\npass inet6\npass",
            &[
                Finding::Redundant { rule: 0 },
                Finding::Redundant { rule: 1 },
            ],
        );
        check(
            "default drop\npass inet proto tcp\npass inet6 proto tcp\npass proto tcp",
            &[shadowed(2, &[0, 1], false)],
        );
    }

    #[test]
    fn steps_are_told_from_the_first_to_the_last() {
        let rules: RuleSet = "pass\npass from 10.0.0.1\ndrop\ndrop proto udp"
            .parse()
            .unwrap();
        let mut told = Vec::new();
        let findings = rules.findings_telling(&mut |done, all| told.push((done, all)));
        assert_eq!(findings, rules.findings());
        assert!(told.into_iter().eq((0..12).map(|done| (done, 12))));
    }

    #[test]
    fn what_changes_nothing_is_found() {
        check("pass", &[Finding::Redundant { rule: 0 }]);
        check("pass log", &[]);
        check(
            "drop from 10.0.0.0/8\npass",
            &[Finding::Redundant { rule: 1 }],
        );
        // An exception is none.
        check("pass from 10.1.0.0/16\ndrop from 10.0.0.0/8", &[]);
        // Either would do, and not both.
        check(
            "pass to any port 1-20\npass to any port 10-30\ndrop to any port 1-30",
            &[
                shadowed(2, &[0, 1], true),
                Finding::Redundant { rule: 0 },
                Finding::Redundant { rule: 1 },
            ],
        );
    }

    #[test]
    fn where_the_order_tells_is_found() {
        check(
            "drop proto tcp from 10.0.0.0/8\npass proto tcp to any port 22\ndrop",
            &[Finding::Overlap {
                first: 0,
                second: 1,
            }],
        );
        check("drop in\npass out\ndrop", &[]);
    }

    proptest! {
        #[test]
        fn what_is_deleted_changes_nothing(
            rules in arbitrary::rule_set(),
            packets in prop::collection::vec(arbitrary::packet(), 50),
        ) {
            let findings = rules.findings();
            let goes = |index: usize| findings.iter().any(|finding| match finding {
                Finding::Dead { rule }
                | Finding::Shadowed { rule, .. }
                | Finding::Redundant { rule } => *rule == index,
                Finding::Overlap { .. } => false,
            });
            let kept = rules.rules.iter().enumerate().filter(|(index, _)| !goes(*index));
            let kept = RuleSet {
                default: rules.default,
                rules: kept.map(|(_, rule)| rule.clone()).collect(),
            };
            for packet in packets {
                let packet = Ok(packet);
                let before = rules.judge(&packet);
                prop_assert_eq!(before.action, kept.judge(&packet).action);
                if let Decider::Rule(index) = before.by {
                    let shadowed = |it: &Finding| {
                        matches!(it, Finding::Shadowed { rule, .. } if *rule == index)
                    };
                    prop_assert!(!findings.iter().any(shadowed));
                }
            }
        }
    }
}
