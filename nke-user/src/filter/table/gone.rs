//! Rules whose interfaces are gone: they stay as they were written, and mean nobody any more.
//!
//! A rule keeps the index that its interface had. No edit of others may stumble over it, and a list of the rules
//! says it.

use std::collections::BTreeMap;

use nke_ebpf::abi;

use super::{Listing, interfaces::Interfaces};
use crate::filter::{
    Asked, InterfaceName, Miss, Packet, Rule, RuleSet, Test, seen::Places, stored::Set, tree,
};

/// An interface that a rule in force names and that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneInterface {
    /// The rule's number, from 1.
    pub rule: usize,
    /// The interface.
    pub name: InterfaceName,
    /// Whether there is another one of this name, which the rule does not mean until it is loaded again.
    pub made_again: bool,
}

impl Listing {
    /// The rules as the kernel takes them: one that asks for an interface which is gone matches nothing, and one that asks
    /// for any other matches on all.
    #[must_use]
    pub fn meant(&self) -> RuleSet {
        let mut meant = self.rules();
        for GoneInterface { rule, name, .. } in &self.gone_interfaces {
            let rule = rule.checked_sub(1).and_then(|at| meant.rules.get_mut(at));
            let tests = rule.map(|rule| &mut rule.tests);
            if let Some(tests) = tests.filter(|tests| asks(tests, *name).is_some()) {
                let asked = asks(tests, *name) == Some(true);
                let both = [false, true].map(|not| Test {
                    what: Asked::On(*name),
                    not,
                });
                tests.retain(|test| !both.contains(test));
                tests.extend(both.into_iter().filter(|_| asked));
                tests.sort_unstable();
            }
        }
        meant
    }
}

impl GoneInterface {
    /// In what no packet is as a rule asks for that asks for it.
    #[must_use]
    pub fn miss(&self, packet: &Packet) -> Miss {
        let Self {
            rule: _,
            name,
            made_again,
        } = self;
        Miss {
            what: Asked::On(*name).name(),
            found: Asked::On(*name).found(packet),
            wanted: match made_again {
                true => format!("the {name} that there was before"),
                false => format!("{name}, which is not there now"),
            },
        }
    }

    /// Whether a rule asks for it, and so matches nothing.
    #[must_use]
    pub fn is_asked_by(&self, rule: &Rule) -> bool {
        asks(&rule.tests, self.name) == Some(true)
    }
}

/// Whether tests ask for an interface; or for any other, or not at all.
fn asks(tests: &[Test], name: InterfaceName) -> Option<bool> {
    let mut of_it = tests.iter().filter(|test| test.what == Asked::On(name));
    let first = of_it.next()?;
    Some(!first.not || of_it.any(|test| !test.not))
}

/// For each rule that is to be, the indexes that it has been given of the interfaces that it names; none of those that
/// come.
pub(super) fn given(set: &Set, staying: &[Option<u32>]) -> Vec<Vec<u32>> {
    let tests = set.tests();
    if !tests.iter().any(InterfaceName::is_in) {
        return Vec::new();
    }
    let given = |number: &Option<u32>| {
        let named = number.map(|number| named(set, &tests, number));
        let named = named.into_iter().flatten();
        named.map(InterfaceName::index).collect()
    };
    staying.iter().map(given).collect()
}

/// Those that are gone, of all rules.
pub(super) fn of_rules(set: &Set, places: &Places, interfaces: &Interfaces) -> Vec<GoneInterface> {
    let tests = set.tests();
    if !tests.iter().any(InterfaceName::is_in) {
        return Vec::new();
    }
    let mut known = BTreeMap::new();
    let mut gone = Vec::new();
    for (rule, number) in (1..).zip(&places.numbers) {
        for test in named(set, &tests, *number) {
            let index = InterfaceName::index(test);
            let there = known.entry(index);
            if *there.or_insert_with(|| interfaces.has(index)) {
                continue;
            }
            gone.extend(InterfaceName::decode(test).map(|name| GoneInterface {
                rule,
                name,
                made_again: interfaces.index(name).is_some(),
            }));
        }
    }
    gone
}

/// The tests of the rule of this number that name interfaces.
fn named<'t>(
    set: &Set,
    tests: &'t [abi::Test],
    number: u32,
) -> impl Iterator<Item = &'t abi::Test> + use<'t> {
    let listed = set.rule(set.listed(number));
    let tests = listed.and_then(|rule| tree::tests_of(&rule, tests));
    let tests = tests.unwrap_or_default().iter();
    tests.filter(|test| InterfaceName::is_in(test))
}
