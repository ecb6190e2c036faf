//! `upgrade`: another version of a loaded extension, everywhere it is attached.
//!
//! All that can fail comes first, aside: the new version's maps and all of its programs, for every
//! chain. Then each chain has one pointer written, and the old version becomes the previous one,
//! which `rollback` goes back to. The attachments keep their ids, priorities, counters, and who
//! opted in; the extension keeps who holds it.

mod allowed;
mod carried;
mod work;

use std::{collections::BTreeSet, path::Path};

use semver::Version;
use serde::Serialize;

use self::allowed::{may_follow, plan};
pub use self::carried::Carried;
pub(super) use self::work::{Work, copy, symbol, symbol_of};
use super::Control;
use crate::{
    error::{Error, Result},
    extension::{Build, Extension, Load, Source, Takeover},
    find::{Found, Wanted, find},
    holder::Users,
    object::Object,
    upgrade::{Fate, Plan},
};

/// What is to be upgraded, and how.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// A loaded extension's name, for the best version on the search path, or the new version's
    /// file.
    pub extension: Wanted,
    /// Whether a version that is not newer will do.
    pub force: bool,
    /// The maps whose contents are given up.
    pub reset_maps: BTreeSet<String>,
    /// The settings whose values are given up.
    pub reset_settings: BTreeSet<String>,
}

/// What became of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MapStatus {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub fate: MapFate,
}

/// What becomes of a map as one version takes another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MapFate {
    /// It is the same map, with its contents.
    Kept,
    /// It is a new one, with the other's entries.
    Copied,
    /// It is a new one.
    New,
    /// It is the one that the version had before.
    Restored,
    /// The version does not have it.
    Gone,
}

/// An upgrade, or a rollback, that was carried out.
#[derive(Clone, Debug, Serialize)]
pub struct Upgraded {
    /// The extension's name.
    pub name: String,
    /// The version that was there.
    pub from: Version,
    /// The version that is there now.
    pub to: Version,
    /// Its kmid now.
    pub kmid: u32,
    /// Whether anything has changed: it may have been this very version already.
    pub changed: bool,
    /// Chains that were written to.
    pub chains: usize,
    /// Attachments that are made of it now.
    pub attachments: usize,
    /// What became of its maps.
    pub maps: Vec<MapStatus>,
    /// The settings that it was given when it was loaded, and has again.
    pub settings: Vec<Carried>,
}

impl Control {
    /// Puts another version of an extension in its place, in all chains, or in none.
    ///
    /// # Errors
    ///
    /// Those of finding, parsing and loading an object; [`Error::NotLoaded`], [`Error::NotNewer`],
    /// [`Error::OtherIdentity`], [`Error::MapChanged`], [`Error::NoMapToReset`],
    /// [`Error::SettingLost`], [`Error::NoSetting`], [`Error::Unconfirmed`].
    pub fn upgrade(&mut self, upgrade: &Upgrade) -> Result<Upgraded> {
        self.refuse_pending("upgrade")?;
        self.upgrade_now(upgrade)
    }

    /// The upgrade itself.
    pub(super) fn upgrade_now(&mut self, upgrade: &Upgrade) -> Result<Upgraded> {
        let found = find(&upgrade.extension)?;
        let old = self.upgradable(&upgrade.extension)?;
        if old.is(&self.state, &found)? {
            return Ok(self.unchanged(&old));
        }
        let Found {
            name: _,
            path,
            bytes,
            manifest,
        } = found;
        let mut object = Object::parse_beside(&old.name, bytes, manifest)?;
        let plan = self.plan_upgrade(&old, &object, upgrade.force, &upgrade.reset_maps)?;
        carried::refuse_unknown(&*self.source_of(old.kmid)?, &upgrade.reset_settings)?;
        let settings = self.carry_settings(&old, &mut object, &upgrade.reset_settings)?;
        let successor = self.begin_upgrade(&old, &object, &path, &plan)?;
        let done = self.put_in_place(&old, &successor, &plan);
        if done.is_err() {
            // What cannot be removed now, the next command sweeps.
            let _: Result<()> = self.forget(&successor).and_then(|()| self.unload_unused());
        }
        let (chains, attachments) = done?;
        // It is in force. What fails of the rest, the next command does.
        let _: Result<()> = self
            .take_place(&old.name, Build::Successor)
            .and_then(|()| self.unload_unused());
        Ok(Upgraded {
            name: old.name,
            from: old.record.version,
            to: successor.record.version,
            kmid: successor.kmid,
            changed: true,
            chains,
            attachments,
            maps: statuses(&plan),
            settings,
        })
    }

    /// What becomes of the maps, if another version may take an extension's place. Changes nothing.
    pub(in crate::control) fn plan_upgrade(
        &self,
        old: &Extension,
        object: &Object,
        force: bool,
        reset: &BTreeSet<String>,
    ) -> Result<Plan> {
        if self.build_of(&old.name, Build::Successor).is_some() {
            let name = old.name.clone();
            return Err(Error::HalfUpgraded { name });
        }
        object.refuse_unmet()?;
        may_follow(old, object, force)?;
        let before = self.source_of(old.kmid)?;
        let plan = plan(&before.object, object, reset)?;
        self.dependants_allow(old, object, &|map| plan.keeps(map))?;
        Ok(plan)
    }

    /// Gives another version what was set of an extension's constants. Changes nothing else.
    pub(in crate::control) fn carry_settings(
        &self,
        old: &Extension,
        object: &mut Object,
        given_up: &BTreeSet<String>,
    ) -> Result<Vec<Carried>> {
        carried::carry(&*self.source_of(old.kmid)?, object, given_up)
    }

    /// Loads the new version beside the old one; nothing runs it yet.
    pub(in crate::control) fn begin_upgrade(
        &mut self,
        old: &Extension,
        object: &Object,
        path: &Path,
        plan: &Plan,
    ) -> Result<Extension> {
        let before = self.source_of(old.kmid)?;
        let successor = self.make_successor(object, path, &before, plan);
        match &successor {
            Ok(successor) => self.extensions.push(successor.clone()),
            Err(_) => {
                // What was loaded for its sake goes again.
                let _: Result<()> = self.unload_unused();
            }
        }
        successor
    }

    /// Loads the new version beside the old one, with the maps that it keeps of it.
    fn make_successor(
        &mut self,
        object: &Object,
        path: &Path,
        before: &Source,
        plan: &Plan,
    ) -> Result<Extension> {
        let mut given = self.load_for_upgrade(object, path)?;
        for name in plan.fates.keys().filter(|name| plan.keeps(name)) {
            if let Some(map) = before.map(name) {
                given.shared.insert(name.clone(), self.state.copy(map)?);
            }
        }
        let load = Load {
            takeover: Some(Takeover::Begun),
            given,
            ..Load::new(object, path, Users::default(), Build::Successor)
        };
        Extension::load(&self.state, load)
    }

    /// The loaded extension that is meant.
    pub(super) fn upgradable(&self, wanted: &Wanted) -> Result<Extension> {
        let missing = || Error::NotLoaded {
            name: wanted.to_string(),
            stage: "upgrade",
        };
        let old = self.meant(wanted).ok_or_else(missing)?;
        if self.build_of(&old.name, Build::Successor).is_some() {
            // The command that opened the state could not undo it, and what it lacks may be had later.
            let name = old.name.clone();
            return Err(Error::HalfUpgraded { name });
        }
        Ok(old.clone())
    }

    fn unchanged(&self, old: &Extension) -> Upgraded {
        Upgraded {
            name: old.name.clone(),
            from: old.record.version.clone(),
            to: old.record.version.clone(),
            kmid: old.kmid,
            changed: false,
            chains: 0,
            attachments: self.uses(old.kmid).count(),
            maps: Vec::new(),
            settings: Vec::new(),
        }
    }
}

fn statuses(plan: &Plan) -> Vec<MapStatus> {
    let fates = plan.fates.iter().map(|(name, fate)| {
        let fate = match fate {
            Fate::Keep => MapFate::Kept,
            Fate::Copy(_) => MapFate::Copied,
            Fate::Make => MapFate::New,
        };
        (name, fate)
    });
    let gone = plan.gone.iter().map(|name| (name, MapFate::Gone));
    let status = |(name, fate): (&String, MapFate)| MapStatus {
        name: name.clone(),
        fate,
    };
    fates.chain(gone).map(status).collect()
}
