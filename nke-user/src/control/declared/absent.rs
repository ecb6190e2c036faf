//! Interfaces that declared rules name and that are not there (yet).
//!
//! Such rules are put in force nevertheless, or an interface that comes late would keep all others out of force.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::draft::wait;
use crate::{
    declare::{Attachment, Origin, plan::Waiting},
    filter::InterfaceName,
    target::{Spot, Where},
};

/// Of each interface that is not there, the first of an attachment's rules that name it.
pub(super) fn awaited(what: &Attachment, origin: &Origin, spot: &Spot) -> Vec<Waiting> {
    let (Some(rules), Some(namespace)) = (&what.rules, spot.namespace()) else {
        return Vec::new();
    };
    let netns = match &what.place {
        Where::Interface { netns, .. } | Where::Namespace { netns } => netns,
        Where::Cgroup { .. } => return Vec::new(),
    };
    // Those that are there have no rules here.
    let mut named: BTreeMap<InterfaceName, Vec<usize>> = BTreeMap::new();
    for (at, rule) in rules.rules.iter().enumerate() {
        for name in rule.named_interfaces().collect::<BTreeSet<_>>() {
            match named.entry(name) {
                Entry::Occupied(mut known) if !known.get().is_empty() => known.get_mut().push(at),
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    let absent = namespace.index(name.as_str()).is_err();
                    place.insert(absent.then_some(at).into_iter().collect());
                }
            }
        }
    }
    let named = named.into_iter();
    let absent = named.filter_map(|(name, rules)| Some((name, *rules.first()?, rules.len() - 1)));
    let awaited = absent.map(|(name, first, others)| {
        let place = Where::Interface {
            name: name.to_string(),
            netns: netns.clone(),
        };
        let origin = Origin {
            line: what.lines.get(first).copied().unwrap_or(origin.line),
            ..origin.clone()
        };
        let rule = &rules.rules[first];
        let does = rule.without_interface(name);
        let others = match others {
            0 => String::new(),
            1 => "; and another rule".to_owned(),
            others => format!("; and {others} other rules"),
        };
        let what = format!("`{rule}` {does} until it is there and applied again{others}");
        wait(&place, &origin, what)
    });
    awaited.collect()
}
