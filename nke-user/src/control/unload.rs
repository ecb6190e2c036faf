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

use super::{Control, Holder, keep_all};
use crate::{
    chain::{Change, Ground},
    error::{Error, Result},
    extension::{Extension, Source},
    find::Wanted,
    holder, sys,
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
    /// It is gone, and so are these attachments of it.
    Gone(Vec<Holder>),
}

impl Control {
    /// Takes one request for an extension back, the caller's own if there is one. With the last it
    /// goes, unless it is in use.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::InUse`].
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
        holders.retain(|holder| !matches!(holder, Holder::User { .. }));
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
        if !holders.is_empty() {
            self.edit(kmid, |record| record.leaving = Some(holders.len()))?;
            self.take_away(kmid)?;
        }
        self.remove(kmid)?;
        if wait {
            wait_until_freed(&remains);
        }
        // What it needed may be needed by nobody else.
        self.unload_unused()?;
        Ok(Unloaded::Gone(holders))
    }

    /// Takes all attachments of an extension out of their chains.
    fn take_away(&mut self, kmid: u32) -> Result<()> {
        let chains: Vec<_> = self.uses(kmid).map(|(c, _)| (c.hook, c.target)).collect();
        for (hook, target) in chains {
            let Some(chain) = self.chain(hook, target) else {
                continue;
            };
            let stays = |change: &Change| match change {
                Change::Keep(at) => chain.nodes[*at].record.role.kmid() != Some(kmid),
                Change::New(_) => true,
            };
            let mut wanted = keep_all(chain);
            wanted.retain(stays);
            if wanted.len() < chain.nodes.len() {
                self.commit(Ground::Chain(chain), &wanted)?;
                self.reread(hook, target)?;
            }
        }
        self.disclaim_unused()
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
            if self.uses(kmid).count() < had {
                self.take_away(kmid)?;
                self.remove(kmid)?;
            } else {
                self.edit(kmid, |record| record.leaving = None)?;
            }
        }
        Ok(())
    }

    /// What the kernel has to free when an extension goes: its nodes' programs and its maps.
    fn remains(&self, kmid: u32) -> Result<Remains> {
        let programs = self.uses(kmid).map(|(_, node)| node.program).collect();
        let Some(extension) = self.known(kmid) else {
            return Ok(Remains::default());
        };
        let source = Source::open(&self.state, extension)?;
        let ids = source
            .maps()
            .filter_map(|(_, map)| sys::map::describe(map).ok());
        let maps = ids.map(|map| map.id).chain([kmid]).collect();
        Ok(Remains { programs, maps })
    }
}

/// Kernel objects, by their ids.
#[derive(Default)]
struct Remains {
    programs: Vec<u32>,
    maps: Vec<u32>,
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
