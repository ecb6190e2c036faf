//! The command's `--json` shapes, as a program that reads them would write them down: with the
//! fields that it needs.

use serde::Deserialize;

/// A hook of the interface layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `interface/xdp`.
    Xdp,
    /// `interface/in`.
    In,
    /// `interface/out`.
    Out,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::In, Self::Out];

    /// As the command names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "interface/xdp",
            Self::In => "interface/in",
            Self::Out => "interface/out",
        }
    }

    /// The answer that lets a packet through at the end of a chain of `trail` programs.
    #[must_use]
    pub const fn pass(self) -> u32 {
        match self {
            Self::Xdp => 2,
            Self::In | Self::Out => u32::MAX,
        }
    }

    /// Whether an answer lets a packet go on to the next node.
    #[must_use]
    pub const fn goes_on(self, answer: u32) -> bool {
        match self {
            Self::Xdp => answer == 2,
            Self::In | Self::Out => matches!(answer, u32::MAX | 3),
        }
    }

    /// The answer that drops a packet.
    #[must_use]
    pub const fn drop(self) -> u32 {
        match self {
            Self::Xdp => 1,
            Self::In | Self::Out => 2,
        }
    }
}

/// `nke chain --json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Chains {
    pub(crate) chains: Vec<Chain>,
}

/// One chain of one hook of one interface.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Chain {
    /// The hook's name.
    pub hook: String,
    /// The interface's name, unless it cannot be found out.
    pub interface: Option<String>,
    /// The interface's number, at its layer.
    pub ifindex: Option<u32>,
    /// The namespace's name, when it has one.
    pub netns: Option<String>,
    /// The cgroup's directory, at other layers.
    pub cgroup: Option<String>,
    /// How XDP is attached: `native` or `generic`.
    pub mode: Option<String>,
    /// What happens to a packet at the chain's end: `pass` or `drop`.
    pub policy: String,
    /// The attachments, in order.
    pub nodes: Vec<Node>,
    /// What others have attached at the same place.
    pub foreign: Vec<Foreign>,
}

impl Chain {
    /// The extensions' names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.nodes
            .iter()
            .map(|node| node.extension.as_str())
            .collect()
    }

    /// The node of an extension that is in the chain once.
    #[must_use]
    pub fn node(&self, extension: &str) -> &Node {
        let mut found = self.nodes.iter().filter(|node| node.extension == extension);
        match (found.next(), found.next()) {
            (Some(node), None) => node,
            _ => crate::fail(format!("{extension} is not once in {self:#?}")),
        }
    }
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    /// Its place, from 1.
    pub position: u32,
    /// The attachment's id.
    pub id: u32,
    /// The extension's name.
    pub extension: String,
    /// The extension's number.
    pub kmid: u32,
    /// The program's symbol.
    pub program: String,
    /// Its priority.
    pub priority: i64,
    /// The kernel's id of the loaded program.
    pub program_id: u32,
    /// The kernel's id of the program in front of it, if it has a fast path.
    pub fast_path_id: Option<u32>,
    /// How it was placed: `inline` or `stub`.
    pub form: String,
    /// Whether its program runs.
    pub enabled: bool,
    /// Packets, unless the attachment has no counters.
    pub packets: Option<Tally>,
    /// Bytes, likewise.
    pub bytes: Option<Tally>,
}

/// What a node counted, by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// Went on to the next node.
    pub go_on: u64,
    /// Were dropped.
    pub dropped: u64,
    /// Left the chain in another way.
    pub other: u64,
}

/// A program that somebody else has attached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Foreign {
    /// The kernel's id of it.
    pub program_id: u32,
    /// Its name.
    pub name: String,
    /// By which means: `tcx`, `clsact` or `xdp`.
    pub how: String,
    /// Whether it runs before the chain.
    pub before: bool,
}

/// `nke list --json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Extensions {
    pub(crate) extensions: Vec<Extension>,
}

/// One loaded extension.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Extension {
    /// Its number, never used again until reboot.
    pub kmid: u32,
    /// Its name.
    pub name: String,
    /// How often `nke load` asked for it.
    pub loads: u32,
    /// How many attachments hold it.
    pub uses: u32,
    /// The object's size in bytes.
    pub size: u64,
    /// Where the object was read from.
    pub path: String,
    /// The hooks that it serves.
    pub hooks: Vec<String>,
    /// What it says of itself.
    pub description: String,
    /// Who it says it is.
    pub identifier: Option<String>,
    /// Its version.
    pub version: String,
}
