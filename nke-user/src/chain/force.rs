//! Putting prepared changes in force: the writes that packets notice, one for each chain.
//!
//! ```text
//! prepare(a)  prepare(b)  prepare(c)     all that can fail; nothing that packets meet has changed
//! write a     write b     write c        one pointer each; if one fails, those before it are put back
//! one grace period                       until nobody is inside what was cut off, anywhere
//! clean-up                               what fails here, the next command sweeps
//! ```
//!
//! A command that is killed between two writes leaves some chains as they were and some as wanted,
//! each whole. This module must never take away what a packet may still be inside.

use std::{
    mem,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::{
    Anchor, Chain, Site,
    build::{Pending, made, make_root},
    point,
};
use crate::{
    error::{Error, Result},
    hook::Hook,
    mode::Mode,
    state::State,
    sys::{self, program},
    target::Target,
};

/// The one write that puts a change in force, and what is there before it.
pub(super) enum Write<'a> {
    /// There is nothing to change.
    Nothing,
    /// A pointer in front of nodes.
    Pointer {
        at: OwnedFd,
        new: Option<OwnedFd>,
        old: Option<OwnedFd>,
    },
    /// What the hook calls.
    Root {
        anchor: &'a Anchor,
        new: OwnedFd,
        old: OwnedFd,
    },
}

impl Write<'_> {
    fn apply(&self) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Pointer { at, new, old: _ } => point(at, new.as_ref()),
            Self::Root {
                anchor,
                new,
                old: _,
            } => anchor.update(new),
        }
    }

    fn revert(&self) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Pointer { at, new: _, old } => point(at, old.as_ref()),
            Self::Root {
                anchor,
                new: _,
                old,
            } => anchor.update(old),
        }
    }

    /// Whether more than a pointer is written: a driver may refuse another root.
    const fn can_be_refused(&self) -> bool {
        matches!(self, Self::Root { .. })
    }
}

/// What a change leaves behind.
pub(super) enum Left<'a> {
    Nothing,
    Nodes {
        directories: Vec<PathBuf>,
        /// Whether the new node has the old one's pointer, so that nobody has to leave it first.
        shared: bool,
    },
    /// All of it, with what calls it.
    Chain(&'a Chain),
}

/// A change of one chain, ready to be put in force; dropped, it never was.
pub(crate) struct Prepared<'a> {
    pub(super) state: &'a State,
    /// The chain, if there was one.
    pub(super) chain: Option<&'a Chain>,
    pub(super) write: Write<'a>,
    /// The programs of the nodes that are wanted, in their order.
    pub(super) programs: Vec<u32>,
    /// A new chain; it goes before its directories do.
    pub(super) attached: Option<Empty<'a>>,
    /// What was made for it, the chain's own directory last.
    pub(super) pending: Vec<Pending<'a>>,
    pub(super) left: Left<'a>,
}

impl<'a> Prepared<'a> {
    /// No change at all.
    pub(super) const fn nothing(state: &'a State) -> Self {
        Self {
            state,
            chain: None,
            write: Write::Nothing,
            programs: Vec::new(),
            attached: None,
            pending: Vec::new(),
            left: Left::Nothing,
        }
    }

    /// Where the chain is that it changes, if there was one.
    pub(crate) fn place(&self) -> Option<(Hook, Target)> {
        self.chain.map(|chain| (chain.hook, chain.target))
    }

    /// The programs of the nodes that are wanted, in their order.
    pub(crate) fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// What a change that is in force has cut off, and may be taken away once nobody is inside.
    fn keep(&mut self) -> (Left<'a>, Vec<u32>) {
        if let Some(empty) = &mut self.attached {
            empty.in_force = true;
        }
        self.pending.iter_mut().for_each(Pending::keep);
        let left = mem::replace(&mut self.left, Left::Nothing);
        (left, mem::take(&mut self.programs))
    }
}

/// Puts changes of different chains in force, each by one write, and does what comes with them; or
/// none of it. Returns for each the programs of its nodes, in their order.
///
/// # Errors
///
/// That of the write that failed, or of `then`, after the writes before it were put back. What `then`
/// itself has done it must have undone.
pub(crate) fn put_in_force(
    mut changes: Vec<Prepared<'_>>,
    then: impl FnOnce() -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    // What may be refused comes first: behind it, nothing has to be put back.
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|change| !changes[*change].write.can_be_refused());
    let refused = order
        .iter()
        .enumerate()
        .find_map(|(done, change)| Some((done, changes[*change].write.apply().err()?)));
    let failed = refused.or_else(|| Some((order.len(), then().err()?)));
    if let Some((done, error)) = failed {
        // A driver that has just let go of the old root takes it back; a pointer always can be set.
        for written in order[..done].iter().rev() {
            let _: Result<()> = changes[*written].write.revert();
        }
        if done > 0 {
            // Packets may be inside the new nodes, whose pins go next.
            sys::grace_period();
        }
        return Err(error);
    }
    let state = changes.first().map(|change| change.state);
    let (left, programs): (Vec<_>, Vec<_>) = changes.iter_mut().map(Prepared::keep).unzip();
    if let Some(state) = state {
        clean_up(state, &left);
    }
    Ok(programs)
}

/// Takes away what changes have cut off, once nobody is inside. The changes are in force already:
/// what fails here, the next command sweeps.
fn clean_up(state: &State, left: &[Left<'_>]) {
    for gone in left {
        if let Left::Chain(chain) = gone {
            let _: Result<()> = detach(state, chain);
        }
    }
    let waits = |gone: &Left<'_>| match gone {
        Left::Nothing => false,
        Left::Nodes { shared, .. } => !shared,
        Left::Chain(_) => true,
    };
    if left.iter().any(waits) {
        sys::grace_period();
    }
    for gone in left {
        let directories = match gone {
            Left::Nothing => &[][..],
            Left::Nodes { directories, .. } => directories,
            Left::Chain(chain) => std::slice::from_ref(&chain.directory),
        };
        for directory in directories {
            let _: Result<()> = state.remove(directory);
        }
    }
}

/// Takes the root of a chain without nodes off its hook.
fn detach(state: &State, chain: &Chain) -> Result<()> {
    if chain.anchor.mode == Mode::Netfilter {
        // Two links, which look attached even when they are not: from here on there is no chain.
        state.remove_record(&chain.directory.join("mode"))?;
    }
    chain.anchor.detach()
}

/// Takes a chain without nodes away, altogether.
pub(super) fn take_off(state: &State, chain: &Chain) -> Result<()> {
    detach(state, chain)?;
    sys::grace_period();
    state.remove(&chain.directory)
}

/// A chain that is attached without a node; it goes again unless a node is put in force.
pub(super) struct Empty<'a> {
    state: &'a State,
    pub(super) chain: Chain,
    in_force: bool,
}

impl<'a> Empty<'a> {
    /// Attaches one where there is no chain.
    pub(super) fn attach(
        state: &'a State,
        site: &Site<'_>,
        directory: &Path,
        frags: bool,
    ) -> Result<Self> {
        let (root, mut pending) = make_root(state, site.hook, directory, None, frags)?;
        Anchor::attach(state, site, directory, &root)?;
        pending.keep();
        let gone = || Error::Kernel {
            object: "chain root".to_owned(),
            stage: "read back",
            source: std::io::ErrorKind::NotFound.into(),
            remedy: "try again: its target may have gone",
        };
        Ok(Self {
            state,
            chain: Chain::read(state, site.hook, site.spot.target())?.ok_or_else(gone)?,
            in_force: false,
        })
    }
}

impl Drop for Empty<'_> {
    fn drop(&mut self) {
        if !self.in_force {
            // What cannot be removed now, the next command sweeps.
            let _: Result<()> = take_off(self.state, &self.chain);
        }
    }
}

/// The program that a hook calls.
pub(super) fn open_root(anchor: &Anchor) -> Result<OwnedFd> {
    made("chain root", program::open(anchor.root()))
}
