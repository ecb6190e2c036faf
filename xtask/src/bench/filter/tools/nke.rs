//! nke's packet filter at an interface's XDP hook.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nke::control::Scope;
use nke::filter::shapes::Drawn;
use nke::filter::{RuleSet, Table};
use nke::hook::Hook;
use nke::order::Selector;

use super::{Counts, Laid};
use crate::bench::stage::{Cable, STATE, Stage};

/// A filter that is attached, by its maps.
pub(in crate::bench::filter) struct Filter {
    pub(in crate::bench::filter) maps: PathBuf,
}

impl Filter {
    /// Attaches one to a cable, without rules.
    pub(in crate::bench::filter) fn attach(stage: &Stage<'_>, cable: &Cable) -> Result<Self> {
        let mut control = stage.control()?;
        let attach = stage.bundled("packet-filter", cable, Hook::INTERFACE_XDP)?;
        let attached = control.attach(&attach)?;
        let scope = Scope {
            interface: Some(cable.inside.clone()),
            ..Scope::default()
        };
        let (_, maps) = control.attachment_maps(&Selector::Id(attached.node.id), &scope)?;
        // The path is by a descriptor of the control's, and it goes with that.
        let own = maps.iter().skip_while(|part| *part != "chains");
        Ok(Self {
            maps: [STATE.as_ref()].into_iter().chain(own).collect(),
        })
    }

    pub(in crate::bench::filter) fn table(&self) -> Result<Table> {
        Ok(Table::open(&self.maps)?)
    }

    pub(super) fn hits(&self) -> Result<u64> {
        let listing = self.table()?.read()?;
        Ok(listing.rules.iter().map(|(_, hits)| hits.packets).sum())
    }
}

pub(super) fn lay(stage: &mut Stage<'_>, rules: &[Drawn]) -> Result<Laid> {
    let cable = stage.cable()?;
    let filter = Filter::attach(stage, &cable)?;
    filter.table()?.write(&rule_set(rules)?)?;
    // As the command does.
    stage.control()?.hasten();
    Ok(Laid {
        root: Some(stage.root(&cable, Hook::INTERFACE_XDP)?),
        cable,
        counts: Some(Counts::Nke(filter)),
        link: None,
    })
}

/// The rules as a file has them.
pub(in crate::bench::filter) fn text(rules: &[Drawn]) -> String {
    rules.iter().map(|rule| format!("{rule}\n")).collect()
}

pub(in crate::bench::filter) fn rule_set(rules: &[Drawn]) -> Result<RuleSet> {
    text(rules)
        .parse()
        .ok()
        .context("rules that cannot be read")
}
