//! `upgrade`: another version of a loaded extension, everywhere it is attached.
//!
//! All that can fail comes first, aside: the new version's maps and all of its programs, for every
//! chain. Then each chain has one pointer written, and the old version becomes the previous one,
//! which `rollback` goes back to. The attachments keep their ids, priorities, counters, and who
//! opted in; the extension keeps who holds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
};

use semver::Version;
use serde::Serialize;

use super::Control;
use crate::{
    chain::{Chain, Node, Role},
    error::{Error, Result},
    extension::{Build, Extension, Load, Source, Takeover},
    find::{Found, Wanted, find},
    holder::Users,
    hook::Hook,
    loader::{self, Maps},
    object::{Object, satisfies},
    target::Target,
    upgrade::{Changed, Copy, Fate, Plan},
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
}

/// What one upgrade does to maps.
pub(super) struct Work<'a> {
    plan: &'a Plan,
    old: Rc<Source>,
    new: Rc<Source>,
    /// The new version's name.
    name: String,
    /// Where the new version keeps what the old one alone understands.
    saved: PathBuf,
    /// Maps of targets that are made already.
    of_targets: BTreeMap<(Target, String), OwnedFd>,
    /// Which entries go where, just before the new version is in force.
    copies: Vec<Copy>,
}

impl Control {
    /// Puts another version of an extension in its place, in all chains, or in none.
    ///
    /// # Errors
    ///
    /// Those of finding, parsing and loading an object; [`Error::NotLoaded`], [`Error::NotNewer`],
    /// [`Error::OtherIdentity`], [`Error::MapChanged`], [`Error::NoMapToReset`],
    /// [`Error::Unconfirmed`].
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
        let object = Object::parse_beside(&old.name, bytes, manifest)?;
        let plan = self.plan_upgrade(&old, &object, upgrade.force, &upgrade.reset_maps)?;
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
        })
    }

    /// What becomes of the maps, if another version may take an extension's place. Changes nothing.
    pub(super) fn plan_upgrade(
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

    /// Loads the new version beside the old one; nothing runs it yet.
    pub(super) fn begin_upgrade(
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

    /// Whether the extensions that need one can do with another version of it, which has the same
    /// maps as far as `keeps` says.
    pub(super) fn dependants_allow(
        &self,
        old: &Extension,
        new: &Object,
        keeps: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let (version, since) = (&new.manifest().version, new.manifest().compatible_since());
        for dependant in &self.extensions {
            let needs = dependant.record.needs.iter();
            for needed in needs.filter(|needed| needed.kmid == old.kmid) {
                let refused = |cause| Error::DependantRefuses {
                    name: old.name.clone(),
                    dependant: dependant.name.clone(),
                    cause,
                };
                if let Some(range) = &needed.range
                    && !satisfies(version, since, range)
                {
                    return Err(refused(format!("needs {range}, and {version} is not that")));
                }
                if let Some(map) = needed.maps.iter().find(|map| !keeps(map)) {
                    return Err(refused(format!("uses its map {map}, which is not kept")));
                }
            }
        }
        Ok(())
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
        }
    }

    /// Has all chains made of the new version; how many chains and attachments that are.
    fn put_in_place(
        &mut self,
        old: &Extension,
        new: &Extension,
        plan: &Plan,
    ) -> Result<(usize, usize)> {
        let mut work = Work::begin(self, old, new, plan)?;
        let attachments = self.uses(old.kmid).count();
        let places = self.places(old.kmid);
        let control = &*self;
        let mut remake = |chain: &Chain, node: &Node| work.remake(control, chain, node);
        let changes = control.switch(old.kmid, new, &mut remake)?;
        let chains = changes.len();
        work.copy()?;
        control.put_in_force(changes)?;
        self.reread_all(&places);
        Ok((chains, attachments))
    }
}

impl<'a> Work<'a> {
    /// Begins with the maps that attachments share, which the new version has already.
    pub(super) fn begin(
        control: &Control,
        old: &Extension,
        new: &Extension,
        plan: &'a Plan,
    ) -> Result<Self> {
        let mut work = Self {
            plan,
            old: control.source_of(old.kmid)?,
            new: control.source_of(new.kmid)?,
            name: new.name.clone(),
            saved: new.before(&control.state),
            of_targets: BTreeMap::new(),
            copies: Vec::new(),
        };
        work.shared()?;
        Ok(work)
    }

    /// What an attachment is made of from now on: its program's symbol, and its own maps.
    pub(super) fn remake(
        &mut self,
        control: &Control,
        chain: &Chain,
        node: &Node,
    ) -> Result<(String, Maps)> {
        let state = &control.state;
        let present = state.maps(&chain.node_directory(node).join("maps"))?;
        // What the old version alone understands, it finds again if it comes back.
        let lost = present.iter().filter(|(name, _)| !self.plan.keeps(name));
        let directory = self.saved.join(node.record.id.to_string());
        for (name, map) in lost {
            state.pin_map(map, &directory, name)?;
        }
        let symbol = symbol(&self.new.object, chain.hook, &node.record.role)?;
        Ok((symbol, self.own(chain.target, &present)?))
    }

    /// Copies what is to be copied: as late as can be, since what the old version writes from here
    /// on, the new one does not see.
    pub(super) fn copy(&self) -> Result<()> {
        let mut copies = self.copies.iter();
        copies.try_for_each(|copy| copy.run(&self.name))
    }

    /// Notes which entries of the shared maps are to be copied.
    fn shared(&mut self) -> Result<()> {
        for (name, fate) in &self.plan.fates {
            if let (Fate::Copy(entries), Some(from), Some(to)) =
                (fate, self.old.map(name), self.new.map(name))
            {
                self.copies.push(Copy::new(name, from, to, entries)?);
            }
        }
        Ok(())
    }

    /// The maps that an attachment of the new version has of its own, from those it has now.
    pub(super) fn own(&mut self, target: Target, present: &Maps) -> Result<Maps> {
        let manifest = self.new.object.manifest();
        let names: Vec<String> = manifest.own_maps().cloned().collect();
        let of_target = manifest.target_maps.clone();
        let mut own = Maps::new();
        for name in names {
            let key = (target, name.clone());
            let found = present.get(&name).filter(|_| self.plan.keeps(&name));
            let map = match (found, self.of_targets.get(&key)) {
                (Some(kept), _) => copy(kept)?,
                (None, Some(made)) => copy(made)?,
                (None, None) => {
                    let mut made = loader::make_maps(&self.new.object, |map| map == name)?;
                    let Some(made) = made.remove(&name) else {
                        continue;
                    };
                    if let (Some(Fate::Copy(entries)), Some(from)) =
                        (self.plan.fates.get(&name), present.get(&name))
                    {
                        self.copies.push(Copy::new(&name, from, &made, entries)?);
                    }
                    if of_target.contains(&name) {
                        self.of_targets.insert(key, copy(&made)?);
                    }
                    made
                }
            };
            own.insert(name, map);
        }
        Ok(own)
    }
}

/// Whether a version may come after the one that is loaded.
fn may_follow(old: &Extension, object: &Object, force: bool) -> Result<()> {
    let manifest = object.manifest();
    let identity = |identifier: &Option<_>| identifier.as_ref().map(ToString::to_string);
    let (was, is) = (
        identity(&old.record.identifier),
        identity(&manifest.identifier),
    );
    if was.is_some() && was != is {
        return Err(Error::OtherIdentity {
            name: old.name.clone(),
            was: was.unwrap_or_default(),
            is: is.unwrap_or_else(|| "none".to_owned()),
        });
    }
    if manifest.version <= old.record.version && !force {
        return Err(Error::NotNewer {
            name: old.name.clone(),
            loaded: old.record.version.clone(),
            found: manifest.version.clone(),
        });
    }
    Ok(())
}

/// What becomes of the maps.
fn plan(old: &Object, new: &Object, reset: &BTreeSet<String>) -> Result<Plan> {
    let has = |map: &&String| new.maps().any(|(name, _)| name == *map);
    if let Some(map) = reset.iter().find(|map| !has(map)) {
        return Err(Error::NoMapToReset {
            object: new.name().to_owned(),
            map: map.clone(),
        });
    }
    Plan::between(old, new, reset).map_err(|Changed { map, difference }| Error::MapChanged {
        object: new.name().to_owned(),
        map,
        difference,
    })
}

/// The program that an attachment is to have of another version: the one of the same name, or else
/// the only one for its hook.
pub(super) fn symbol(object: &Object, hook: Hook, role: &Role) -> Result<String> {
    let present = match role {
        Role::Extension { symbol, .. } => Some(symbol.as_str()),
        Role::DropPolicy | Role::Claim { .. } => None,
    };
    symbol_of(object, hook, present)
}

/// The same, of a program of this name.
pub(super) fn symbol_of(object: &Object, hook: Hook, present: Option<&str>) -> Result<String> {
    let kind = hook.row().kind;
    let same = object.choose(kind, Some(hook), present);
    let found = same.or_else(|_| object.choose(kind, Some(hook), None));
    found.map(|(_, program)| program.symbol.clone())
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

/// Another descriptor of a map.
pub(super) fn copy(map: &OwnedFd) -> Result<OwnedFd> {
    map.try_clone().map_err(|source| Error::Kernel {
        object: "map".to_owned(),
        stage: "copy a descriptor of",
        source,
        remedy: "raise the limit of open files",
    })
}
