//! From what is declared and what runs to what is to be done: pure decisions.
//!
//! A chain that a declaration names is to be what it says, whole: what is attached there and not
//! declared goes. An attachment that stays keeps its id, its counters and its maps. Planning again
//! after a plan was carried out gives nothing to do.
//!
//! ```
//! use nke::declare::plan::{Slot, Step, steps};
//!
//! let running = [Slot::new("counter", "count", 50), Slot::new("tcplog", "log", 60)];
//! let wanted = [Slot::new("tcplog", "log", 60), Slot::new("counter", "count", 70)];
//! assert_eq!(steps(&running, &wanted), [Step::Keep(1), Step::Change(0)]);
//! ```

use semver::Version;
use serde::Serialize;

use crate::{
    control::Policy,
    declare::{SetPlan, SettingChange},
    filter::RuleSet,
    hook::Hook,
    mode::Mode,
    order::{self, Position},
};

/// An attachment in a chain, as far as declarations go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The extension's name.
    pub extension: String,
    /// The program's symbol.
    pub program: String,
    /// Its priority.
    pub priority: i32,
    /// Whether it counts packets and bytes.
    pub counters: bool,
    /// Whether only sockets that opted in meet it.
    pub opt_in: bool,
    /// Whether it is asked at all, or everything goes past it.
    pub enabled: bool,
    /// Its rules; `None` where they are not declared, or it has none.
    pub rules: Option<RuleSet>,
}

impl Slot {
    /// An attachment that says nothing else.
    pub fn new(extension: &str, program: &str, priority: i32) -> Self {
        Self {
            extension: extension.to_owned(),
            program: program.to_owned(),
            priority,
            counters: true,
            opt_in: false,
            enabled: true,
            rules: None,
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        self.extension == other.extension && self.program == other.program
    }

    /// Whether one node can be both, whatever its rules: they change without it.
    fn is_node_of(&self, other: &Self) -> bool {
        let Self {
            extension: _,
            program: _,
            priority,
            counters,
            opt_in,
            enabled,
            rules: _,
        } = self;
        self.is_of(other)
            && (*priority, *counters) == (other.priority, other.counters)
            && (*opt_in, *enabled) == (other.opt_in, other.enabled)
    }

    /// It on one line, without its rules.
    pub(super) fn line(&self) -> String {
        let Self {
            extension,
            program,
            priority,
            counters,
            opt_in,
            enabled,
            rules: _,
        } = self;
        let mut line = format!("{priority:>6} {extension} ({program})");
        let words = [
            (" no-counters", !counters),
            (" opt-in", *opt_in),
            (" disabled", !enabled),
        ];
        for (word, said) in words {
            if said {
                line += word;
            }
        }
        line
    }
}

/// How a wanted attachment comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is the running one at this position, from 0.
    Keep(usize),
    /// It takes the place of the running one at this position, with its id, counters and maps: with
    /// another priority or other options, or as another version of the extension.
    Change(usize),
    /// There is none like it.
    New,
}

/// How each of the wanted attachments comes to be. Those that are not met are detached.
pub fn steps(running: &[Slot], wanted: &[Slot]) -> Vec<Step> {
    let mut steps = vec![Step::New; wanted.len()];
    let mut free = vec![true; running.len()];
    let mut meet = |fits: fn(&Slot, &Slot) -> bool, step: fn(usize) -> Step| {
        for (slot, found) in wanted.iter().zip(&mut steps) {
            if *found != Step::New {
                continue;
            }
            let mut candidates = running.iter().zip(&mut free).enumerate();
            if let Some((at, (_, free))) =
                candidates.find(|(_, (running, free))| **free && fits(running, slot))
            {
                *free = false;
                *found = step(at);
            }
        }
    };
    meet(Slot::is_node_of, Step::Keep);
    meet(Slot::is_of, Step::Change);
    steps
}

/// The order of what is declared of one chain: first by priority, equals as declared; then those
/// that go before or behind another, as declared. Each comes with its index among what is declared.
///
/// # Errors
///
/// The index of the first attachment whose neighbour is not declared.
pub fn arrange(declared: Vec<(Slot, Position)>) -> Result<Vec<(usize, Slot)>, usize> {
    let mut chain: Vec<(usize, Slot)> = Vec::new();
    let mut left: Vec<_> = declared.into_iter().enumerate().collect();
    left.sort_by_key(|(_, (_, position))| !matches!(position, Position::Priority(_)));
    while let Some((first, _)) = left.first() {
        let first = *first;
        let place = |position: &Position| {
            let slots = chain.iter().map(|(_, slot)| order::Slot {
                id: 0,
                extension: &slot.extension,
                priority: slot.priority,
            });
            order::insert(&slots.collect::<Vec<_>>(), position)
        };
        let mut left_over = left.iter().enumerate();
        let found = left_over
            .find_map(|(nth, (_, (_, position)))| place(position).map(|place| (nth, place)));
        let Some((nth, (at, priority))) = found else {
            return Err(first);
        };
        let (index, (slot, _)) = left.remove(nth);
        chain.insert(at, (index, Slot { priority, ..slot }));
    }
    Ok(chain)
}

/// A chain: as it runs, or as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What becomes of what all let go on.
    pub policy: Policy,
    /// The attachments, in their order.
    pub slots: Vec<Slot>,
}

impl Outline {
    /// No chain at all.
    pub const NONE: Self = Self {
        policy: Policy::Pass,
        slots: Vec::new(),
    };

    /// It as lines, to be compared with others.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { policy, slots } = self;
        if *self == Self::NONE {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for slot in slots {
            lines.push(slot.line());
            if let Some(RuleSet { default, rules }) = &slot.rules {
                lines.extend(rules.iter().map(|rule| format!("           {rule}")));
                lines.push(format!("           default {default}"));
            }
        }
        lines.push(format!("policy {policy}"));
        lines
    }
}

/// What is to become of one chain.
#[derive(Clone, Debug)]
pub struct ChainPlan {
    /// The hook.
    pub hook: Hook,
    /// What the chain is of, in words.
    pub place: String,
    /// How a chain that there is not yet is to be called.
    pub mode: Option<Mode>,
    /// As it runs. Rules are shown where they are declared.
    pub running: Outline,
    /// As it is to be.
    pub wanted: Outline,
    /// How each of the wanted attachments comes to be.
    pub steps: Vec<Step>,
}

impl ChainPlan {
    /// Whether the chain itself changes, and not just rules.
    pub fn moves(&self) -> bool {
        let in_place = |(at, step): (usize, &Step)| *step == Step::Keep(at);
        let stays = self.steps.iter().enumerate().all(in_place);
        !stays
            || self.running.slots.len() != self.wanted.slots.len()
            || self.running.policy != self.wanted.policy
    }

    /// The wanted attachments that are there and get other rules: which of the wanted, which of the
    /// running, and the rules.
    pub fn new_rules(&self) -> impl Iterator<Item = (usize, usize, &RuleSet)> {
        let steps = self.steps.iter().zip(&self.wanted.slots).enumerate();
        steps.filter_map(|(nth, (step, slot))| {
            let (Step::Keep(at) | Step::Change(at)) = step else {
                return None;
            };
            let rules = slot.rules.as_ref()?;
            (self.running.slots[*at].rules.as_ref() != Some(rules)).then_some((nth, *at, rules))
        })
    }

    /// Whether anything is to be done.
    pub fn changes(&self) -> bool {
        self.moves() || self.new_rules().next().is_some()
    }
}

/// Something that is declared for what is not there yet.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// What is waited for: an interface, a network namespace, a cgroup.
    pub place: String,
    /// Where that is declared.
    pub origin: String,
    /// What comes there then.
    pub what: String,
}

/// A loaded extension whose declared file is another one.
#[derive(Clone, Debug, Serialize)]
pub struct Upgrading {
    /// Its name.
    pub extension: String,
    /// The version that is loaded.
    pub from: Version,
    /// The file's. It is the same where only the file is another.
    pub to: Version,
}

impl Upgrading {
    /// What is loaded and what is to be, each on a line.
    pub(super) fn lines(&self) -> [String; 2] {
        let Self {
            extension,
            from,
            to,
        } = self;
        let other = if from == to { " (another file)" } else { "" };
        [
            format!("{extension} {from}"),
            format!("{extension} {to}{other}"),
        ]
    }
}

/// All that is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Extensions that get another version, wherever they are attached.
    pub upgrades: Vec<Upgrading>,
    /// Extensions to hold by name that are not, yet.
    pub load: Vec<String>,
    /// Extensions to let go of.
    pub release: Vec<String>,
    /// The chains that the declaration covers, whether they change or not.
    pub chains: Vec<ChainPlan>,
    /// Named sets that are made, changed or removed.
    pub sets: Vec<SetPlan>,
    /// Settings that get other values.
    pub settings: Vec<SettingChange>,
    /// What has to wait.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            upgrades,
            load,
            release,
            chains,
            sets,
            settings,
            waiting: _,
        } = self;
        let stays = load.is_empty() && release.is_empty() && settings.is_empty();
        let stays = stays && sets.is_empty();
        stays && upgrades.is_empty() && !chains.iter().any(ChainPlan::changes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Action;

    /// What a chain is once a plan was carried out, with the number of each attachment.
    fn carried_out(running: &[(u32, Slot)], wanted: &[Slot], steps: &[Step]) -> Vec<(u32, Slot)> {
        let mut fresh = 1000;
        let each = steps.iter().zip(wanted).map(|(step, slot)| {
            let (id, was) = match step {
                Step::Keep(at) | Step::Change(at) => (running[*at].0, Some(&running[*at].1)),
                Step::New => {
                    fresh += 1;
                    (fresh, None)
                }
            };
            let rules = slot.rules.clone().or(was.and_then(|was| was.rules.clone()));
            let slot = match step {
                Step::Keep(at) => running[*at].1.clone(),
                Step::Change(_) | Step::New => slot.clone(),
            };
            (id, Slot { rules, ..slot })
        });
        each.collect()
    }

    fn slot() -> impl Strategy<Value = Slot> {
        let rules = prop_oneof![
            Just(None),
            Just(Some(Action::Pass)),
            Just(Some(Action::Drop))
        ];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let slot = ("[ab]", "[x]", 0..3, flags, rules);
        slot.prop_map(|(extension, program, priority, flags, rules)| {
            let (counters, opt_in, enabled) = flags;
            Slot {
                extension,
                program,
                priority,
                counters,
                opt_in,
                enabled,
                rules: rules.map(|default| RuleSet {
                    default,
                    rules: Vec::new(),
                }),
            }
        })
    }

    proptest! {
        #[test]
        fn a_plan_carried_out_is_what_was_declared(
            running in prop::collection::vec(slot(), 0..6),
            wanted in prop::collection::vec(slot(), 0..6),
        ) {
            let numbered: Vec<_> = (1..).zip(running.iter().cloned()).collect();
            let plan = steps(&running, &wanted);
            let after = carried_out(&numbered, &wanted, &plan);
            for ((_, is), declared) in after.iter().zip(&wanted) {
                let declared = Slot {
                    rules: declared.rules.clone().or(is.rules.clone()),
                    ..declared.clone()
                };
                prop_assert_eq!(is, &declared);
            }
            // Nothing is used twice, and as few as can be are new.
            let mut used: Vec<_> = after.iter().map(|(id, _)| *id).collect();
            used.sort_unstable();
            used.dedup();
            prop_assert_eq!(used.len(), wanted.len());
            for name in ["a", "b"] {
                let count = |slots: &[Slot]| slots.iter().filter(|s| s.extension == name).count();
                let new = plan.iter().zip(&wanted);
                let new = new.filter(|(s, w)| **s == Step::New && w.extension == name).count();
                prop_assert_eq!(new, count(&wanted).saturating_sub(count(&running)));
            }
            // The second time there is nothing to do.
            let again: Vec<_> = after.into_iter().map(|(_, slot)| slot).collect();
            let keep: Vec<_> = (0..wanted.len()).map(Step::Keep).collect();
            prop_assert_eq!(steps(&again, &wanted), keep);
        }

        #[test]
        fn an_arranged_chain_ascends(
            declared in prop::collection::vec((slot(), 0..3, 0..4u8), 0..6),
        ) {
            let position = |priority, kind| match kind {
                0 => Position::Before("a".parse().unwrap()),
                1 => Position::After("a".parse().unwrap()),
                _ => Position::Priority(priority),
            };
            let declared: Vec<_> = declared
                .into_iter()
                .map(|(slot, priority, kind)| (slot, position(priority, kind)))
                .collect();
            match arrange(declared.clone()) {
                Ok(chain) => {
                    prop_assert_eq!(chain.len(), declared.len());
                    prop_assert!(chain.is_sorted_by_key(|(_, slot)| slot.priority));
                }
                Err(stuck) => {
                    prop_assert!(!matches!(declared[stuck].1, Position::Priority(_)));
                }
            }
        }
    }

    #[test]
    fn order_is_declared() {
        let at = |name: &str, position| (Slot::new(name, "x", 0), position);
        let names = |declared: Vec<(Slot, Position)>| {
            arrange(declared).map(|chain| {
                let names = chain
                    .iter()
                    .map(|(_, s)| format!("{}{}", s.extension, s.priority));
                names.collect::<Vec<_>>().join(" ")
            })
        };
        let before = |name: &str| Position::Before(name.parse().unwrap());
        let after = |name: &str| Position::After(name.parse().unwrap());
        let declared = vec![
            at("d", before("c")),
            at("a", Position::Priority(50)),
            at("c", after("b")),
            at("b", Position::Priority(20)),
            at("e", Position::Priority(20)),
        ];
        assert_eq!(names(declared).unwrap(), "b20 d20 c20 e20 a50");
        assert_eq!(names(vec![at("a", after("z"))]), Err(0));
        assert_eq!(
            names(vec![at("a", after("b")), at("b", before("a"))]),
            Err(0)
        );
    }
}
