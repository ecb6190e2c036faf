//! Fast paths: they follow the rules that are in force, and the chains.
//!
//! What a node has as its fast path is seen from the chain, what it should have from its rules. A fast path that is no longer
//! right hands everything over by itself: here it is only made anew, as soon as there is time for it.

use super::Control;
use crate::{
    chain::{Chain, MOST_NODES_WITH_FAST, Node, Wanted, put_fast},
    error::Result,
    filter::Table,
    seal::{Level, refuse_from},
};

impl Control {
    /// Gives every node the fast path that its rules can have, for who has changed rules; a change of chains does so by
    /// itself. What fails here costs time and nothing else: packets take the longer way.
    pub fn hasten(&mut self) {
        let places: Vec<_> = self.chains.iter().map(|it| (it.hook, it.target)).collect();
        for (hook, target) in places {
            let chain = self.chain(hook, target);
            if chain.is_some_and(|chain| self.hasten_chain(chain)) {
                let _: Result<_> = self.reread(hook, target);
            }
        }
    }

    /// The same for one chain; whether there is something new.
    pub(super) fn hasten_chain(&self, chain: &Chain) -> bool {
        let mut changed = false;
        for (position, node) in chain.nodes.iter().enumerate() {
            let table = rules_alone(chain, node);
            let has = node.fast.as_ref().map(|fast| &fast.made_of);
            if table.is_none() && has.is_none() {
                continue;
            }
            // It follows edits, but knows no flows.
            let now = table.as_ref().and_then(Table::rules_without_flows);
            if has.is_some_and(|has| has.is_in_force(now)) {
                continue;
            }
            // A fast path is new code as well. Whether that may come is asked only now: an edit in place needs none.
            if refuse_from(Level::NoNewCode).is_err() {
                return changed;
            }
            let sets = node
                .record
                .role
                .name()
                .and_then(|name| self.sets(name).ok());
            let table = table.map(|table| table.with_sets(sets));
            let path = table.and_then(|table| table.fast_path(chain.hook).ok().flatten());
            let body = |slow| path.as_ref().map_or_else(Vec::new, |path| path.body(slow));
            let wanted = path.as_ref().map(|path| Wanted {
                made_of: path.made_of(),
                body: &body,
            });
            let put = put_fast(&self.state, chain, position, wanted.as_ref());
            changed |= matches!(put, Ok(true));
        }
        changed
    }
}

/// The rules of a node, if they alone say what it does.
fn rules_alone(chain: &Chain, node: &Node) -> Option<Table> {
    let record = &node.record;
    let alone = record.judged_by_rules && record.enabled && !record.opt_in;
    if !alone || chain.nodes.len() > MOST_NODES_WITH_FAST {
        return None;
    }
    Table::open(&chain.node_directory(node).join("maps")).ok()
}
