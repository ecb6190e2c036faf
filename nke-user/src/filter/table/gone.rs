//! Rules whose interfaces are gone: they stay as they were written, and mean nobody any more.
//!
//! A rule keeps the index that its interface had. No edit of others may stumble over it, and a list of the rules
//! says it.

use std::collections::BTreeMap;

use nke_ebpf::abi;

use super::interfaces::Interfaces;
use crate::filter::{InterfaceName, seen::Places, stored::Set, tree};

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
