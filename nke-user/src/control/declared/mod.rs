//! What a declaration comes to on this system: which chains it covers, and what each is to be.
//!
//! Reads files and the state, and changes nothing; the decisions are [`crate::declare::plan`]'s.

mod absent;
mod bodies;
mod draft;
mod outline;
mod sets;
mod settings;

use std::collections::BTreeMap;

use nke_ebpf::abi::map;

use self::{
    bodies::Bodies,
    draft::{Draft, wrong},
    outline::{outline, rules_that_mean},
};
pub(super) use self::{
    bodies::Named,
    outline::{bad_rules, bad_sets, has_rules, rules_of, words},
};
use super::{Control, Policy, upgrade::symbol_of};
use crate::{
    chain::{Chain, MOST_NODES},
    declare::{
        Declaration, Declared, Origin,
        plan::{self, ChainPlan, Outline, Plan, Step},
    },
    error::{Error, Result},
    hook::Hook,
    netfilter::Request,
    target::{Spot, Target},
};

/// A chain that is covered, and what it takes to make it.
pub(super) struct Covered {
    pub(super) target: Target,
    /// What it is of; `None` if only a chain of it is left.
    pub(super) spot: Option<Spot>,
    pub(super) netfilter: Request,
    pub(super) plan: ChainPlan,
    /// Where it is declared; `None` if it is not.
    pub(super) origin: Option<Origin>,
    /// Where each of the wanted attachments is declared.
    pub(super) origins: Vec<Origin>,
}

impl Covered {
    /// An error of this chain, with where the chain is declared.
    pub(super) fn blame(&self, error: Error) -> Error {
        match &self.origin {
            Some(origin) => origin.blame(error),
            None => error,
        }
    }

    /// A chain that is not declared, all of which is to go.
    fn gone(chain: &Chain) -> Self {
        let spot = Spot::find(chain.target);
        Self {
            target: chain.target,
            netfilter: Request::default(),
            plan: ChainPlan {
                hook: chain.hook,
                place: spot
                    .as_ref()
                    .map_or_else(|| chain.target.directory(), words),
                mode: None,
                running: outline(chain),
                wanted: Outline::NONE,
                steps: Vec::new(),
            },
            spot,
            origin: None,
            origins: Vec::new(),
        }
    }

    /// A chain that is not declared and stays as it is.
    pub(super) fn as_it_is(chain: &Chain) -> Self {
        let mut covered = Self::gone(chain);
        let plan = &mut covered.plan;
        plan.wanted = plan.running.clone();
        plan.steps = (0..plan.wanted.slots.len()).map(Step::Keep).collect();
        covered
    }
}

/// All that a declaration comes to.
pub(super) struct Survey {
    pub(super) plan: Plan,
    pub(super) covered: Vec<Covered>,
    /// The extensions that are declared, by their names.
    pub(super) named: BTreeMap<String, Named>,
}

impl Survey {
    /// An error of an extension, with where it is declared.
    pub(super) fn blame(&self, extension: &str, error: Error) -> Error {
        match self.named.get(extension) {
            Some(named) => named.origin.blame(error),
            None => error,
        }
    }

    /// The settings that an extension, or its other version, is loaded with: names and values.
    pub(super) fn values_at_load(&self, extension: &str) -> Vec<(String, String)> {
        let settings = self.plan.settings.iter();
        let own = settings.filter(|s| s.extension == extension && s.at_load);
        own.map(|s| (s.setting.clone(), s.text.clone())).collect()
    }
}

impl Control {
    /// What bringing the system to a declared state would do. With `prune`, also what is not in any
    /// chain that is declared goes.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing objects, of [`Control::attach`], and [`Error::Declaration`].
    pub fn plan(&self, declaration: &Declaration, prune: bool) -> Result<Plan> {
        Ok(self.survey(declaration, prune)?.plan)
    }

    pub(super) fn survey(&self, declaration: &Declaration, prune: bool) -> Result<Survey> {
        let mut bodies = Bodies::default();
        let mut plan = Plan::default();
        let mut declared = Vec::new();
        self.named_by_files(declaration, &mut bodies)?;
        for Declared { what, origin } in &declaration.loads {
            let (name, _) = self.body(&mut bodies, what, origin)?;
            declared.push(name.clone());
            let held = self
                .extension(&name)
                .is_some_and(|e| e.record.users.count() > 0);
            if !held && !plan.load.contains(&name) {
                plan.load.push(name);
            }
        }
        let drafts = self.drafts(declaration, &mut bodies, &mut plan.waiting)?;
        let mut covered = Vec::new();
        for ((target, hook), draft) in drafts {
            covered.push(self.cover(hook, target, draft, &bodies)?);
        }
        if prune {
            let held = self
                .extensions
                .iter()
                .filter(|e| e.record.users.count() > 0);
            let held = held.map(|e| e.name.clone());
            plan.release = held.filter(|name| !declared.contains(name)).collect();
            let others = self.others_than(&covered);
            covered.extend(others);
        }
        covered.sort_by_cached_key(|c| (c.plan.place.clone(), c.plan.hook));
        plan.sets = self.plan_sets(declaration, &mut bodies, &covered, prune)?;
        let mut release = Vec::new();
        for name in std::mem::take(&mut plan.release) {
            if !self.asks_sets_of_hands(&name, declaration, &mut bodies, &covered)? {
                release.push(name);
            }
        }
        plan.release = release;
        self.plan_settings(declaration, &mut bodies, &mut plan, prune)?;
        self.check_elsewhere(&bodies, &covered)?;
        plan.upgrades = bodies.upgrades();
        plan.chains = covered.iter().map(|chain| chain.plan.clone()).collect();
        Ok(Survey {
            plan,
            covered,
            named: bodies.named,
        })
    }

    /// What is to become of a chain.
    fn cover(&self, hook: Hook, target: Target, draft: Draft, bodies: &Bodies) -> Result<Covered> {
        let Draft {
            spot,
            origin,
            mode,
            netfilter,
            policy,
            slots,
        } = draft;
        let origins: Vec<_> = slots.iter().map(|(_, _, origin)| origin.clone()).collect();
        let declared = slots
            .into_iter()
            .map(|(slot, position, _)| (slot, position));
        let slots = plan::arrange(declared.collect()).map_err(|stuck| {
            let cause = "no attachment that it goes before or after is declared of this chain";
            wrong(&origins[stuck], "attach", cause.to_owned())
        })?;
        if slots.len() > MOST_NODES {
            let interface = spot.to_string();
            return Err(origin.blame(Error::ChainFull { hook, interface }));
        }
        let origins = slots.iter().map(|(nth, _)| origins[*nth].clone()).collect();
        let wanted = Outline {
            policy: policy.map_or(Policy::Pass, |(policy, _)| policy),
            slots: slots.into_iter().map(|(_, slot)| slot).collect(),
        };
        let chain = self.chain(hook, target);
        let mut running = chain.map_or(Outline::NONE, outline);
        let steps = steps(hook, &running, &wanted, bodies);
        for (step, slot) in steps.iter().zip(&wanted.slots) {
            let readable = slot.rules.is_some() && bodies.keeps(&slot.extension, map::RULES);
            if let (Step::Keep(at) | Step::Change(at), true, Some(chain)) = (step, readable, chain)
            {
                let rules = rules_that_mean(chain, &chain.nodes[*at]);
                running.slots[*at].rules = rules.map_err(|error| origin.blame(error))?;
            }
        }
        Ok(Covered {
            target,
            netfilter,
            plan: ChainPlan {
                hook,
                place: words(&spot),
                mode: mode.map(|(mode, _)| mode),
                running,
                wanted,
                steps,
            },
            spot: Some(spot),
            origin: Some(origin),
            origins,
        })
    }

    /// Whether upgraded extensions serve the hooks where they are attached and not declared.
    fn check_elsewhere(&self, bodies: &Bodies, covered: &[Covered]) -> Result<()> {
        for (extension, named) in &bodies.named {
            let (Some(upgrade), Some(object)) = (&named.upgrade, bodies.upgraded(extension)) else {
                continue;
            };
            for (chain, node) in self.uses(upgrade.old.kmid) {
                let is = |c: &Covered| (c.plan.hook, c.target) == (chain.hook, chain.target);
                if !covered.iter().any(is) {
                    let found = super::upgrade::symbol(object, chain.hook, &node.record.role);
                    found.map_err(|error| named.origin.blame(error))?;
                }
            }
        }
        Ok(())
    }

    /// The chains that are not declared, all of which are to go.
    fn others_than(&self, covered: &[Covered]) -> Vec<Covered> {
        let asked_for = |chain: &&Chain| chain.drops() || chain.attachments().next().is_some();
        let others = self.chains_beside(covered).filter(asked_for);
        others.map(Covered::gone).collect()
    }

    /// The chains that are none of these.
    pub(super) fn chains_beside(&self, covered: &[Covered]) -> impl Iterator<Item = &Chain> {
        let declared = |chain: &Chain| {
            let mut covered = covered.iter();
            covered.any(|c| (c.target, c.plan.hook) == (chain.target, chain.hook))
        };
        self.chains.iter().filter(move |chain| !declared(chain))
    }
}

/// How each of the wanted attachments comes to be; those of an extension that gets another version
/// are made anew.
fn steps(hook: Hook, running: &Outline, wanted: &Outline, bodies: &Bodies) -> Vec<Step> {
    let mut as_upgraded = running.slots.clone();
    for slot in &mut as_upgraded {
        if let Some(object) = bodies.upgraded(&slot.extension)
            && let Ok(symbol) = symbol_of(object, hook, Some(&slot.program))
        {
            slot.program = symbol;
        }
    }
    let mut steps = plan::steps(&as_upgraded, &wanted.slots);
    for (step, slot) in steps.iter_mut().zip(&wanted.slots) {
        if let (Step::Keep(at), Some(_)) = (*step, bodies.upgraded(&slot.extension)) {
            *step = Step::Change(at);
        }
    }
    steps
}
