//! `apply`: the system is brought to a declared state, each chain swapped whole.
//!
//! ```text
//! survey      what is, what is declared, what is to be done; nothing changes
//! load        extensions, without holding them
//! try         chains on the way of the caller's own connection, aside, on its packets
//! prepare     every chain, with its rules; all that can fail
//! swap        one pointer write for each chain, then rules of attachments that stay
//! let go      of what nothing holds any more
//! ```
//!
//! Whatever fails before the swap leaves everything as it was. Killed at any point, each chain is
//! the old one or the new one, and applying again finishes.

use std::{collections::HashSet, path::PathBuf};

use super::{
    Control, Policy, Scope,
    declared::{Covered, Survey, bad_rules, has_rules},
};
use crate::{
    chain::{
        Chain, Change, Fresh, Ground, MOST_NODES, Prepared, Role, Site, build_trial,
        node_directory, prepare,
    },
    declare::{
        Declaration,
        plan::{Plan, Step},
    },
    error::{Error, Result},
    extension::Build,
    filter::{self, Table},
    find::Wanted,
    holder::{self, Users},
    lockout::Flow,
    order::Selector,
    sys::program,
    target::Target,
};

/// How to apply a declaration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Take away what no declaration covers, too.
    pub prune: bool,
    /// Even if it cuts the connection that the caller came by.
    pub force: bool,
}

/// Own maps of attachments that are made and not yet in force.
type Aside = Vec<(Target, u32, PathBuf)>;

impl Control {
    /// Brings the system to a declared state. Returns what was done for it: the plan, empty if
    /// there was nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Control::plan`], those of loading and attaching, [`Error::LockOut`] and
    /// [`Error::Unconfirmed`]. Nothing has changed then.
    pub fn apply(&mut self, declaration: &Declaration, terms: Terms) -> Result<Plan> {
        self.refuse_pending("apply")?;
        self.apply_now(declaration, terms)
    }

    /// The apply itself.
    pub(super) fn apply_now(&mut self, declaration: &Declaration, terms: Terms) -> Result<Plan> {
        let survey = self.survey(declaration, terms.prune)?;
        if survey.plan.is_empty() {
            return Ok(survey.plan);
        }
        let done = self.carry_out(&survey, terms);
        if done.is_ok() {
            for chain in survey.covered.iter().filter(|chain| chain.plan.moves()) {
                self.reread(chain.plan.hook, chain.target)?;
            }
        }
        self.disclaim_unused()?;
        self.unload_unused()?;
        done?;
        self.show_existing_of(&survey.covered)?;
        Ok(survey.plan)
    }

    /// Shows extensions that have come to a cgroup the sockets that it has already.
    fn show_existing_of(&self, covered: &[Covered]) -> Result<()> {
        let mut shown = HashSet::new();
        for Covered { target, plan, .. } in covered {
            for (step, slot) in plan.steps.iter().zip(&plan.wanted.slots) {
                let kmid = self.extension(&slot.extension).map(|found| found.kmid);
                // No socket has opted in for what has just come.
                if let (Step::New, false, Some(kmid)) = (step, slot.opt_in, kmid)
                    && shown.insert((kmid, *target))
                {
                    self.show_existing(kmid, *target)?;
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, survey: &Survey, terms: Terms) -> Result<()> {
        let wanted = |name: &str| {
            let known = survey.wanted.get(name).cloned();
            known.unwrap_or_else(|| Wanted::Name(name.to_owned()))
        };
        // What is not loaded yet begins with its settings; the others change behind the swap.
        let settings = survey
            .plan
            .settings
            .chunk_by(|a, b| a.extension == b.extension);
        let loaded: Vec<_> = self.extensions.iter().map(|e| e.name.clone()).collect();
        let mut later = Vec::new();
        for of_one in settings {
            let name = &of_one[0].extension;
            let values = of_one.iter().map(|s| (s.setting.clone(), s.text.clone()));
            let values: Vec<_> = values.collect();
            if loaded.contains(name) {
                later.push((Selector::Name(name.clone()), values));
            } else {
                self.bring_in_set(&wanted(name), None, Build::Current, &values)?;
            }
        }
        for name in &survey.plan.load {
            self.obtain(&wanted(name), None)?;
        }
        for chain in &survey.covered {
            let steps = chain.plan.steps.iter().zip(&chain.plan.wanted.slots);
            for (step, slot) in steps {
                if *step == Step::New {
                    self.obtain(&wanted(&slot.extension), None)?;
                }
                if let (true, Some(spot)) = (slot.opt_in, &chain.spot) {
                    self.claim(chain.plan.hook, spot, &slot.extension)?;
                }
            }
        }
        if !terms.force {
            self.refuse_to_lock_out(&survey.covered)?;
        }
        self.swap(&survey.covered)?;
        for (selector, values) in later {
            self.set(&selector, &Scope::default(), &values)?;
        }
        for name in &survey.plan.load {
            self.obtain(&wanted(name), Some(&holder::caller()))?;
        }
        let state = &self.state;
        let released = |name: &String| survey.plan.release.contains(name);
        for extension in self.extensions.iter_mut().filter(|e| released(&e.name)) {
            extension.edit(state, |record| record.users = Users::default())?;
        }
        Ok(())
    }

    /// The nodes that a chain is to have.
    fn changes(&self, covered: &Covered) -> Result<Vec<Change>> {
        let Covered { target, plan, .. } = covered;
        let chain = self.chain(plan.hook, *target);
        let mut wanted = Vec::new();
        for (step, slot) in plan.steps.iter().zip(&plan.wanted.slots) {
            let record = |at: usize| Some(&chain?.nodes.get(at)?.record);
            let was = match step {
                Step::Keep(at) => {
                    wanted.push(Change::Keep(*at));
                    continue;
                }
                Step::Change(at) => record(*at).map(|record| Fresh::copy(*at, record)),
                Step::New => None,
            };
            let fresh = match was {
                Some(was) => was,
                None => self.fresh(&slot.extension, &slot.program)?,
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
            wanted.push(present.pop().unwrap_or_else(super::edit::drop_policy));
        }
        wanted.append(&mut claims);
        Ok(wanted)
    }

    /// A node of an extension that has none like it.
    fn fresh(&self, name: &str, symbol: &str) -> Result<Fresh> {
        let extension = self.extension(name).ok_or_else(|| Error::NotLoaded {
            name: name.to_owned(),
            stage: "attach",
        })?;
        Ok(Fresh {
            id: None,
            role: Role::Extension {
                name: name.to_owned(),
                kmid: extension.kmid,
                symbol: symbol.to_owned(),
            },
            priority: 0,
            counters: true,
            opt_in: false,
            enabled: true,
            inherits: None,
            maps: None,
        })
    }

    /// Runs packets of the caller's own connection through the chains that it meets, as they are to
    /// be, with the rules that they are to have.
    fn refuse_to_lock_out(&self, covered: &[Covered]) -> Result<()> {
        let Some(flow) = Flow::of_caller() else {
            return Ok(());
        };
        let meets =
            |chain: &&Covered| chain.plan.changes() && flow.meets(chain.plan.hook, chain.target);
        for chain in covered.iter().filter(meets) {
            if self.cuts(chain, &flow)? {
                return Err(Error::LockOut {
                    hook: chain.plan.hook,
                    place: chain.plan.place.clone(),
                    stage: "apply",
                    connection: flow.to_string(),
                });
            }
        }
        Ok(())
    }

    fn cuts(&self, covered: &Covered, flow: &Flow) -> Result<bool> {
        let Covered { target, plan, .. } = covered;
        let mut wanted = self.changes(covered)?;
        if wanted.is_empty() {
            return Ok(false);
        }
        let present = self.chain(plan.hook, *target);
        // What gets other rules has maps of its own on trial.
        for (nth, at, _) in plan.new_rules() {
            if let Some(node) = present.and_then(|chain| chain.nodes.get(at)) {
                wanted[nth] = Change::New(Fresh {
                    inherits: None,
                    ..Fresh::copy(at, &node.record)
                });
            }
        }
        let site = site(covered);
        let Some(ground) = ground(present, site.as_ref()) else {
            return Ok(false);
        };
        let trial = self.build(ground, &[], |shop| build_trial(shop, &wanted))?;
        let slots = plan.steps.iter().zip(&plan.wanted.slots).enumerate();
        for (nth, (step, slot)) in slots {
            let other = plan.new_rules().any(|(changed, ..)| changed == nth);
            if let (Some(rules), true, Some(maps)) =
                (&slot.rules, other || *step == Step::New, trial.maps(nth))
            {
                let written = Table::open(&maps).and_then(|mut table| table.write(rules));
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

    /// Prepares all chains, and puts them in force.
    fn swap(&self, covered: &[Covered]) -> Result<()> {
        let moving: Vec<_> = covered.iter().filter(|chain| chain.plan.moves()).collect();
        let sites: Vec<_> = moving.iter().map(|chain| site(chain)).collect();
        let mut aside = Aside::new();
        let mut prepared = Vec::new();
        for (chain, site) in moving.iter().zip(&sites) {
            let present = self.chain(chain.plan.hook, chain.target);
            let Some(ground) = ground(present, site.as_ref()) else {
                continue;
            };
            let wanted = self.changes(chain)?;
            let change = self.build(ground, &aside, |shop| prepare(shop, &wanted))?;
            aside.extend(self.made_aside(chain, &change));
            prepared.push((chain, change));
        }
        let rules = self.prepare_rules(covered, &prepared)?;
        self.put_in_force(prepared.into_iter().map(|(_, change)| change).collect())?;
        for (hook, rules) in rules {
            rules
                .put_in_force()
                .map_err(|source| bad_rules(hook, source))?;
        }
        Ok(())
    }

    /// Where the nodes are that were made for a chain, with their extensions.
    fn made_aside(&self, covered: &Covered, change: &Prepared<'_>) -> Aside {
        let Covered { target, plan, .. } = covered;
        let directory = self.state.chain(plan.hook, *target);
        let slots = plan.steps.iter().zip(&plan.wanted.slots);
        let made = slots
            .zip(change.programs())
            .filter_map(|((step, slot), id)| {
                let kmid = self.extension(&slot.extension)?.kmid;
                let maps = node_directory(&directory, *id).join("maps");
                (*step == Step::New).then_some((*target, kmid, maps))
            });
        made.collect()
    }

    /// Writes the rules of nodes that nothing leads to yet, and prepares those of the others.
    fn prepare_rules(
        &self,
        covered: &[Covered],
        prepared: &[(&&Covered, Prepared<'_>)],
    ) -> Result<Vec<(crate::hook::Hook, filter::Prepared)>> {
        let failed = |hook| move |source| bad_rules(hook, source);
        let mut known = HashSet::new();
        let mut later = Vec::new();
        for Covered { target, plan, .. } in covered {
            let hook = plan.hook;
            let Some(chain) = self.chain(hook, *target) else {
                continue;
            };
            let rules = plan.new_rules().map(|(_, at, rules)| (at, rules));
            let rules: Vec<_> = rules.collect();
            for (at, node) in chain.nodes.iter().enumerate() {
                let Role::Extension { name, .. } = &node.record.role else {
                    continue;
                };
                if !has_rules(name) {
                    continue;
                }
                let maps = chain.node_directory(node).join("maps");
                let table = Table::open(&maps).map_err(failed(hook))?;
                let new = rules.iter().find(|(changed, _)| *changed == at);
                if let (true, Some((_, rules))) = (known.insert(table.id()), new) {
                    later.push((hook, table.prepare(rules).map_err(failed(hook))?));
                }
            }
        }
        for (Covered { target, plan, .. }, change) in prepared {
            let directory = self.state.chain(plan.hook, *target);
            let slots = plan.steps.iter().zip(&plan.wanted.slots);
            for ((step, slot), id) in slots.zip(change.programs()) {
                let (Step::New, Some(rules)) = (step, &slot.rules) else {
                    continue;
                };
                let maps = node_directory(&directory, *id).join("maps");
                let mut table = Table::open(&maps).map_err(failed(plan.hook))?;
                if known.insert(table.id()) {
                    table.write(rules).map_err(failed(plan.hook))?;
                }
            }
        }
        Ok(later)
    }
}

/// Where a chain is made if there is none.
fn site(covered: &Covered) -> Option<Site<'_>> {
    let Covered {
        target: _,
        spot,
        netfilter,
        plan,
    } = covered;
    Some(Site {
        hook: plan.hook,
        spot: spot.as_ref()?,
        mode: plan.mode,
        netfilter: netfilter.resolve(),
    })
}

/// What a change starts from; `None` if there is neither a chain nor a place for one.
fn ground<'a>(present: Option<&'a Chain>, site: Option<&'a Site<'a>>) -> Option<Ground<'a>> {
    present.map(Ground::Chain).or(site.map(Ground::Bare))
}
