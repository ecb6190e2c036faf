//! Chains as they run, as declarations have them.
//!
//! Reads the state, and changes nothing.

use crate::{
    chain::{Chain, Node, Role},
    control::Policy,
    declare::{
        dialect,
        plan::{Outline, Slot},
    },
    error::{Error, Result},
    filter::{Listing, RuleSet, Table},
    hook::Hook,
    target::Spot,
};

/// What a chain is of, in words.
pub(in crate::control) fn words(spot: &Spot) -> String {
    match spot {
        Spot::Interface {
            namespace, name, ..
        } => match namespace.name() {
            Some(namespace) => format!("{name} in {namespace}"),
            None => name.clone(),
        },
        Spot::Namespace(_) | Spot::Cgroup(_) => spot.to_string(),
    }
}

/// A chain as it runs, without its attachments' rules.
pub(in crate::control) fn outline(chain: &Chain) -> Outline {
    let slots = chain.nodes.iter().filter_map(|node| {
        let Role::Extension { name, symbol, .. } = &node.record.role else {
            return None;
        };
        Some(Slot {
            extension: name.clone(),
            program: symbol.clone(),
            priority: node.record.priority,
            counters: node.record.counters,
            opt_in: node.record.opt_in,
            enabled: node.record.enabled,
            rules: None,
        })
    });
    Outline {
        policy: if chain.drops() {
            Policy::Drop
        } else {
            Policy::Pass
        },
        slots: slots.collect(),
    }
}

/// The rules of an attachment that has some.
pub(in crate::control) fn rules_of(chain: &Chain, node: &Node) -> Result<RuleSet> {
    listing_of(chain, node).map(|listing| listing.rules())
}

/// The same as far as they mean what they say: nothing if they name an interface of whose name there is another one now.
/// Written again, they mean that.
pub(super) fn rules_that_mean(chain: &Chain, node: &Node) -> Result<Option<RuleSet>> {
    let listing = listing_of(chain, node)?;
    let mut gone = listing.gone_interfaces.iter();
    Ok((!gone.any(|it| it.made_again)).then(|| listing.rules()))
}

fn listing_of(chain: &Chain, node: &Node) -> Result<Listing> {
    let maps = chain.node_directory(node).join("maps");
    let table = Table::open(&maps).map(|table| table.in_namespace(chain.target.namespace()));
    let listing = table.and_then(|table| table.read());
    listing.map_err(|source| bad_rules(chain.hook, source))
}

pub(in crate::control) fn bad_rules(hook: Hook, source: crate::filter::Error) -> Error {
    Error::Rules {
        place: hook.to_string(),
        source: Box::new(source),
    }
}

pub(in crate::control) fn bad_sets(extension: &str, source: crate::filter::Error) -> Error {
    Error::Rules {
        place: format!("sets of {extension}"),
        source: Box::new(source),
    }
}

/// Whether an extension of this name has rules.
pub(in crate::control) fn has_rules(extension: &str) -> bool {
    dialect(extension).is_some()
}
