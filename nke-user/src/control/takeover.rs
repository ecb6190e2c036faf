//! One build of an extension in another's place: what an upgrade and a rollback share, and what the
//! next command does if one of them was killed.
//!
//! ```text
//! upgrade    NAME~ made   chains prepared   chains in force   NAME -> NAME^    NAME~ -> NAME
//! rollback                chains prepared   chains in force   NAME removed     NAME^ -> NAME
//! ```
//!
//! The older build wins: where only some of the chains were in force, the next command puts it
//! into all of them, since it has everything that the older one needs. Once all are in force, it
//! goes on to the end.

use std::rc::Rc;

use super::{Control, keep_all};
use crate::{
    chain::{Chain, Change, Fresh, Ground, Node, Prepared, Role},
    error::Result,
    extension::{Build, Extension, Takeover},
    hook::Hook,
    loader::Maps,
    target::Target,
};

/// Has an attachment made of another build: its program's symbol there, and its own maps.
pub(super) type Remake<'a> = dyn FnMut(&Chain, &Node) -> Result<(String, Maps)> + 'a;

impl Control {
    /// One of the builds of an extension.
    pub(super) fn build_of(&self, name: &str, build: Build) -> Option<&Extension> {
        let all = self.extensions.iter().chain(&self.previous);
        all.into_iter().find(|e| e.name == name && e.build == build)
    }

    /// Prepares every chain that one build is in to have another in its place.
    pub(super) fn switch(
        &self,
        from: u32,
        to: &Extension,
        remake: &mut Remake<'_>,
    ) -> Result<Vec<Prepared<'_>>> {
        let mut changes = Vec::new();
        for chain in &self.chains {
            let mut wanted = keep_all(chain);
            for (position, node) in chain.nodes.iter().enumerate() {
                if node.record.role.kmid() != Some(from) {
                    continue;
                }
                let (symbol, maps) = remake(chain, node)?;
                wanted[position] = Change::New(Fresh {
                    role: Role::Extension {
                        name: to.name.clone(),
                        kmid: to.kmid,
                        symbol,
                    },
                    maps: Some(Rc::new(maps)),
                    ..Fresh::copy(position, &node.record)
                });
            }
            if wanted.iter().any(|change| matches!(change, Change::New(_))) {
                changes.push(self.prepare(Ground::Chain(chain), &wanted)?);
            }
        }
        Ok(changes)
    }

    /// Where the chains are that a build is in.
    pub(super) fn places(&self, kmid: u32) -> Vec<(Hook, Target)> {
        let mut places: Vec<_> = self.uses(kmid).map(|(c, _)| (c.hook, c.target)).collect();
        places.dedup();
        places
    }

    /// Completes or undoes what killed upgrades and rollbacks left.
    pub(super) fn recover(&mut self) -> Result<()> {
        for done in self.extensions.iter_mut() {
            // Killed after the very last step but one.
            if done.build == Build::Current && done.record.takeover.is_some() {
                done.edit(&self.state, |record| record.takeover = None)?;
            }
        }
        let builds = self.extensions.iter().chain(&self.previous);
        let begun = builds.filter(|e| e.build != Build::Current);
        for build in begun.cloned().collect::<Vec<_>>() {
            self.reread_all()?;
            let current = self.build_of(&build.name, Build::Current).cloned();
            let used = |build: &Extension| self.uses(build.kmid).next().is_some();
            match (build.build, build.record.takeover) {
                (_, Some(Takeover::InForce)) => self.take_place(&build.name, build.build)?,
                (Build::Successor, Some(Takeover::Begun)) => match (used(&build), &current) {
                    (true, Some(old)) if used(old) => {
                        // Where this fails both stay as they are, each whole, until it does not.
                        let undone = self.go_back(&build, old);
                        if undone.is_ok() {
                            self.forget(&build)?;
                        }
                    }
                    (true, _) => self.take_place(&build.name, build.build)?,
                    (false, _) => self.forget(&build)?,
                },
                (Build::Previous, _) => match &current {
                    Some(newer) if used(&build) => {
                        if self.go_back(newer, &build).is_ok() {
                            self.take_place(&build.name, build.build)?;
                        }
                    }
                    Some(_) => {}
                    None => self.forget(&build)?,
                },
                (Build::Current | Build::Successor, _) => {}
            }
        }
        Ok(())
    }

    /// Removes a build that nothing uses.
    pub(super) fn forget(&mut self, build: &Extension) -> Result<()> {
        build.remove(&self.state)?;
        for builds in [&mut self.extensions, &mut self.previous] {
            builds.retain(|e| e.kmid != build.kmid);
        }
        Ok(())
    }

    /// Gives a build, all of whose attachments are in force, the place of the one that is loaded:
    /// a successor's becomes the previous one, and what was rolled back goes.
    pub(super) fn take_place(&mut self, name: &str, build: Build) -> Result<()> {
        let Some(mut winner) = self.build_of(name, build).cloned() else {
            return Ok(());
        };
        let loser = self.build_of(name, Build::Current).cloned();
        if let Some(loser) = &loser {
            winner.edit(&self.state, |record| {
                record.takeover = Some(Takeover::InForce);
                record.users = loser.record.users.clone();
            })?;
        }
        if let Some(loser) = &loser {
            self.rebind(loser.kmid, winner.kmid)?;
        }
        for builds in [&mut self.extensions, &mut self.previous] {
            builds.retain(|e| e.name != name);
        }
        match loser {
            Some(mut loser) if build == Build::Successor => {
                Extension::remove_previous(&self.state, name)?;
                loser.move_to(&self.state, Build::Previous)?;
                self.previous.push(loser);
            }
            Some(loser) => loser.remove(&self.state)?,
            None if build == Build::Successor => {
                let found = Extension::read(&self.state, &Build::Previous.pin_name(name))?;
                self.previous.extend(found);
            }
            None => {}
        }
        winner.move_to(&self.state, Build::Current)?;
        winner.edit(&self.state, |record| record.takeover = None)?;
        self.extensions.push(winner);
        self.extensions.sort_unstable_by_key(|e| e.kmid);
        Ok(())
    }

    /// Has the extensions that need one build need another.
    fn rebind(&mut self, from: u32, to: u32) -> Result<()> {
        for dependant in self.extensions.iter_mut().chain(&mut self.previous) {
            if dependant.record.needs.iter().any(|it| it.kmid == from) {
                dependant.edit(&self.state, |record| {
                    for needed in record.needs.iter_mut().filter(|it| it.kmid == from) {
                        needed.kmid = to;
                    }
                })?;
            }
        }
        Ok(())
    }
}
