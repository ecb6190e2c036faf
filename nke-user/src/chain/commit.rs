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
//!
//! [`prepare`] does all that can fail and changes nothing that packets meet; [`put_in_force`] does
//! the writes of any number of prepared chains.

use std::rc::Rc;

pub(crate) use super::force::{Prepared, put_in_force};
use super::{
    Chain, MOST_NODES_WITH_FAST, Node, Record, Role,
    build::{Built, Pending, build_all, make_root, program_of},
    force::{Empty, Left, Write, open_root},
    node_directory,
};
use crate::{
    error::{Error, Result},
    extension::Source,
    hook::{Hook, ProgramType},
    loader::{self, Maps},
    mode::Mode,
    netfilter::Netfilter,
    state::State,
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
    /// Whether its program is to run; else the node only goes on, and counts nothing.
    pub(crate) enabled: bool,
    /// The node of the present chain whose own maps and counters it takes over.
    pub(crate) inherits: Option<usize>,
    /// The maps that it has of its own, if not those of the node that it inherits from, or new ones.
    pub(crate) maps: Option<Rc<Maps>>,
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
            enabled: record.enabled,
            inherits: Some(position),
            maps: None,
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

    pub(super) fn present(self) -> &'a [Node] {
        match self {
            Self::Chain(chain) => &chain.nodes,
            Self::Bare(_) => &[],
        }
    }
}

/// What building nodes needs.
pub(crate) struct Workshop<'a, 'w> {
    pub(crate) state: &'a State,
    pub(crate) ground: Ground<'a>,
    /// The extension that a node is made of; `None` for nke's own nodes.
    pub(crate) source: &'w dyn Fn(&Role) -> Result<Option<Rc<Source>>>,
    /// The own maps of another attachment of the same extension to the same target, if any.
    pub(crate) beside: &'w dyn Fn(&Role) -> Result<Maps>,
    /// What to say of a node that cannot be built.
    pub(crate) blame: &'w dyn Fn(&Role, Error) -> Error,
}

/// Loads all that a change of a chain needs, without changing what packets meet. Dropping what it
/// returns undoes it; [`put_in_force`] carries it out. Of one chain one change can be prepared at a
/// time.
pub(crate) fn prepare<'a>(shop: &Workshop<'a, '_>, wanted: &[Change]) -> Result<Prepared<'a>> {
    let frags = agree_on_frags(shop, wanted)?;
    match shop.ground {
        Ground::Bare(_) if wanted.is_empty() => Ok(Prepared::nothing(shop.state)),
        Ground::Bare(site) => prepare_new(shop, site, wanted, frags),
        Ground::Chain(chain) if wanted.is_empty() => prepare_removal(shop, chain),
        Ground::Chain(chain) => prepare_change(shop, chain, wanted, frags),
    }
}

/// A chain where there is none: it is attached without a node, and its first write puts them in
/// force.
fn prepare_new<'a>(
    shop: &Workshop<'a, '_>,
    site: &Site<'_>,
    wanted: &[Change],
    frags: bool,
) -> Result<Prepared<'a>> {
    let Workshop { state, .. } = *shop;
    let directory = state.chain(site.hook, site.spot.target());
    let whole = Pending::new(state, directory.clone())?;
    let built = build_all(shop, wanted, None, None, frags)?;
    let empty = Empty::attach(state, site, &directory, frags)?;
    Ok(Prepared {
        state,
        chain: None,
        write: Write::Pointer {
            at: state.copy(&empty.chain.first)?,
            new: built
                .last()
                .map(|node| state.copy(&node.program))
                .transpose()?,
            old: None,
        },
        programs: built.iter().rev().map(|node| node.id).collect(),
        attached: Some(empty),
        pending: built
            .into_iter()
            .map(|node| node.pending)
            .chain([whole])
            .collect(),
        left: Left::Nothing,
    })
}

/// A chain that goes: first it has no nodes for whoever comes, then it is taken off its hook.
fn prepare_removal<'a>(shop: &Workshop<'a, '_>, chain: &'a Chain) -> Result<Prepared<'a>> {
    let Workshop { state, .. } = *shop;
    Ok(Prepared {
        write: Write::Pointer {
            at: state.copy(&chain.first)?,
            new: None,
            old: program_of(shop, chain.nodes.first())?,
        },
        left: Left::Chain(chain),
        ..Prepared::nothing(state)
    })
}

fn prepare_change<'a>(
    shop: &Workshop<'a, '_>,
    chain: &'a Chain,
    wanted: &[Change],
    frags: bool,
) -> Result<Prepared<'a>> {
    let Workshop { state, .. } = *shop;
    let present = &chain.nodes[..];
    let renewed = chain.frags() != frags;
    // A long chain has no tail calls left for fast paths, and copies of nodes have none.
    let fast = present.iter().any(|node| node.fast.is_some());
    let slowed = fast && wanted.len() > MOST_NODES_WITH_FAST;
    let (head, tail) = if renewed || slowed {
        (0, 0)
    } else {
        stretch(wanted, present.len())
    };
    let (old, back) = present[head..].split_at(present.len() - tail - head);
    let wanted = &wanted[head..wanted.len() - tail];
    let kept = |nodes: &[Node]| nodes.iter().map(|node| node.program).collect::<Vec<_>>();
    if wanted.is_empty() && old.is_empty() {
        return Ok(Prepared {
            // Behind those that came later on its cgroup it goes all the same.
            chain: Some(chain),
            programs: kept(present),
            ..Prepared::nothing(state)
        });
    }

    // One node in one node's place can use the same pointer: nothing has to be waited for.
    let shared = match old {
        [node] if wanted.len() == 1 && !renewed => Some(&node.next),
        _ => None,
    };
    let built = build_all(shop, wanted, back.first(), shared, frags)?;
    let middle = built.iter().rev().map(|node| node.id).collect();
    let (write, root) = if renewed {
        let (write, root) = another_root(shop, chain, built.last(), frags)?;
        (write, Some(root))
    } else {
        let before = head
            .checked_sub(1)
            .map_or(&chain.first, |last| &present[last].next);
        let new = match built.last() {
            Some(node) => Some(state.copy(&node.program)?),
            None => program_of(shop, back.first())?,
        };
        let write = Write::Pointer {
            at: state.copy(before)?,
            new,
            old: program_of(shop, old.first().or(back.first()))?,
        };
        (write, None)
    };
    let gone = old.iter().flat_map(Node::programs);
    let gone = gone.chain(renewed.then(|| chain.anchor.root()));
    Ok(Prepared {
        state,
        chain: Some(chain),
        write,
        programs: [kept(&present[..head]), middle, kept(back)].concat(),
        attached: None,
        pending: built
            .into_iter()
            .map(|node| node.pending)
            .chain(root)
            .collect(),
        left: Left::Nodes {
            directories: gone
                .map(|program| node_directory(&chain.directory, program))
                .collect(),
            // By a fast path that it had, packets may still be on their way to it.
            shared: shared.is_some() && old.iter().all(|node| node.fast.is_none()),
        },
    })
}

/// A root that enters the chain at `first`, to take the place of the one there is.
fn another_root<'a>(
    shop: &Workshop<'a, '_>,
    chain: &'a Chain,
    first: Option<&Built<'_>>,
    frags: bool,
) -> Result<(Write<'a>, Pending<'a>)> {
    let first = first.map(|node| &node.program);
    let (root, pending) = make_root(shop.state, chain.hook, &chain.directory, first, frags)?;
    let write = Write::Root {
        anchor: &chain.anchor,
        new: root.program,
        old: open_root(&chain.anchor)?,
    };
    Ok((write, pending))
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
fn agree_on_frags(shop: &Workshop<'_, '_>, wanted: &[Change]) -> Result<bool> {
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
                enabled: true,
                inherits: None,
                maps: None,
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
