//! `unload`: one request less, and the end of an extension that nobody holds.
//!
//! ```text
//! loaded ── unload ──▶ refused: the last request, and something uses it
//!        ── unload ──▶ released: others asked for it too
//!        ── unload ──▶ gone
//!        ── unload --wait or --force ──▶ leaving: its attachments are taken away ──▶ gone
//! ```
//!
//! Killed while it is leaving, the next command goes on if an attachment has gone already, and
//! takes the whole of it back if none has.

use std::{collections::BTreeSet, os::fd::OwnedFd};

use nke_ebpf::abi::Event;

use super::{Control, Holder, holders::note_veto, keep_all};
use crate::{
    chain::{Change, Ground, Node},
    error::{Error, Result},
    extension::{Extension, Source},
    find::Wanted,
    holder, routine, sys,
};

/// How often to wait for the kernel to free what an extension had, in grace periods: it takes two
/// or three.
const PATIENCE: u32 = 200;

/// How far an unload goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unload {
    /// Takes its attachments away, waits until every packet in flight has left them, and returns
    /// when the kernel has freed what it had.
    pub wait: bool,
    /// Takes its attachments away, whatever its exit program says.
    pub force: bool,
}

/// What has become of an extension.
#[derive(Clone, Debug)]
pub enum Unloaded {
    /// One request less, but these hold it.
    Released(Vec<Holder>),
    /// It is gone.
    Gone {
        /// Its attachments that were taken away.
        detached: Vec<Holder>,
        /// What its exit program answered, which was not minded.
        veto: Option<i32>,
    },
}

impl Control {
    /// Takes one request for an extension back, the caller's own if there is one. With the last it
    /// goes, unless it is in use.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::InUse`], [`Error::ExitVetoed`].
    pub fn unload(&mut self, name: &str, how: Unload) -> Result<Unloaded> {
        let Some(extension) = self.meant(&Wanted::Name(name.to_owned())) else {
            return Err(Error::NotLoaded {
                name: name.to_owned(),
                stage: "unload",
            });
        };
        let (kmid, loads) = (extension.kmid, extension.record.users.count());
        if loads > 1 {
            self.edit(kmid, |record| {
                let _: Option<String> = record.users.release(&holder::caller());
            })?;
            return Ok(Unloaded::Released(self.holders(kmid)));
        }
        let Unload { wait, force } = how;
        let is_attachment = |holder: &Holder| matches!(holder, Holder::Attachment { .. });
        let mut holders = self.holders(kmid);
        holders.retain(|it| !matches!(it, Holder::User { .. } | Holder::Exit { .. }));
        if !holders
            .iter()
            .all(|holder| (wait || force) && is_attachment(holder))
        {
            return Err(Error::InUse {
                name: name.to_owned(),
                holders: holders.iter().map(Holder::to_string).collect(),
            });
        }
        let remains = if wait {
            self.remains(kmid)?
        } else {
            Remains::default()
        };
        let veto = self.ask_or_force(kmid, force)?;
        if let Err(error) = self.end(kmid, holders.len()) {
            // It had agreed to go. What it says now, and whether it can, changes nothing.
            let _: Result<()> = self.resume(kmid, holders.len());
            return Err(error);
        }
        if wait {
            wait_until_freed(&remains);
        }
        // What it needed may be needed by nobody else.
        self.unload_unused()?;
        Ok(Unloaded::Gone {
            detached: holders,
            veto,
        })
    }

    /// Runs an extension's exit program while all of it still works, so that its veto changes
    /// nothing. The veto is the result if it is not minded.
    fn ask_or_force(&mut self, kmid: u32, force: bool) -> Result<Option<i32>> {
        if force {
            // An exit program that cannot even be run holds nobody up.
            return Ok(self.ask_to_go(kmid, Event::Force).unwrap_or_default());
        }
        let Some(answer) = self.ask_to_go(kmid, Event::Unload)? else {
            return Ok(None);
        };
        self.edit(kmid, |record| note_veto(record, answer))?;
        let extension = self.known(kmid);
        let exit = extension.and_then(|e| e.record.exit.as_ref());
        Err(Error::ExitVetoed {
            name: extension.map(|e| e.name.clone()).unwrap_or_default(),
            program: exit.map(|exit| exit.program.clone()).unwrap_or_default(),
            answer: routine::in_words(answer),
        })
    }

    /// Takes an extension's attachments away, of which it has so many, and then itself.
    fn end(&mut self, kmid: u32, attached: usize) -> Result<()> {
        if attached > 0 {
            self.edit(kmid, |record| record.leaving = Some(attached))?;
            self.take_away(kmid)?;
        }
        let removed = self.remove(kmid);
        if removed.is_err() && (attached > 0 || !self.is_recorded(kmid)) {
            // It is in no chain, and not to be had any more: the next command removes the rest.
            self.extensions.retain(|extension| extension.kmid != kmid);
            return Ok(());
        }
        removed
    }

    /// Whether the state still says that it is loaded.
    fn is_recorded(&self, kmid: u32) -> bool {
        self.known(kmid).is_some_and(|extension| {
            let name = extension.build.pin_name(&extension.name);
            matches!(Extension::read(&self.state, &name), Ok(Some(_)))
        })
    }

    /// Has an extension work on that could not be unloaded. If it is not whole any more, the next
    /// command ends what was begun.
    fn resume(&mut self, kmid: u32, attached: usize) -> Result<()> {
        if self.uses(kmid).count() != attached || !self.is_recorded(kmid) {
            return Ok(());
        }
        self.edit(kmid, |record| record.leaving = None)?;
        let Some(extension) = self.known(kmid) else {
            return Ok(());
        };
        if let (Some(init), Some(_)) = (&extension.record.init, &extension.record.exit) {
            let source = Source::open(&self.state, extension)?;
            // What it answers changes nothing: it is loaded.
            let _: i32 = routine::run(&source, &init.program, Event::Resume)?;
        }
        Ok(())
    }

    /// Takes all attachments of an extension out of their chains, or none.
    fn take_away(&mut self, kmid: u32) -> Result<()> {
        let uses = self.uses(kmid).map(|(chain, _)| (chain.hook, chain.target));
        let places: BTreeSet<_> = uses.collect();
        let mut changes = Vec::new();
        for chain in places
            .iter()
            .filter_map(|(hook, target)| self.chain(*hook, *target))
        {
            let stays = |change: &Change| match change {
                Change::Keep(at) => chain.nodes[*at].record.role.kmid() != Some(kmid),
                Change::New(_) => true,
            };
            let mut wanted = keep_all(chain);
            wanted.retain(stays);
            changes.push(self.prepare(Ground::Chain(chain), &wanted)?);
        }
        self.put_in_force(changes)?;
        // They are gone. What fails of the rest, the next command does.
        self.unread.extend(places);
        let _: Result<()> = self.disclaim_unused();
        Ok(())
    }

    /// Ends the unloads that were killed, or takes them back if nothing had changed yet.
    pub(super) fn go_on_unloading(&mut self) -> Result<()> {
        let leaving = |e: &Extension| Some((e.kmid, e.record.leaving?));
        for (kmid, had) in self
            .extensions
            .iter()
            .filter_map(leaving)
            .collect::<Vec<_>>()
        {
            self.reread_all()?;
            if self.uses(kmid).count() < had {
                self.take_away(kmid)?;
                self.remove(kmid)?;
            } else {
                // Where this fails, the next command tries.
                let _: Result<()> = self.resume(kmid, had);
            }
        }
        Ok(())
    }

    /// What the kernel has to free when an extension goes: the programs of its nodes, the roots of
    /// chains of which nothing is left, and their maps. Those of others are not waited for.
    fn remains(&self, kmid: u32) -> Result<Remains> {
        let Some(extension) = self.known(kmid) else {
            return Ok(Remains::default());
        };
        let source = Source::open(&self.state, extension)?;
        let needs = extension.record.needs.iter();
        let others: BTreeSet<&str> = needs.flat_map(|it| &it.maps).map(String::as_str).collect();
        let id = |map: &OwnedFd| sys::map::describe(map).ok().map(|map| map.id);
        let (theirs, own): (Vec<_>, Vec<_>) =
            source.maps().partition(|(name, _)| others.contains(*name));
        let theirs: BTreeSet<_> = theirs.into_iter().filter_map(|(_, map)| id(map)).collect();
        let nodes = self.uses(kmid).map(|(_, node)| node);
        let mut programs: BTreeSet<u32> = nodes.flat_map(Node::programs).collect();
        let is_own = |node: &Node| node.record.role.kmid() == Some(kmid);
        let ending = self.uses(kmid).map(|(chain, _)| chain);
        let ending = ending.filter(|chain| chain.nodes.iter().all(is_own));
        programs.extend(ending.map(|chain| chain.anchor.root()));
        let mut maps: BTreeSet<u32> = own.into_iter().filter_map(|(_, map)| id(map)).collect();
        maps.insert(kmid);
        for program in &programs {
            let used = sys::program::open(*program).and_then(sys::program::map_ids);
            maps.extend(used.unwrap_or_default());
        }
        maps.retain(|id| !theirs.contains(id));
        Ok(Remains { programs, maps })
    }
}

/// Kernel objects, by their ids.
#[derive(Default)]
struct Remains {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

/// Waits until they are freed, which is when no packet in flight can meet them. What somebody
/// else has open stays.
fn wait_until_freed(remains: &Remains) {
    let Remains { programs, maps } = remains;
    for _ in 0..PATIENCE {
        let programs = programs.iter().any(|id| sys::program::exists(*id));
        if !programs && !maps.iter().any(|id| sys::map::exists(*id)) {
            return;
        }
        sys::grace_period();
    }
}
