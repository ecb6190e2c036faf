//! The one way to change a chain: from the nodes that are to the nodes that are wanted.
//!
//! The longest run of nodes that stays at the front and at the back is left alone. What is
//! wanted between them is loaded aside, linked up from back to front, and put in force by one
//! write to the pointer in front of it. A packet that is already inside the old stretch finishes
//! it: a node's pointer is never changed once packets can reach it, but by that write.
//!
//! ```text
//! present   root → a → b → c → d          wanted   a c b d (b moved behind c)
//! aside              c′ → b′ ↗
//! the write root → a → c′                 left     b → c → d, until nobody is inside
//! ```

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Anchor, Chain, Node, Record, Role, material, node_directory, point, sockhash::Root};
use crate::{
    counters,
    error::{Error, Result},
    extension::Source,
    hook::{Hook, ProgramType},
    loader::{self, Maps},
    mode::Mode,
    netfilter::Netfilter,
    place,
    state::State,
    sys::{self, map::Shape, program},
    target::{Spot, Target},
};

/// A node that is wanted.
#[derive(Debug)]
pub(crate) enum Change {
    /// The node at this position of the present chain, from 0.
    Keep(usize),
    /// Another one.
    New(Fresh),
}

/// What a new node is made of.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    /// The attachment's id; `None` for a new attachment.
    pub(crate) id: Option<u32>,
    pub(crate) role: Role,
    pub(crate) priority: i32,
    pub(crate) counters: bool,
    /// Whether only sockets that opted in meet it.
    pub(crate) opt_in: bool,
    /// The node of the present chain whose own maps and counters it takes over.
    pub(crate) inherits: Option<usize>,
}

impl Fresh {
    /// The same node again.
    pub(crate) fn copy(position: usize, record: &Record) -> Self {
        Self {
            id: Some(record.id),
            role: record.role.clone(),
            priority: record.priority,
            counters: record.counters,
            opt_in: record.opt_in,
            inherits: Some(position),
        }
    }
}

/// What a change starts from.
#[derive(Clone, Copy)]
pub(crate) enum Ground<'a> {
    /// A chain that is attached.
    Chain(&'a Chain),
    /// A hook without one.
    Bare(&'a Site<'a>),
}

/// Where a chain can be attached.
pub(crate) struct Site<'a> {
    pub(crate) hook: Hook,
    pub(crate) spot: &'a Spot,
    pub(crate) mode: Option<Mode>,
    /// At the ip hooks, where in netfilter.
    pub(crate) netfilter: Netfilter,
}

impl<'a> Ground<'a> {
    pub(super) fn hook(self) -> Hook {
        match self {
            Self::Chain(chain) => chain.hook,
            Self::Bare(site) => site.hook,
        }
    }

    pub(crate) fn target(self) -> Target {
        match self {
            Self::Chain(chain) => chain.target,
            Self::Bare(site) => site.spot.target(),
        }
    }

    fn present(self) -> &'a [Node] {
        match self {
            Self::Chain(chain) => &chain.nodes,
            Self::Bare(_) => &[],
        }
    }
}

/// What building nodes needs.
pub(crate) struct Workshop<'a> {
    pub(crate) state: &'a State,
    pub(crate) ground: Ground<'a>,
    /// The extension that a node is made of; `None` for nke's own nodes.
    pub(crate) source: &'a dyn Fn(&Role) -> Result<Option<Rc<Source>>>,
    /// The own maps of another attachment of the same extension to the same target, if any.
    pub(crate) beside: &'a dyn Fn(&Role) -> Result<Maps>,
}

/// A directory that is removed again unless what it is for is committed.
pub(super) struct Pending<'a> {
    state: &'a State,
    pub(super) directory: PathBuf,
    committed: bool,
}

impl<'a> Pending<'a> {
    fn new(state: &'a State, directory: PathBuf) -> Result<Self> {
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
struct Built<'a> {
    program: OwnedFd,
    id: u32,
    pending: Pending<'a>,
}

/// Changes a chain, or makes or removes it. Returns the programs of the nodes that are wanted,
/// in their order.
pub(crate) fn commit(shop: &Workshop<'_>, wanted: &[Change]) -> Result<Vec<u32>> {
    let Workshop { state, ground, .. } = *shop;
    let present = ground.present();
    let frags = agree_on_frags(shop, wanted)?;
    let (renewed, mut new_chain) = match ground {
        Ground::Chain(chain) if wanted.is_empty() => return remove(state, chain),
        Ground::Chain(chain) => (chain.frags() != frags, None),
        Ground::Bare(_) if wanted.is_empty() => return Ok(Vec::new()),
        Ground::Bare(site) => (
            true,
            Some(Pending::new(
                state,
                state.chain(site.hook, site.spot.target()),
            )?),
        ),
    };
    let (head, tail) = if renewed {
        (0, 0)
    } else {
        stretch(wanted, present.len())
    };
    let (old, back) = present[head..].split_at(present.len() - tail - head);
    let wanted = &wanted[head..wanted.len() - tail];

    // One node in one node's place can use the same pointer: nothing has to be waited for.
    let shared = match old {
        [node] if wanted.len() == 1 && !renewed => Some(&node.next),
        _ => None,
    };
    let mut built = build_all(shop, wanted, back.first(), shared, frags)?;
    match ground {
        _ if renewed => renew(shop, built.last(), frags)?,
        Ground::Bare(_) => {}
        Ground::Chain(chain) => {
            let before = head
                .checked_sub(1)
                .map_or(&chain.first, |last| &present[last].next);
            match built.last() {
                Some(node) => point(before, Some(&node.program))?,
                None => point(before, program_of(shop, back.first())?.as_ref())?,
            }
        }
    }
    built
        .iter_mut()
        .map(|node| &mut node.pending)
        .chain(&mut new_chain)
        .for_each(Pending::keep);

    let kept = |nodes: &[Node]| nodes.iter().map(|node| node.program).collect::<Vec<_>>();
    let middle = built.iter().rev().map(|node| node.id).collect();
    let programs = [kept(&present[..head]), middle, kept(back)].concat();
    if let Ground::Chain(chain) = ground {
        clear(state, chain, old, renewed, shared.is_some());
    }
    Ok(programs)
}

/// Builds the wanted nodes, the last one first, so that each can point to its successor.
fn build_all<'a>(
    shop: &Workshop<'a>,
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
        built.push(build(shop, fresh, successor, shared, frags)?);
    }
    Ok(built)
}

/// Opens a present node's program.
fn program_of(shop: &Workshop<'_>, node: Option<&Node>) -> Result<Option<OwnedFd>> {
    let chain = shop.state.chain(shop.ground.hook(), shop.ground.target());
    let path = |node: &Node| node_directory(&chain, node.program).join("program");
    node.map(|node| shop.state.get(&path(node))).transpose()
}

/// How many wanted nodes at the front and at the back are those that are there.
fn stretch(wanted: &[Change], present: usize) -> (usize, usize) {
    let is = |change: &Change, position| matches!(change, Change::Keep(kept) if *kept == position);
    let head = wanted
        .iter()
        .enumerate()
        .take_while(|(i, change)| is(change, *i))
        .count();
    let most = wanted.len().min(present) - head;
    let back = wanted.iter().rev().zip((0..present).rev());
    let tail = back
        .take(most)
        .take_while(|(change, position)| is(change, *position))
        .count();
    (head, tail)
}

/// All programs of a chain take packets of several buffers, or none does: only where each can.
fn agree_on_frags(shop: &Workshop<'_>, wanted: &[Change]) -> Result<bool> {
    if shop.ground.hook().row().program_type != ProgramType::Xdp || !loader::frags_known() {
        return Ok(false);
    }
    for change in wanted {
        let takes = match change {
            Change::Keep(position) => shop.ground.present()[*position].record.takes_frags,
            Change::New(fresh) => match (&fresh.role, (shop.source)(&fresh.role)?) {
                (Role::Extension { symbol, .. }, Some(source)) => source.object.takes_frags(symbol),
                _ => true,
            },
        };
        if !takes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds a node aside.
fn build<'a>(
    shop: &Workshop<'a>,
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
        (Some(directory), true) => Some(state.get(&directory.join("counters"))?),
        (None, true) => Some(made("counters", counters::make())?),
    };
    let rows = counters.as_ref().map(counters::rows).transpose();
    let marks = material::marks(shop, fresh)?;
    let links = place::Maps {
        next: next.as_raw_fd(),
        counters: rows.map_err(|source| state.failed(&chain, "open counters of", source))?,
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
    };
    state.write_record(&directory.join("node"), &record)?;
    Ok(Built {
        program: loaded.program,
        id,
        pending,
    })
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

/// Makes a root that enters the chain at `first`, and hangs it on the hook.
fn renew(shop: &Workshop<'_>, first: Option<&Built<'_>>, frags: bool) -> Result<()> {
    let Workshop { state, ground, .. } = *shop;
    let directory = state.chain(ground.hook(), ground.target());
    let first = first.map(|node| &node.program);
    let (root, mut pending) = make_root(state, ground.hook(), &directory, first, frags)?;
    match ground {
        Ground::Chain(chain) => chain.anchor.update(&root.program)?,
        Ground::Bare(site) => Anchor::attach(state, site, &directory, &root)?,
    }
    pending.keep();
    Ok(())
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

/// Takes away what a change has cut off, once nobody is inside. The change is in force already:
/// what fails here, the next command sweeps.
fn clear(state: &State, chain: &Chain, old: &[Node], renewed: bool, shared: bool) {
    if old.is_empty() && !renewed {
        return;
    }
    if !shared {
        sys::grace_period();
    }
    let root = renewed.then(|| chain.anchor.root());
    for program in old.iter().map(|node| node.program).chain(root) {
        let _: Result<()> = state.remove(&node_directory(&chain.directory, program));
    }
}

/// Takes a whole chain off its hook.
fn remove(state: &State, chain: &Chain) -> Result<Vec<u32>> {
    if chain.anchor.mode == Mode::Netfilter {
        // Two links, which look attached even when they are not. So first there is no chain to
        // whoever comes, then no packet of either family meets it.
        state.remove_record(&chain.directory.join("mode"))?;
        point(&chain.first, None)?;
    }
    chain.anchor.detach()?;
    // Sockets that have joined it still call the root.
    point(&chain.first, None)?;
    sys::grace_period();
    state.remove(&chain.directory)?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stretch_that_changes_is_rebuilt() {
        let new = || {
            Change::New(Fresh {
                id: None,
                role: Role::DropPolicy,
                priority: 0,
                counters: false,
                opt_in: false,
                inherits: None,
            })
        };
        let keep = |positions: &[usize]| {
            positions
                .iter()
                .map(|p| Change::Keep(*p))
                .collect::<Vec<_>>()
        };
        let check = |wanted: &[Change], present, expected| {
            assert_eq!(stretch(wanted, present), expected, "{wanted:?}");
        };
        check(&keep(&[0, 1, 2]), 3, (3, 0));
        check(&keep(&[0, 2]), 3, (1, 1));
        check(&keep(&[0, 2, 1, 3]), 4, (1, 1));
        check(&keep(&[1, 2, 0]), 3, (0, 0));
        check(&[Change::Keep(0), new(), Change::Keep(1)], 2, (1, 1));
        check(&[Change::Keep(0), new(), Change::Keep(2)], 3, (1, 1));
        check(&[new()], 0, (0, 0));
    }
}
