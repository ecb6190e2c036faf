//! Chains on the way of the caller's own connection: tried on its packets before they are in force.
//!
//! Tried are those that change, and those whose rules ask for a named set that does: all attachments of an extension have
//! the same sets, so that they need not be declared.
//!
//! Everything is made aside and goes again; nothing that others' packets meet changes.

use super::{
    nodes::{ground, site},
    sets::OnTrial,
    upgrades::Upgrades,
};
use crate::{
    chain::{Change, Fresh, Role, build_trial},
    control::{
        Around, Control,
        act::Act,
        declared::{Covered, Survey, bad_rules},
    },
    declare::plan::{ChainPlan, Step},
    error::{Error, Result},
    filter::{self, RuleSet, Table},
    lockout::Flow,
    sys::program,
};

/// Why a connection is cut whose own packets pass.
const NEIGHBOURS: &str = " (the default drops what neighbours find each other by)";

/// Whether rules that a chain is to get have the default drop what the ends of a connection find each other by, and those
/// that are there do not.
fn shuts_out_neighbours(plan: &ChainPlan, flow: &Flow) -> bool {
    let shuts_out = |rules: Option<&RuleSet>| {
        rules.is_some_and(|rules| filter::shuts_out_neighbours(rules, plan.hook, flow.is_v6()))
    };
    let steps = plan.steps.iter().zip(&plan.wanted.slots);
    let mut steps = steps.map(|(step, slot)| match step {
        Step::New => (None, slot.rules.as_ref()),
        Step::Keep(at) | Step::Change(at) => {
            (plan.running.slots[*at].rules.as_ref(), slot.rules.as_ref())
        }
    });
    steps.any(|(before, after)| shuts_out(after) && !shuts_out(before))
}

impl Control {
    /// Runs packets of the caller's own connection through the chains that it meets, as they are to
    /// be, with the rules that they are to have, which ask for the sets that there are to be.
    pub(super) fn refuse_to_lock_out(
        &self,
        Survey { plan, covered, .. }: &Survey,
        upgrades: &Upgrades<'_>,
        later: &[Act],
    ) -> Result<()> {
        let Some(flow) = Flow::of_caller() else {
            return Ok(());
        };
        let sets = self.sets_on_trial(&plan.sets, later)?;
        let others: Vec<_> = match sets.as_slice() {
            [] => Vec::new(),
            _ => self.chains_beside(covered).map(Covered::as_it_is).collect(),
        };
        let meets = |chain: &&Covered| flow.meets(chain.plan.hook, chain.target);
        for chain in covered.iter().chain(&others).filter(meets) {
            let changes = chain.plan.changes();
            let asks = match changes {
                true => None,
                false => self.asks_for(&sets, chain)?,
            };
            if !changes && asks.is_none() {
                continue;
            }
            let blame = |error| match asks.and_then(|set| set.origin.as_ref()) {
                Some(origin) => origin.blame(error),
                None => chain.blame(error),
            };
            let shut_out = shuts_out_neighbours(&chain.plan, &flow);
            if shut_out || self.cuts(chain, upgrades, &sets, &flow).map_err(blame)? {
                let why = if shut_out { NEIGHBOURS } else { "" };
                return Err(blame(Error::LockOut {
                    hook: chain.plan.hook,
                    place: chain.plan.place.clone(),
                    stage: "apply",
                    connection: format!("{flow}{why}"),
                }));
            }
        }
        Ok(())
    }

    fn cuts(
        &self,
        covered: &Covered,
        upgrades: &Upgrades<'_>,
        sets: &[OnTrial<'_>],
        flow: &Flow,
    ) -> Result<bool> {
        let Covered { target, plan, .. } = covered;
        let mut wanted = self.changes(covered, upgrades)?;
        if wanted.is_empty() {
            return Ok(false);
        }
        let present = self.chain(plan.hook, *target);
        // What gets other rules has maps of its own on trial.
        for (nth, at, _) in plan.new_rules() {
            let fresh = match (&wanted[nth], present.and_then(|chain| chain.nodes.get(at))) {
                (Change::New(fresh), _) => fresh.clone(),
                (Change::Keep(_), Some(node)) => Fresh::copy(at, &node.record),
                (Change::Keep(_), None) => continue,
            };
            wanted[nth] = Change::New(Fresh {
                inherits: None,
                maps: None,
                ..fresh
            });
        }
        let site = site(covered);
        let Some(ground) = ground(present, site.as_ref()) else {
            return Ok(false);
        };
        let blame = |role: &Role, error| covered.blame_node(role, error);
        let around = Around {
            aside: &[],
            blame: &blame,
        };
        let instead = |role: &Role| OnTrial::maps_of(sets, role);
        let trial = self.build(ground, &around, |shop| build_trial(shop, &wanted, instead))?;
        let slots = plan.steps.iter().zip(&plan.wanted.slots).enumerate();
        for (nth, (step, slot)) in slots {
            let other = plan.new_rules().any(|(changed, ..)| changed == nth);
            if let (Some(rules), true, Some(maps)) =
                (&slot.rules, other || *step == Step::New, trial.maps(nth))
            {
                let sets = match OnTrial::of(sets, &slot.extension) {
                    Some(on_trial) => on_trial.sets(),
                    None => self.sets(&slot.extension).ok(),
                };
                let namespace = target.namespace();
                let by = namespace.as_ref();
                let by = by.and_then(|it| flow.taken_to_come_by(plan.hook, it));
                let table = Table::open(&maps).map(|table| {
                    let table = table.with_sets(sets).in_namespace(namespace);
                    table.with_absent_interfaces()
                });
                let written = table.and_then(|mut table| {
                    by.into_iter().for_each(|by| table.try_on(by));
                    table.write(rules)
                });
                written.map_err(|source| bad_rules(plan.hook, source))?;
            }
        }
        if !flow.is_cut_by(plan.hook, *target, &trial) {
            return Ok(false);
        }
        // What runs answers the same, and the connection lives: so this does not cut it.
        let running = present.and_then(|chain| program::open(chain.anchor.root()).ok());
        Ok(!running.is_some_and(|root| flow.is_cut_by(plan.hook, *target, root)))
    }
}
