//! `rollback`: back to the version that was there before an upgrade.
//!
//! The old version has its own maps again: those that both versions share never left, and those that
//! it alone understands have what was in them when it was replaced. What the newer version alone
//! wrote goes with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
};

use super::{
    Control, MapFate, MapStatus, Upgraded,
    upgrade::{copy, symbol},
};
use crate::{
    chain::{Chain, Node},
    error::{Error, Result},
    extension::{Build, Extension, Source},
    loader::{self, Maps},
    target::Target,
    upgrade::Plan,
};

/// What an older version gets back.
struct Return<'a> {
    /// Which maps both versions share; `None` where that cannot be said any more.
    plan: Option<Plan>,
    older: Rc<Source>,
    /// Where what attachments had is kept.
    saved: &'a Path,
    /// Maps of targets that are found or made already.
    of_targets: BTreeMap<(Target, String), OwnedFd>,
}

impl Control {
    /// Goes back to the version before. With `kmid`, only from this one.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::NoPrevious`], and those of loading programs.
    pub fn rollback(&mut self, name: &str, kmid: Option<u32>) -> Result<Upgraded> {
        let not_loaded = || Error::NotLoaded {
            name: name.to_owned(),
            stage: "roll back",
        };
        let newer = self.build_of(name, Build::Current).ok_or_else(not_loaded)?;
        let newer = newer.clone();
        let older = self.build_of(name, Build::Previous).cloned();
        let older = older.filter(|_| kmid.is_none_or(|kmid| kmid == newer.kmid));
        let older = older.ok_or_else(|| Error::NoPrevious {
            name: name.to_owned(),
        })?;
        let (from, to) = (self.source_of(newer.kmid)?, self.source_of(older.kmid)?);
        let same = |map: &str| from.map_id(map) == to.map_id(map);
        self.dependants_allow(&newer, &to.object, &same)?;
        let attachments = self.uses(newer.kmid).count();
        let (chains, maps) = self.go_back(&newer, &older)?;
        // It is in force. What fails of the rest, the next command does.
        let _: Result<()> = self
            .take_place(name, Build::Previous)
            .and_then(|()| self.unload_unused());
        Ok(Upgraded {
            name: newer.name,
            from: newer.record.version,
            to: older.record.version,
            kmid: older.kmid,
            changed: true,
            chains,
            attachments,
            maps,
            // It has its own constants again.
            settings: Vec::new(),
        })
    }

    /// Has all chains made of an older version again. Returns how many, and what has become of its
    /// maps.
    pub(super) fn go_back(
        &mut self,
        newer: &Extension,
        older: &Extension,
    ) -> Result<(usize, Vec<MapStatus>)> {
        let (from, to) = (self.source_of(newer.kmid)?, self.source_of(older.kmid)?);
        let saved = newer.before(&self.state);
        let mut back = Return {
            plan: Plan::between(&from.object, &to.object, &BTreeSet::new()).ok(),
            older: Rc::clone(&to),
            saved: &saved,
            of_targets: BTreeMap::new(),
        };
        let places = self.places(newer.kmid);
        let control = &*self;
        back.find_saved(control, newer.kmid)?;
        let mut remake = |chain: &Chain, node: &Node| {
            let symbol = symbol(&to.object, chain.hook, &node.record.role)?;
            Ok((symbol, back.own(control, chain, node)?))
        };
        let changes = control.switch(newer.kmid, older, &mut remake)?;
        let chains = changes.len();
        control.put_in_force(changes)?;
        self.unread.extend(places);
        // The change is in force, whether it can be read now or by the next command.
        let _: Result<()> = self.reread_all();
        Ok((chains, statuses(&from, &to)))
    }
}

impl Return<'_> {
    /// Finds the maps of targets that any attachment there had.
    fn find_saved(&mut self, control: &Control, newer: u32) -> Result<()> {
        for (chain, node) in control.uses(newer) {
            let saved = control.state.maps(&self.of(node.record.id))?;
            let of_target = &self.older.object.manifest().target_maps;
            for (name, map) in saved {
                if of_target.contains(&name) {
                    self.of_targets.insert((chain.target, name), map);
                }
            }
        }
        Ok(())
    }

    fn of(&self, attachment: u32) -> std::path::PathBuf {
        self.saved.join(attachment.to_string())
    }

    /// The maps that an attachment of the older version has of its own: those that it had, those
    /// that both versions share, or, if it is younger than the upgrade, new ones.
    fn own(&mut self, control: &Control, chain: &Chain, node: &Node) -> Result<Maps> {
        let mut present = control
            .state
            .maps(&chain.node_directory(node).join("maps"))?;
        let mut saved = control.state.maps(&self.of(node.record.id))?;
        let manifest = self.older.object.manifest();
        let mut own = Maps::new();
        for name in manifest.own_maps() {
            let key = (chain.target, name.clone());
            let shared = self.plan.as_ref().is_some_and(|plan| plan.keeps(name));
            let found = match (saved.remove(name), self.of_targets.get(&key)) {
                (Some(saved), _) => Some(saved),
                (None, Some(found)) => Some(copy(found)?),
                (None, None) => present.remove(name).filter(|_| shared),
            };
            let map = match found {
                Some(map) => map,
                None => {
                    let mut made = loader::make_maps(&self.older.object, |map| map == name)?;
                    let Some(made) = made.remove(name) else {
                        continue;
                    };
                    made
                }
            };
            if manifest.target_maps.contains(name) {
                self.of_targets.insert(key, copy(&map)?);
            }
            own.insert(name.clone(), map);
        }
        Ok(own)
    }
}

/// What becomes of the maps: the older version's, and those that only the newer one had.
fn statuses(newer: &Source, older: &Source) -> Vec<MapStatus> {
    let name_of = |(name, _): (&str, _)| name.to_owned();
    let kept: BTreeSet<String> = older.object.maps().map(name_of).collect();
    let gone = newer.object.maps().map(name_of);
    let gone = gone.filter(|name| !kept.contains(name));
    let gone = gone.map(|name| (name, MapFate::Gone)).collect::<Vec<_>>();
    let fates = kept.iter().map(|name| {
        let ids = [newer, older].map(|source| source.map_id(name));
        let same = ids[0].is_some() && ids[0] == ids[1];
        let fate = if same {
            MapFate::Kept
        } else {
            MapFate::Restored
        };
        (name.clone(), fate)
    });
    let status = |(name, fate)| MapStatus { name, fate };
    fates.chain(gone).map(status).collect()
}
