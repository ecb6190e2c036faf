//! Nodes and roots, loaded and pinned aside: nothing leads to them yet, and what is dropped before it
//! is in force goes again.
//!
//! Never writes a pointer that packets can reach.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    Change, Fresh, Node, Record, Workshop, material, node_directory, point, sockhash::Root,
};
use crate::{
    counters,
    error::{Error, Result},
    hook::Hook,
    loader, place,
    state::State,
    sys::{self, map::Shape, program},
};

/// A directory that is removed again unless what it is for is committed.
pub(super) struct Pending<'a> {
    state: &'a State,
    pub(super) directory: PathBuf,
    committed: bool,
}

impl<'a> Pending<'a> {
    pub(super) fn new(state: &'a State, directory: PathBuf) -> Result<Self> {
        state.make_directory(&directory)?;
        Ok(Self {
            state,
            directory,
            committed: false,
        })
    }

    pub(super) fn keep(&mut self) {
        self.committed = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now, the next command sweeps.
            let _: Result<()> = self.state.remove(&self.directory);
        }
    }
}

/// A node, loaded and pinned, that no pointer leads to yet.
pub(super) struct Built<'a> {
    pub(super) program: OwnedFd,
    pub(super) id: u32,
    pub(super) pending: Pending<'a>,
}

/// Builds the wanted nodes, the last one first, so that each can point to its successor.
pub(super) fn build_all<'a>(
    shop: &Workshop<'a, '_>,
    wanted: &[Change],
    back: Option<&Node>,
    shared: Option<&OwnedFd>,
    frags: bool,
) -> Result<Vec<Built<'a>>> {
    let back = program_of(shop, back)?;
    let mut built: Vec<Built<'_>> = Vec::new();
    for change in wanted.iter().rev() {
        let fresh = match change {
            Change::Keep(position) => {
                &Fresh::copy(*position, &shop.ground.present()[*position].record)
            }
            Change::New(fresh) => fresh,
        };
        let successor = built.last().map(|node| &node.program).or(back.as_ref());
        let node = build(shop, fresh, successor, shared, frags);
        built.push(node.map_err(|error| (shop.blame)(&fresh.role, error))?);
    }
    Ok(built)
}

/// Opens the program by which a present node is entered.
pub(super) fn program_of(shop: &Workshop<'_, '_>, node: Option<&Node>) -> Result<Option<OwnedFd>> {
    let chain = shop.state.chain(shop.ground.hook(), shop.ground.target());
    let path = |node: &Node| node_directory(&chain, node.entry()).join("program");
    node.map(|node| shop.state.get(&path(node))).transpose()
}

/// Builds a node aside.
fn build<'a>(
    shop: &Workshop<'a, '_>,
    fresh: &Fresh,
    successor: Option<&OwnedFd>,
    shared: Option<&OwnedFd>,
    frags: bool,
) -> Result<Built<'a>> {
    let Workshop { state, ground, .. } = *shop;
    let chain = state.chain(ground.hook(), ground.target());
    let inherited = fresh
        .inherits
        .map(|position| node_directory(&chain, ground.present()[position].program));
    let next = match shared {
        Some(next) => next
            .try_clone()
            .map_err(|source| state.failed(&chain, "open", source))?,
        None => pointer(successor)?,
    };
    let counters = match (&inherited, fresh.counters) {
        (_, false) => None,
        (Some(directory), true) if counted(shop, fresh) => {
            Some(state.get(&directory.join("counters"))?)
        }
        (_, true) => Some(made("counters", counters::make())?),
    };
    let rows = counters.as_ref().map(counters::rows).transpose();
    let marks = material::marks(shop, fresh)?;
    let links = place::Maps {
        next: next.as_raw_fd(),
        counters: rows
            .map_err(|source| state.failed(&chain, "open counters of", source))?
            .filter(|_| fresh.enabled),
        guard: marks
            .as_ref()
            .zip(ground.hook().socket())
            .map(|(marks, socket)| place::Guard {
                marks: marks.as_raw_fd(),
                socket,
                pass: ground.hook().row().pass,
            }),
    };

    let own = material::own_maps(shop, fresh, inherited.as_deref())?;
    let (linked, name, symbol) = material::link(shop, fresh, &own)?;
    let loaded = loader::load_placed(name, symbol, &linked, ground.hook(), frags, &links)?;
    let id = describe(&loaded.program)?;

    let pending = Pending::new(state, node_directory(&chain, id))?;
    let directory = &pending.directory;
    state.pin(&loaded.program, &directory.join("program"))?;
    state.pin(&next, &directory.join("next"))?;
    if let Some(counters) = &counters {
        state.pin(counters, &directory.join("counters"))?;
    }
    state.pin_maps(&own, &directory.join("maps"))?;
    let record = Record {
        id: fresh.id.unwrap_or(id),
        role: fresh.role.clone(),
        priority: fresh.priority,
        form: loaded.form.into(),
        counters: fresh.counters,
        takes_frags: linked.frags,
        frags,
        opt_in: fresh.opt_in,
        enabled: fresh.enabled,
        judged_by_rules: material::is_judged_by_rules(shop, fresh)?,
    };
    state.write_record(&directory.join("node"), &record)?;
    Ok(Built {
        program: loaded.program,
        id,
        pending,
    })
}

/// Whether the node whose place a new one takes has counters.
fn counted(shop: &Workshop<'_, '_>, fresh: &Fresh) -> bool {
    let present = shop.ground.present();
    fresh
        .inherits
        .is_some_and(|position| present[position].record.counters)
}

/// A pointer to a program, or to none.
fn pointer(to: Option<&OwnedFd>) -> Result<OwnedFd> {
    let next = made(
        "chain pointer",
        sys::map::create(Shape::program_array("nke_next")),
    )?;
    if to.is_some() {
        point(&next, to)?;
    }
    Ok(next)
}

pub(super) fn made(object: &str, map: io::Result<OwnedFd>) -> Result<OwnedFd> {
    map.map_err(|source| Error::Kernel {
        object: object.to_owned(),
        stage: "create",
        source,
        remedy: "check the memory that is free",
    })
}

pub(super) fn describe(program: &OwnedFd) -> Result<u32> {
    let described = program::describe(program);
    described
        .map(|described| described.id)
        .map_err(|source| Error::Kernel {
            object: "program".to_owned(),
            stage: "query",
            source,
            remedy: "try again",
        })
}

/// A root that enters a chain at `first`, and its directory; nothing calls it yet.
pub(super) fn make_root<'a>(
    state: &'a State,
    hook: Hook,
    chain: &Path,
    first: Option<&OwnedFd>,
    frags: bool,
) -> Result<(Root, Pending<'a>)> {
    let next = pointer(first)?;
    let root = Root::load(hook, frags, &next)?;
    let pending = Pending::new(state, node_directory(chain, root.id))?;
    state.pin(&next, &pending.directory.join("next"))?;
    Ok((root, pending))
}
