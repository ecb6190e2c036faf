//! What the nodes of a declared chain are made of, and where it is made.
//!
//! Reads the state, and changes nothing.

use super::upgrades::Upgrades;
use crate::{
    chain::{Chain, Change, Fresh, Ground, MOST_NODES, Role, Site},
    control::{Control, Policy, declared::Covered, edit::drop_policy},
    declare::plan::{Slot, Step},
    error::{Error, Result},
    target::Target,
};

impl Control {
    /// The nodes that a chain is to have.
    pub(super) fn changes(
        &self,
        covered: &Covered,
        upgrades: &Upgrades<'_>,
    ) -> Result<Vec<Change>> {
        let Covered { target, plan, .. } = covered;
        let chain = self.chain(plan.hook, *target);
        let mut wanted = Vec::new();
        for (step, slot) in plan.steps.iter().zip(&plan.wanted.slots) {
            let fresh = match (step, chain) {
                (Step::Keep(at), _) => {
                    wanted.push(Change::Keep(*at));
                    continue;
                }
                (Step::Change(at), Some(chain)) => upgrades.again(self, chain, *at)?,
                (Step::Change(_), None) | (Step::New, _) => self.fresh(slot, *target, upgrades)?,
            };
            wanted.push(Change::New(Fresh {
                priority: slot.priority,
                counters: slot.counters,
                opt_in: slot.opt_in,
                enabled: slot.enabled,
                ..fresh
            }));
        }
        let nodes = || chain.iter().flat_map(|chain| &chain.nodes).enumerate();
        let own = |role: fn(&Role) -> bool| {
            let found = nodes().filter(move |(_, node)| role(&node.record.role));
            found.map(|(at, _)| Change::Keep(at)).collect::<Vec<_>>()
        };
        let mut claims = own(|role| matches!(role, Role::Claim { .. }));
        if wanted.len() + claims.len() > MOST_NODES {
            return Err(Error::ChainFull {
                hook: plan.hook,
                interface: plan.place.clone(),
            });
        }
        if plan.wanted.policy == Policy::Drop {
            let mut present = own(|role| *role == Role::DropPolicy);
            wanted.push(present.pop().unwrap_or_else(drop_policy));
        }
        wanted.append(&mut claims);
        Ok(wanted)
    }

    /// A node of an extension that has none like it.
    fn fresh(&self, slot: &Slot, target: Target, upgrades: &Upgrades<'_>) -> Result<Fresh> {
        let name = &slot.extension;
        let loaded = || self.extension(name).map(|extension| extension.kmid);
        let kmid = upgrades.kmid(name).or_else(loaded);
        let kmid = kmid.ok_or_else(|| Error::NotLoaded {
            name: name.clone(),
            stage: "attach",
        })?;
        Ok(Fresh {
            id: None,
            role: Role::Extension {
                name: name.clone(),
                kmid,
                symbol: slot.program.clone(),
            },
            priority: 0,
            counters: true,
            opt_in: false,
            enabled: true,
            inherits: None,
            maps: upgrades.own_maps(self, name, target)?,
        })
    }
}

impl Covered {
    /// An error of building a node, with where its attachment is declared.
    pub(super) fn blame_node(&self, role: &Role, error: Error) -> Error {
        let Role::Extension { name, symbol, .. } = role else {
            return self.blame(error);
        };
        let mut slots = self.plan.wanted.slots.iter().zip(&self.origins);
        let declared = slots.find(|(slot, _)| (&slot.extension, &slot.program) == (name, symbol));
        match declared {
            Some((_, origin)) => origin.blame(error),
            None => self.blame(error),
        }
    }
}

/// Where a chain is made if there is none.
pub(super) fn site(covered: &Covered) -> Option<Site<'_>> {
    let Covered {
        target: _,
        spot,
        netfilter,
        plan,
        origin: _,
        origins: _,
    } = covered;
    Some(Site {
        hook: plan.hook,
        spot: spot.as_ref()?,
        mode: plan.mode,
        netfilter: netfilter.resolve(),
    })
}

/// What a change starts from; `None` if there is neither a chain nor a place for one.
pub(super) fn ground<'a>(
    present: Option<&'a Chain>,
    site: Option<&'a Site<'a>>,
) -> Option<Ground<'a>> {
    present.map(Ground::Chain).or(site.map(Ground::Bare))
}
