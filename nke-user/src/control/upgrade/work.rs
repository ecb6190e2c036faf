//! The maps and programs that an upgrade gives each attachment, and the swap itself.
//!
//! All is made aside first; then entries are copied, as late as can be; then each chain has one
//! pointer written. This must never change a map that the old version still uses.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::PathBuf, rc::Rc};

use super::super::Control;
use crate::{
    chain::{Chain, Node, Role},
    error::{Error, Result},
    extension::{Extension, Source},
    hook::Hook,
    loader::{self, Maps},
    object::Object,
    target::Target,
    upgrade::{Copy, Fate, Plan},
};

/// What one upgrade does to maps.
pub(in crate::control) struct Work<'a> {
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
    /// Has all chains made of the new version; how many chains and attachments that are.
    pub(super) fn put_in_place(
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
        self.unread.extend(places);
        // The change is in force, whether it can be read now or by the next command.
        let _: Result<()> = self.reread_all();
        Ok((chains, attachments))
    }
}

impl<'a> Work<'a> {
    /// Begins with the maps that attachments share, which the new version has already.
    pub(in crate::control) fn begin(
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
    pub(in crate::control) fn remake(
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
    pub(in crate::control) fn copy(&self) -> Result<()> {
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
    pub(in crate::control) fn own(&mut self, target: Target, present: &Maps) -> Result<Maps> {
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

/// The program that an attachment is to have of another version: the one of the same name, or else
/// the only one for its hook.
pub(in crate::control) fn symbol(object: &Object, hook: Hook, role: &Role) -> Result<String> {
    let present = match role {
        Role::Extension { symbol, .. } => Some(symbol.as_str()),
        Role::DropPolicy | Role::Claim { .. } => None,
    };
    symbol_of(object, hook, present)
}

/// The same, of a program of this name.
pub(in crate::control) fn symbol_of(
    object: &Object,
    hook: Hook,
    present: Option<&str>,
) -> Result<String> {
    let kind = hook.row().kind;
    let same = object.choose(kind, Some(hook), present);
    let found = same.or_else(|_| object.choose(kind, Some(hook), None));
    found.map(|(_, program)| program.symbol.clone())
}

/// Another descriptor of a map.
pub(in crate::control) fn copy(map: &OwnedFd) -> Result<OwnedFd> {
    map.try_clone().map_err(|source| Error::Kernel {
        object: "map".to_owned(),
        stage: "copy a descriptor of",
        source,
        remedy: "raise the limit of open files",
    })
}
