//! A chain: the ordered nodes of one hook of one interface, as the kernel's pointers say.
//!
//! ```text
//! link -> root -> NEXT -> node 1 -> NEXT -> node 2 -> NEXT (empty)
//! ```
//!
//! A chain is read by following the pointers, never from a list of what was once asked for. Node
//! directories that no pointer leads to are left-overs of a command that was killed, and swept.
//! This module must never touch programs that are not nke's.

mod anchor;
mod build;
mod commit;
mod fast;
mod force;
mod last;
mod material;
mod moved;
mod sockhash;
mod trial;

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    anchor::Anchor,
    commit::{Change, Fresh, Ground, Prepared, Site, Workshop, prepare, put_in_force},
    fast::{Fast, MOST_NODES_WITH_FAST, Wanted, put as put_fast},
    last::speak_last,
    trial::build_trial,
};
use crate::{error::Result, hook::Hook, place::Form, state::State, sys, target::Target};

/// Nodes that a chain can have: the kernel follows 33 tail calls, of which one is kept for the
/// node of a drop policy (`MAX_TAIL_CALL_CNT`, include/linux/bpf.h).
pub(crate) const MOST_NODES: usize = 32;

/// The name of a claim's map.
const MARKS: &str = "marks";

/// A chain that is attached.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) hook: Hook,
    pub(crate) target: Target,
    pub(crate) directory: PathBuf,
    pub(crate) anchor: Anchor,
    /// The root's pointer.
    pub(crate) first: OwnedFd,
    /// In the order of the pointers: extensions, a drop policy, claims. Sockets opt in where that
    /// policy is to pass.
    pub(crate) nodes: Vec<Node>,
}

/// A node: one loaded program of one attachment.
#[derive(Debug)]
pub(crate) struct Node {
    /// The kernel's id of the program, which names the node's directory.
    pub(crate) program: u32,
    /// Its fast path, which the pointer in front of it leads to.
    pub(crate) fast: Option<Fast>,
    /// Its pointer to the next node.
    pub(crate) next: OwnedFd,
    pub(crate) record: Record,
}

impl Node {
    /// The program that the pointer in front of it leads to.
    pub(crate) fn entry(&self) -> u32 {
        self.fast.as_ref().map_or(self.program, |fast| fast.program)
    }

    /// Its programs: the node's own, and its fast path.
    pub(crate) fn programs(&self) -> impl Iterator<Item = u32> {
        [self.program]
            .into_iter()
            .chain(self.fast.as_ref().map(|fast| fast.program))
    }
}

/// What is written of a node, and never changes: an edit makes another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The attachment's id: that of its first program.
    pub(crate) id: u32,
    pub(crate) role: Role,
    pub(crate) priority: i32,
    pub(crate) form: RecordedForm,
    pub(crate) counters: bool,
    /// Whether the program could take packets of several buffers.
    pub(crate) takes_frags: bool,
    /// Whether it was loaded to.
    pub(crate) frags: bool,
    /// Whether only sockets that opted in meet it.
    #[serde(default)]
    pub(crate) opt_in: bool,
    /// Whether its program runs; where it does not, the node only goes on.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// Whether rules alone say what its program does: see [`crate::object::Manifest`].
    #[serde(default)]
    pub(crate) judged_by_rules: bool,
}

const fn yes() -> bool {
    true
}

/// What a node is there for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// An extension's program.
    Extension {
        name: String,
        kmid: u32,
        symbol: String,
    },
    /// The chain's policy is to drop what comes to its end.
    DropPolicy,
    /// Takes the socket option by which a socket opts in for an extension.
    Claim { extension: String },
}

impl Role {
    /// The extension's name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Extension { name, .. } => Some(name),
            Self::DropPolicy | Self::Claim { .. } => None,
        }
    }

    /// The extension's kmid.
    pub(crate) const fn kmid(&self) -> Option<u32> {
        match self {
            Self::Extension { kmid, .. } => Some(*kmid),
            Self::DropPolicy | Self::Claim { .. } => None,
        }
    }
}

/// A [`Form`], as it is written and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedForm {
    /// The body's exits were rewritten.
    Inline,
    /// The body is called from a stub.
    Stub,
}

impl From<Form> for RecordedForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Inline(_) => Self::Inline,
            Form::Stub => Self::Stub,
        }
    }
}

impl Chain {
    /// Reads a chain: `None` if there is none, or what is there is no longer attached.
    pub(crate) fn read(state: &State, hook: Hook, target: Target) -> Result<Option<Self>> {
        let directory = state.chain(hook, target);
        let Some(anchor) = Anchor::open(state, &directory, target)? else {
            return Ok(None);
        };
        let first = state.get(&node_directory(&directory, anchor.root()).join("next"))?;
        let mut nodes = Vec::new();
        let mut pointer = points_to(&first)?;
        while let Some(entry) = pointer {
            let fast = fast::of(state, &directory, entry)?;
            let program = fast.as_ref().map_or(entry, |(node, _)| *node);
            let path = node_directory(&directory, program);
            let Some(record) = state.read_record(&path.join("node"))? else {
                break;
            };
            let next = state.get(&path.join("next"))?;
            pointer = points_to(&next)?;
            nodes.push(Node {
                program,
                fast: fast.map(|(_, fast)| fast),
                next,
                record,
            });
        }
        Ok(Some(Self {
            hook,
            target,
            directory,
            anchor,
            first,
            nodes,
        }))
    }

    /// The nodes of extensions, without nke's own.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| node.record.role.kmid().is_some())
    }

    /// Whether there is no room for another node; a drop policy has its own.
    pub(crate) fn is_full(&self) -> bool {
        self.nodes.len() >= MOST_NODES + usize::from(self.drops())
    }

    pub(crate) fn drops(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.record.role == Role::DropPolicy)
    }

    /// The extensions that sockets can opt in for by this chain, with their nodes.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes
            .iter()
            .filter_map(|node| match &node.record.role {
                Role::Claim { extension } => Some((extension.as_str(), node)),
                Role::Extension { .. } | Role::DropPolicy => None,
            })
    }

    /// Where the sockets are marked that opted in by a claim of this chain.
    pub(crate) fn marks(&self, state: &State, claim: &Node) -> Result<OwnedFd> {
        state.get(&self.node_directory(claim).join("maps").join(MARKS))
    }

    pub(crate) fn node_directory(&self, node: &Node) -> PathBuf {
        node_directory(&self.directory, node.program)
    }

    /// Whether its programs take packets of several buffers, on which all must agree.
    pub(crate) fn frags(&self) -> bool {
        self.nodes.iter().all(|node| node.record.frags)
    }

    /// The directories of nodes that no pointer leads to.
    fn left(&self, state: &State) -> Result<Vec<PathBuf>> {
        let nodes = self.directory.join("nodes");
        let reached = self
            .nodes
            .iter()
            .flat_map(Node::programs)
            .chain([self.anchor.root()]);
        let reached: BTreeSet<String> = reached.map(|program| program.to_string()).collect();
        let left = state.names(&nodes)?.into_iter();
        let left = left.filter(|name| !reached.contains(name));
        Ok(left.map(|name| nodes.join(name)).collect())
    }
}

/// The directory of the node with this program.
pub(crate) fn node_directory(chain: &Path, program: u32) -> PathBuf {
    chain.join("nodes").join(program.to_string())
}

const FIRST: [u8; 4] = [0; 4];

/// The program that a pointer leads to.
fn points_to(next: &OwnedFd) -> Result<Option<u32>> {
    let mut program = [0; 4];
    match sys::map::lookup(next, &FIRST, &mut program) {
        Ok(found) => Ok(found.map(|()| u32::from_ne_bytes(program))),
        Err(source) => Err(pointer_failed("read", source)),
    }
}

/// The one write that commits an edit.
fn point(next: &OwnedFd, program: Option<&OwnedFd>) -> Result<()> {
    match program {
        Some(program) => {
            use std::os::fd::AsRawFd as _;
            sys::map::update(next, &FIRST, &program.as_fd().as_raw_fd().to_ne_bytes())
        }
        None => sys::map::delete(next, &FIRST),
    }
    .map_err(|source| pointer_failed("write", source))
}

/// Cuts a chain that is gone off its root, which sockets that have joined it still call: the kernel
/// takes its time to empty an array that nobody has pinned.
fn cut(state: &State, directory: &Path) -> Result<()> {
    let nodes = directory.join("nodes");
    for node in state.names(&nodes)?.iter().map(|name| nodes.join(name)) {
        let next = node.join("next");
        let is_root = state.read_record::<Record>(&node.join("node"))?.is_none();
        if is_root && state.has(&next)? {
            let next = state.get(&next)?;
            // On a sealed host pointers are frozen, and the kernel takes its time.
            if !sys::map::is_frozen(&next).unwrap_or_default() {
                point(&next, None)?;
            }
        }
    }
    Ok(())
}

fn pointer_failed(stage: &'static str, source: std::io::Error) -> crate::error::Error {
    crate::error::Error::Kernel {
        object: "chain pointer".to_owned(),
        stage,
        source,
        remedy: "programs of one chain must agree in type; `nke chain` shows them",
    }
}

/// Reads every chain, after removing what killed commands and vanished interfaces left.
pub(crate) fn sweep(state: &State) -> Result<Vec<Chain>> {
    let mut chains = Vec::new();
    let mut left = Vec::new();
    for hook in state.hooks()? {
        for target in state.targets(hook)? {
            let directory = state.chain(hook, target);
            if let Some(chain) = Chain::read(state, hook, target)? {
                if points_to(&chain.first)?.is_none() {
                    // Only attached, or not yet taken off. Otherwise the next command tries again.
                    let _: Result<()> = force::take_off(state, &chain);
                    continue;
                }
                let now = moved::follow(state, &chain)?;
                let chain = if now == target {
                    Some(chain)
                } else {
                    Chain::read(state, hook, now)?
                };
                if let Some(chain) = chain {
                    left.extend(chain.left(state)?);
                    chains.push(chain);
                }
            } else {
                Anchor::discard(state, &directory, target)?;
                cut(state, &directory)?;
                left.push(directory);
            }
        }
    }
    if !left.is_empty() {
        // They may have been cut off a moment ago, with packets still inside.
        sys::grace_period();
    }
    left.iter()
        .try_for_each(|directory| state.remove(directory))?;
    Ok(chains)
}
