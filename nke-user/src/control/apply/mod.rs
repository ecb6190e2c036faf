//! `apply`: the system is brought to a declared state, each chain swapped whole.
//!
//! ```text
//! survey      what is, what is declared, what is to be done; nothing changes
//! load        extensions, without holding them, and other versions beside those that are loaded
//! make        named sets that no rule can ask for yet, because there are none of their names
//! try         chains on the way of the caller's own connection, aside, on its packets, with the sets that there are to be
//! prepare     every chain, sets, rules, settings, counts; all that can well fail
//! swap        one pointer write for each chain, then sets, rules of attachments that stay, settings, counts
//! let go      of what nothing holds any more
//! ```
//!
//! Whatever fails before the swap leaves everything as it was. Whatever fails in it has what was
//! written before it put back. Killed at any point, each chain is the old one or the new one, and
//! applying again finishes.

mod nodes;
mod sets;
mod swap;
mod trial;
mod upgrades;

use self::sets::Sets;
use super::{
    Control,
    declared::{Named, Survey},
};
use crate::{
    declare::{
        Declaration,
        plan::{Plan, Step},
    },
    error::Result,
    extension::Build,
    filter::Restated,
    find::Wanted,
};

/// How to apply a declaration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Take away what no declaration covers, too.
    pub prune: bool,
    /// Even if it cuts the connection that the caller came by.
    pub force: bool,
}

impl Control {
    /// Brings the system to a declared state. Returns what was done for it: the plan, empty if
    /// there was nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Control::plan`], those of loading and attaching, [`crate::error::Error::LockOut`] and
    /// [`crate::error::Error::Unconfirmed`]. Nothing has changed then.
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
        // What cannot be let go of now, the next command lets go of.
        let _: Result<()> = self.let_go(&survey, done.is_ok());
        done?;
        self.hasten();
        Ok(survey.plan)
    }

    /// Lets go of what nothing holds: any more, or because it was not put in force.
    fn let_go(&mut self, survey: &Survey, in_force: bool) -> Result<()> {
        self.end_upgrades(survey, in_force)?;
        if in_force {
            for chain in survey.covered.iter().filter(|chain| chain.plan.moves()) {
                self.reread(chain.plan.hook, chain.target)?;
            }
        }
        self.disclaim_unused()?;
        self.unload_unused()
    }

    fn carry_out(&mut self, survey: &Survey, terms: Terms) -> Result<()> {
        self.begin_upgrades(survey)?;
        self.bring_in_all(survey)?;
        for chain in &survey.covered {
            let slots = chain.plan.wanted.slots.iter().zip(&chain.origins);
            for (slot, origin) in slots.filter(|(slot, _)| slot.opt_in) {
                if let Some(spot) = &chain.spot {
                    self.claim(chain.plan.hook, spot, &slot.extension)
                        .map_err(|error| origin.blame(error))?;
                }
            }
        }
        let upgrades = self.upgrades(survey)?;
        let Sets { made, later } = self.prepare_sets(&survey.plan.sets)?;
        if !terms.force {
            self.refuse_to_lock_out(survey, &upgrades, &later)?;
        }
        self.swap(survey, &upgrades, later)?;
        made.into_iter().for_each(Restated::keep);
        Ok(())
    }

    /// Loads what is declared and not loaded, with its settings, and does not hold it yet.
    fn bring_in_all(&mut self, survey: &Survey) -> Result<()> {
        let loaded = |control: &Self, name: &str| control.extension(name).is_some();
        let settings = &survey.plan.settings;
        let mut names: Vec<&String> = settings.iter().map(|s| &s.extension).collect();
        names.extend(&survey.plan.load);
        for chain in &survey.covered {
            let steps = chain.plan.steps.iter().zip(&chain.plan.wanted.slots);
            let new = steps.filter(|(step, _)| **step == Step::New);
            names.extend(new.map(|(_, slot)| &slot.extension));
        }
        for name in names {
            if loaded(self, name) {
                continue;
            }
            let values = survey.values_at_load(name);
            let named = survey.named.get(name);
            let wanted = named.map_or_else(
                || Wanted::Name(name.clone()),
                |Named { wanted, .. }| wanted.clone(),
            );
            self.bring_in_set(&wanted, None, Build::Current, &values)
                .map_err(|error| survey.blame(name, error))?;
        }
        Ok(())
    }
}
