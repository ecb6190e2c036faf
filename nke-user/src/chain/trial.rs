//! A chain as it is to be, aside: for running packets through it before it is put in force.
//!
//! Its nodes are copies that count nothing and share the maps of those that they stand for. Nothing
//! ever calls it but who built it, and it goes when it is dropped; killed before, the next command
//! sweeps it.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use super::{
    Change, Fresh, Ground, Workshop,
    build::{Pending, build_all, make_root},
    sockhash::Root,
};
use crate::error::Result;

/// A chain on trial.
pub(crate) struct Trial<'a> {
    root: Root,
    /// The directories of its nodes, in their order.
    nodes: Vec<PathBuf>,
    /// What was made for it, the chain's own directory last.
    _pending: Vec<Pending<'a>>,
}

impl Trial<'_> {
    /// The directory of a node's own maps.
    pub(crate) fn maps(&self, nth: usize) -> Option<PathBuf> {
        self.nodes.get(nth).map(|node| node.join("maps"))
    }
}

impl AsFd for Trial<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.program.as_fd()
    }
}

/// Builds the wanted nodes and a root before them.
pub(crate) fn build_trial<'a>(shop: &Workshop<'a, '_>, wanted: &[Change]) -> Result<Trial<'a>> {
    let Workshop { state, ground, .. } = *shop;
    let (hook, directory) = (ground.hook(), state.chain(ground.hook(), ground.target()));
    let whole = match ground {
        Ground::Bare(_) => Some(Pending::new(state, directory.clone())?),
        Ground::Chain(_) => None,
    };
    let uncounted = wanted.iter().map(|change| {
        let fresh = match change {
            Change::Keep(position) => Fresh::copy(*position, &ground.present()[*position].record),
            Change::New(fresh) => fresh.clone(),
        };
        Change::New(Fresh {
            counters: false,
            ..fresh
        })
    });
    let uncounted: Vec<_> = uncounted.collect();
    let built = build_all(shop, &uncounted, None, None, false)?;
    let first = built.last().map(|node| &node.program);
    let (root, pending) = make_root(state, hook, &directory, first, false)?;
    let nodes = built
        .iter()
        .rev()
        .map(|node| node.pending.directory.clone());
    let nodes = nodes.collect();
    let made = built.into_iter().map(|node| node.pending);
    Ok(Trial {
        root,
        nodes,
        _pending: made.chain([pending]).chain(whole).collect(),
    })
}
