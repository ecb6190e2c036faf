//! A fast path: a program in front of a node, which decides for the packets that it can, as the node would, and
//! hands all others to it.
//!
//! ```text
//! root → fast path → (cannot tell) SLOW → node → NEXT → …
//!                  → (goes on)                   NEXT → …
//! ```
//!
//! It is placed as the node is: it has the node's counters and the node's pointer. So it can come and go while
//! packets go by, each time by one write of the pointer in front, and none of them notices. Whoever changes the chain need
//! not know of it: the program of a node that a pointer leads to is its fast path, and a node that
//! takes another's place has none.
//!
//! This must never change what becomes of a packet, nor who counts it. Whoever writes a fast path sees to it that it
//! hands everything to the node as soon as the node would decide otherwise.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use aya_obj::generated::bpf_insn;
use serde::{Deserialize, Serialize};

use super::{
    Chain, MOST_NODES, Node,
    build::{Pending, describe, made},
    node_directory, point,
};
use crate::{
    counters,
    error::Result,
    filter::MadeOf,
    loader, place,
    state::State,
    sys::{self, map::Shape},
};

/// Nodes that a chain with fast paths has at most: what each hands over takes one more of the tail calls that the
/// kernel follows.
pub(crate) const MOST_NODES_WITH_FAST: usize = MOST_NODES / 2;

/// The name of a fast path's record, in a directory of its own among those of nodes.
const RECORD: &str = "fast";
/// The name of the pointer to a node by which its fast path hands packets over. It is the node's, so that it is there as
/// long as a packet can be inside any fast path.
const SLOW: &str = "slow";

/// What is written of a fast path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The program of the node that it is in front of.
    node: u32,
    made_of: MadeOf,
}

/// A fast path that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fast {
    /// The kernel's id of its program.
    pub(crate) program: u32,
    pub(crate) made_of: MadeOf,
}

/// A fast path that is wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) made_of: MadeOf,
    /// Writes the body: what is placed. It gets the context in r1, and finds in register 6 what it has got; what it does not
    /// decide it hands to the program of this array.
    pub(crate) body: &'a dyn Fn(RawFd) -> Vec<bpf_insn>,
}

/// The node that the program of a pointer belongs to, if that is a fast path.
pub(super) fn of(
    state: &State,
    chain: &std::path::Path,
    program: u32,
) -> Result<Option<(u32, Fast)>> {
    let record: Option<Record> = state.read_record(&node_directory(chain, program).join(RECORD))?;
    Ok(record.map(|Record { node, made_of }| (node, Fast { program, made_of })))
}

/// Puts a fast path in front of a node, in place of the one that it has, or takes that away; whether there was anything to
/// do.
pub(crate) fn put(
    state: &State,
    chain: &Chain,
    position: usize,
    wanted: Option<&Wanted<'_>>,
) -> Result<bool> {
    let node = &chain.nodes[position];
    if node.fast.as_ref().map(|fast| &fast.made_of) == wanted.map(|wanted| &wanted.made_of) {
        return Ok(false);
    }
    let in_front = position
        .checked_sub(1)
        .map_or(&chain.first, |before| &chain.nodes[before].next);
    match wanted {
        Some(wanted) => {
            let (program, mut pending) = build(state, chain, node, wanted)?;
            point(in_front, Some(&program))?;
            pending.keep();
        }
        None => {
            let program = state.get(&chain.node_directory(node).join("program"))?;
            point(in_front, Some(&program))?;
        }
    }
    // A packet that is inside the old one goes on: the kernel frees a program behind the last packet, and what it may
    // still ask for is the node's.
    if let Some(fast) = &node.fast {
        state.remove(&node_directory(&chain.directory, fast.program))?;
    }
    Ok(true)
}

/// Loads a fast path and pins it aside.
fn build<'a>(
    state: &'a State,
    chain: &Chain,
    node: &Node,
    wanted: &Wanted<'_>,
) -> Result<(OwnedFd, Pending<'a>)> {
    let directory = chain.node_directory(node);
    let slow = slow(state, &directory)?;
    let counters = match node.record.counters {
        true => Some(state.get(&directory.join("counters"))?),
        false => None,
    };
    let rows = counters.as_ref().map(counters::rows).transpose();
    let links = place::Maps {
        next: node.next.as_raw_fd(),
        counters: rows.map_err(|source| state.failed(&directory, "open counters of", source))?,
        guard: None,
    };
    let body = (wanted.body)(slow.as_raw_fd());
    let program = loader::load_fast(&body, chain.hook, node.record.frags, &links)?;
    let id = describe(&program)?;
    let pending = Pending::new(state, node_directory(&chain.directory, id))?;
    state.pin(&program, &pending.directory.join("program"))?;
    let record = Record {
        node: node.program,
        made_of: wanted.made_of.clone(),
    };
    state.write_record(&pending.directory.join(RECORD), &record)?;
    Ok((program, pending))
}

/// The pointer by which fast paths hand packets to a node.
fn slow(state: &State, node: &std::path::Path) -> Result<OwnedFd> {
    let path = node.join(SLOW);
    if state.has(&path)? {
        return state.get(&path);
    }
    let slow = made(
        "slow path",
        sys::map::create(Shape::program_array("nke_slow")),
    )?;
    point(&slow, Some(&state.get(&node.join("program"))?))?;
    state.pin(&slow, &path)?;
    Ok(slow)
}
