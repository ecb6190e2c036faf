//! Extensions that get another version by an apply: what their attachments are made of then.
//!
//! All of it is made aside, once for each attachment, so that a chain is tried with the same maps
//! that it is put in force with.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use crate::{
    chain::{Chain, Change, Fresh, Node, Role},
    control::{Control, declared::Survey, keep_all, upgrade::Work},
    declare::Origin,
    error::{Error, Result},
    extension::{Build, Extension},
    hook::Hook,
    loader::Maps,
    target::Target,
};

/// What the attachments are made of that an upgrade makes anew: symbol and own maps, by the chain and
/// the position in it.
type Remade = HashMap<(Hook, Target, usize), (String, Rc<Maps>)>;

/// One upgrade.
struct Upgrading<'s> {
    old: &'s Extension,
    new: Extension,
    plan: &'s crate::upgrade::Plan,
    /// Where it is declared.
    origin: &'s Origin,
    work: RefCell<Work<'s>>,
    remade: RefCell<Remade>,
}

/// All upgrades of one apply.
pub(super) struct Upgrades<'s>(Vec<Upgrading<'s>>);

impl Control {
    /// Loads the other versions beside those that are loaded; nothing runs them yet.
    pub(super) fn begin_upgrades(&mut self, survey: &Survey) -> Result<()> {
        for named in survey.named.values() {
            let Some(upgrade) = &named.upgrade else {
                continue;
            };
            let name = &upgrade.old.name;
            let mut object = named.body.object().clone();
            let values = survey.values_at_load(name);
            // What is declared is not carried over: it is said anew.
            let declared: BTreeSet<_> = values.iter().map(|(name, _)| name.clone()).collect();
            let begun = self
                .carry_settings(&upgrade.old, &mut object, &declared)
                .and_then(|_| crate::control::settings::preset(&mut object, &values))
                .and_then(|()| {
                    self.begin_upgrade(&upgrade.old, &object, &upgrade.path, &upgrade.plan)
                });
            begun.map_err(|error| named.origin.blame(error))?;
        }
        Ok(())
    }

    /// The upgrades that have been begun.
    pub(super) fn upgrades<'s>(&self, survey: &'s Survey) -> Result<Upgrades<'s>> {
        let mut all = Vec::new();
        for named in survey.named.values() {
            let Some(upgrade) = &named.upgrade else {
                continue;
            };
            let (old, plan) = (&upgrade.old, &upgrade.plan);
            let Some(new) = self.build_of(&old.name, Build::Successor).cloned() else {
                continue;
            };
            let work = Work::begin(self, old, &new, plan);
            let work = work.map_err(|error| named.origin.blame(error))?;
            all.push(Upgrading {
                old,
                new,
                plan,
                origin: &named.origin,
                work: RefCell::new(work),
                remade: RefCell::default(),
            });
        }
        Ok(Upgrades(all))
    }

    /// Gives upgraded extensions their places in the state, or forgets what was not put in force.
    pub(super) fn end_upgrades(&mut self, survey: &Survey, in_force: bool) -> Result<()> {
        for named in survey.named.values() {
            let Some(upgrade) = &named.upgrade else {
                continue;
            };
            let name = &upgrade.old.name;
            if in_force {
                for (hook, target) in self.places(upgrade.old.kmid) {
                    self.reread(hook, target)?;
                }
                self.take_place(name, Build::Successor)?;
            } else if let Some(begun) = self.build_of(name, Build::Successor).cloned() {
                self.forget(&begun)?;
            }
        }
        Ok(())
    }
}

impl<'s> Upgrades<'s> {
    fn of(&self, kmid: Option<u32>) -> Option<&Upgrading<'s>> {
        self.0.iter().find(|one| Some(one.old.kmid) == kmid)
    }

    /// The kmid of an extension that is upgraded, as it will be.
    pub(super) fn kmid(&self, extension: &str) -> Option<u32> {
        let mut all = self.0.iter();
        all.find(|one| one.old.name == extension)
            .map(|one| one.new.kmid)
    }

    /// Whether an attachment's map of this name stays the one that it is.
    pub(super) fn keeps(&self, role: &Role, map: &str) -> bool {
        self.of(role.kmid()).is_none_or(|one| one.plan.keeps(map))
    }

    /// A node that is there, as one of another version, if its extension is upgraded.
    pub(super) fn again(&self, control: &Control, chain: &Chain, at: usize) -> Result<Fresh> {
        let node = &chain.nodes[at];
        let copy = Fresh::copy(at, &node.record);
        let Some(one) = self.of(node.record.role.kmid()) else {
            return Ok(copy);
        };
        let (symbol, maps) = one.remade(control, chain, at, node)?;
        Ok(Fresh {
            role: one.role(symbol),
            maps: Some(maps),
            ..copy
        })
    }

    /// The own maps of a new attachment of an extension that is upgraded: it shares those of the
    /// target with the others there.
    pub(super) fn own_maps(
        &self,
        control: &Control,
        extension: &str,
        target: Target,
    ) -> Result<Option<Rc<Maps>>> {
        let mut all = self.0.iter();
        let Some(one) = all.find(|one| one.old.name == extension) else {
            return Ok(None);
        };
        let mut uses = control.uses(one.old.kmid);
        let mut present = match uses.find(|(chain, _)| chain.target == target) {
            Some((chain, node)) => control
                .state
                .maps(&chain.node_directory(node).join("maps"))?,
            None => Maps::new(),
        };
        let source = control.source_of(one.new.kmid)?;
        present.retain(|name, _| source.object.manifest().target_maps.contains(name));
        let own = one.work.borrow_mut().own(target, &present)?;
        Ok(Some(Rc::new(own)))
    }

    /// All of a chain, with its nodes of upgraded extensions made anew; `None` if it has none.
    pub(super) fn whole(&self, control: &Control, chain: &Chain) -> Result<Option<Vec<Change>>> {
        let mut wanted = keep_all(chain);
        let mut any = false;
        for (at, node) in chain.nodes.iter().enumerate() {
            if let Some(one) = self.of(node.record.role.kmid()) {
                let again = self.again(control, chain, at);
                wanted[at] = Change::New(again.map_err(|error| one.origin.blame(error))?);
                any = true;
            }
        }
        Ok(any.then_some(wanted))
    }

    /// An error of building a node of another version, with where that is declared.
    pub(super) fn blame(&self, role: &Role, error: Error) -> Error {
        let mut all = self.0.iter();
        match all.find(|one| Some(one.new.kmid) == role.kmid()) {
            Some(one) => one.origin.blame(error),
            None => error,
        }
    }

    /// Fills the maps that are laid out anew.
    pub(super) fn copy(&self) -> Result<()> {
        let mut all = self.0.iter();
        all.try_for_each(|one| one.work.borrow().copy())
    }
}

impl Upgrading<'_> {
    fn role(&self, symbol: String) -> Role {
        Role::Extension {
            name: self.new.name.clone(),
            kmid: self.new.kmid,
            symbol,
        }
    }

    fn remade(
        &self,
        control: &Control,
        chain: &Chain,
        at: usize,
        node: &Node,
    ) -> Result<(String, Rc<Maps>)> {
        let key = (chain.hook, chain.target, at);
        if let Some(known) = self.remade.borrow().get(&key) {
            return Ok(known.clone());
        }
        let (symbol, maps) = self.work.borrow_mut().remake(control, chain, node)?;
        let made = (symbol, Rc::new(maps));
        self.remade.borrow_mut().insert(key, made.clone());
        Ok(made)
    }
}
