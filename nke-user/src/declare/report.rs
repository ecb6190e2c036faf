//! A plan as programs read it: what `--json` prints at `nke diff` and `nke apply`, and stays as it is.

use serde::Serialize;

use super::plan::{ChainPlan, Plan, Step, Upgrading, Waiting};
use crate::{
    control::Policy,
    declare::{SetReport, SettingChange},
    hook::Hook,
};

/// A plan's changes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether anything is to be done.
    pub changes: bool,
    /// Extensions that get another version.
    pub upgrades: Vec<Upgrading>,
    /// Extensions that are to be held by name.
    pub load: Vec<String>,
    /// Extensions that are to be let go of.
    pub release: Vec<String>,
    /// The chains that change.
    pub chains: Vec<ChainReport>,
    /// The named sets that are made, changed or removed.
    pub sets: Vec<SetReport>,
    /// The settings that get other values.
    pub settings: Vec<SettingChange>,
    /// What has to wait.
    pub waiting: Vec<Waiting>,
}

/// A chain's changes.
#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// The hook.
    pub hook: Hook,
    /// What the chain is of, in words.
    pub place: String,
    /// The policy that it is to have.
    pub policy: Policy,
    /// Whether that is another one.
    pub policy_changes: bool,
    /// The attachments that it is to have, in their order, and behind them those that go.
    pub attachments: Vec<AttachmentReport>,
}

/// What becomes of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Becomes {
    /// Nothing, but for its place among the others.
    Stays,
    /// It stays, with another priority or other options, or as another version of its extension.
    Changes,
    /// It is new.
    Attached,
    /// It goes.
    Detached,
}

/// An attachment's changes.
#[derive(Clone, Debug, Serialize)]
pub struct AttachmentReport {
    /// What becomes of it.
    pub becomes: Becomes,
    /// The extension's name.
    pub extension: String,
    /// The program's symbol.
    pub program: String,
    /// Its priority.
    pub priority: i32,
    /// Whether it gets other rules.
    pub rules_change: bool,
}

impl From<&Plan> for Report {
    fn from(plan: &Plan) -> Self {
        let Plan {
            upgrades,
            load,
            release,
            chains,
            sets,
            settings,
            waiting,
        } = plan;
        let chains = chains.iter().filter(|chain| chain.changes());
        Self {
            changes: !plan.is_empty(),
            upgrades: upgrades.clone(),
            load: load.clone(),
            release: release.clone(),
            chains: chains.map(ChainReport::from).collect(),
            sets: sets.iter().map(SetReport::from).collect(),
            settings: settings.clone(),
            waiting: waiting.clone(),
        }
    }
}

impl From<&ChainPlan> for ChainReport {
    fn from(chain: &ChainPlan) -> Self {
        let ChainPlan {
            hook,
            place,
            mode: _,
            running,
            wanted,
            steps,
        } = chain;
        let report = |slot: &super::plan::Slot, becomes, rules_change| AttachmentReport {
            becomes,
            extension: slot.extension.clone(),
            program: slot.program.clone(),
            priority: slot.priority,
            rules_change,
        };
        let new_rules: Vec<_> = chain.new_rules().map(|(nth, ..)| nth).collect();
        let stay = steps.iter().zip(&wanted.slots).enumerate();
        let stay = stay.map(|(nth, (step, slot))| match step {
            Step::Keep(_) => report(slot, Becomes::Stays, new_rules.contains(&nth)),
            Step::Change(_) => report(slot, Becomes::Changes, new_rules.contains(&nth)),
            Step::New => report(slot, Becomes::Attached, slot.rules.is_some()),
        });
        let met = |at: usize| {
            let is = |step: &Step| matches!(step, Step::Keep(of) | Step::Change(of) if *of == at);
            steps.iter().any(is)
        };
        let gone = running.slots.iter().enumerate().filter(|(at, _)| !met(*at));
        let gone = gone.map(|(_, slot)| report(slot, Becomes::Detached, false));
        Self {
            hook: *hook,
            place: place.clone(),
            policy: wanted.policy,
            policy_changes: wanted.policy != running.policy,
            attachments: stay.chain(gone).collect(),
        }
    }
}

impl ChainReport {
    /// How many attachments become something.
    pub fn count(&self, becomes: Becomes) -> usize {
        let these = self.attachments.iter().filter(|a| a.becomes == becomes);
        these.count()
    }
}
