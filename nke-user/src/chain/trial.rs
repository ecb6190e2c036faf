//! A chain as it is to be, aside: for running packets through it before it is put in force.
//!
//! Its nodes are copies that count nothing and share the maps of those that they stand for, but for maps
//! that are on trial themselves. Nothing ever calls it but who built it, and it goes when it is dropped;
//! killed before, the next command sweeps it.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    rc::Rc,
};

use super::{
    Change, Fresh, Ground, Role, Workshop,
    build::{Pending, build_all, make_root},
    material, node_directory,
    sockhash::Root,
};
use crate::{error::Result, loader::Maps};

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

/// Builds the wanted nodes and a root before them. What `instead` says of a node's role are maps that it has in the
/// place of those which its extension's attachments share.
pub(crate) fn build_trial<'a, 'm>(
    shop: &Workshop<'a, '_>,
    wanted: &[Change],
    instead: impl Fn(&Role) -> Option<&'m Maps>,
) -> Result<Trial<'a>> {
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
        let maps = match instead(&fresh.role) {
            Some(others) => {
                let inherited = fresh
                    .inherits
                    .map(|position| node_directory(&directory, ground.present()[position].program));
                let mut own = material::own_maps(shop, &fresh, inherited.as_deref())?;
                for (name, map) in others {
                    own.insert(name.clone(), state.copy(map)?);
                }
                Some(Rc::new(own))
            }
            None => fresh.maps.clone(),
        };
        Ok(Change::New(Fresh {
            counters: false,
            maps,
            ..fresh
        }))
    });
    let uncounted = uncounted.collect::<Result<Vec<_>>>()?;
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
