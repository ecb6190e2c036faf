//! The shapes of `list`, `show` and `chain`: they are what `--json` prints, and stay as they are.

use std::{fmt, path::PathBuf};

use semver::Version;
use serde::Serialize;

use super::{Form, Holder, Policy};
use crate::{
    foreign::Foreign,
    hook::Hook,
    mode::Mode,
    netfilter::Netfilter,
    object::Identifier,
    routine::Routine,
    target::{Spot, Target},
};

/// A loaded extension.
#[derive(Clone, Debug, Serialize)]
pub struct ExtensionStatus {
    /// Its number, never used again until reboot.
    pub kmid: u32,
    /// Its name.
    pub name: String,
    /// How often it was asked for by name.
    pub loads: u32,
    /// How many attachments and extensions hold it.
    pub uses: usize,
    /// Everybody who holds it.
    pub holders: Vec<Holder>,
    /// How many of these only sockets that opted in meet.
    pub opt_in: usize,
    /// Bytes of its object.
    pub size: u32,
    /// The file that it came from.
    pub path: PathBuf,
    /// The hooks that it serves.
    pub hooks: Vec<Hook>,
    /// What it says of itself.
    pub description: String,
    /// Who it says it is; `null` if it does not.
    pub identifier: Option<Identifier>,
    /// Its version; 0.0.0 if it says none.
    pub version: Version,
    /// What was run when it had been loaded; `null` if there is nothing.
    pub init: Option<Routine>,
    /// What is run before it goes, and its veto; `null` if there is nothing.
    pub exit: Option<Routine>,
    /// The extensions that it needs, which stay loaded as long as it does.
    pub needs: Vec<NeedStatus>,
}

/// An extension that another needs.
#[derive(Clone, Debug, Serialize)]
pub struct NeedStatus {
    /// Its kmid.
    pub kmid: u32,
    /// Its name.
    pub name: String,
    /// Who it is; `null` if it does not say.
    pub identifier: Option<Identifier>,
    /// Its version.
    pub version: Version,
    /// The versions that will do; `null` if it was supplied by `--with`.
    pub range: Option<String>,
    /// The maps of it that are used.
    pub maps: Vec<String>,
}

impl fmt::Display for NeedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kmid,
            name,
            identifier,
            version,
            range,
            maps,
        } = self;
        write!(f, "{name} {kmid} (")?;
        if let Some(identifier) = identifier {
            write!(f, "{identifier} ")?;
        }
        write!(f, "{version}")?;
        match range {
            Some(range) => write!(f, ", any of {range} will do)")?,
            None => f.write_str(", by --with)")?,
        }
        if maps.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", maps.join(" "))
    }
}

/// A chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainStatus {
    /// The hook.
    pub hook: Hook,
    /// The interface's name; `null` at other layers, or if it cannot be found out.
    pub interface: Option<String>,
    /// Its index, in its namespace; `null` at other layers.
    pub ifindex: Option<u32>,
    /// The namespace's name or path; `null` for the caller's own.
    pub netns: Option<String>,
    /// The cgroup's directory, or `cgroup:[<id>]` when it is removed and only its sockets are left
    /// or no path leads to it; `null` at other layers.
    pub cgroup: Option<PathBuf>,
    /// How it is called; `null` if it is not nke's.
    pub mode: Option<Mode>,
    /// Where in netfilter; `null` at other layers.
    pub netfilter: Option<Netfilter>,
    /// What becomes of a packet that every node lets go on.
    pub policy: Policy,
    /// The attachments, in their order.
    pub nodes: Vec<NodeStatus>,
    /// The extensions that sockets can opt in for by an option at this hook.
    pub claims: Vec<String>,
    /// Others' programs on the hook.
    pub foreign: Vec<Foreign>,
}

/// An attachment.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Where in the chain, from 1.
    pub position: usize,
    /// Its number, which stays when it is moved or replaced.
    pub id: u32,
    /// The extension's name.
    pub extension: String,
    /// The extension's kmid.
    pub kmid: u32,
    /// The program's symbol.
    pub program: String,
    /// Its priority.
    pub priority: i32,
    /// The kernel's id of the program.
    pub program_id: u32,
    /// The kernel's id of the program in front of it that decides for plain packets as it would; `null` where there is none.
    pub fast_path_id: Option<u32>,
    /// How the program was placed.
    pub form: Form,
    /// Whether only sockets that opted in meet it.
    pub opt_in: bool,
    /// Whether its program runs: see `nke disable`.
    pub enabled: bool,
    /// Packets by verdict; `null` without counters.
    pub packets: Option<Counts>,
    /// Bytes by verdict; `null` without counters.
    pub bytes: Option<Counts>,
}

/// A number for each kind of verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Went on to the next node.
    pub go_on: u64,
    /// Dropped here.
    pub dropped: u64,
    /// Ended here otherwise: sent, redirected, accepted at once.
    pub other: u64,
}

impl ChainStatus {
    /// A hook without nodes.
    pub(super) fn bare(hook: Hook, spot: &Spot) -> Self {
        let (interface, cgroup) = match spot {
            Spot::Interface { name, .. } => (Some(name.clone()), None),
            Spot::Namespace(_) => (None, None),
            Spot::Cgroup(cgroup) => (None, Some(cgroup.path().to_owned())),
        };
        Self {
            hook,
            interface,
            ifindex: spot.target().ifindex(),
            netns: spot
                .namespace()
                .and_then(|namespace| namespace.name().map(str::to_owned)),
            cgroup,
            mode: None,
            netfilter: None,
            policy: Policy::Pass,
            nodes: Vec::new(),
            claims: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// A hook of something that no path leads to.
    pub(super) fn lost(hook: Hook, target: Target) -> Self {
        Self {
            hook,
            interface: None,
            ifindex: target.ifindex(),
            netns: target.netns().map(|inode| format!("net:[{inode}]")),
            cgroup: match target {
                Target::Cgroup { id } => Some(format!("cgroup:[{id}]").into()),
                Target::Interface { .. } | Target::Namespace { .. } => None,
            },
            mode: None,
            netfilter: None,
            policy: Policy::Pass,
            nodes: Vec::new(),
            claims: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// What it is attached to, in words.
    pub fn place(&self) -> String {
        let Self {
            interface,
            ifindex,
            netns,
            cgroup,
            ..
        } = self;
        if let Some(cgroup) = cgroup {
            return cgroup.display().to_string();
        }
        let namespace = netns.as_deref();
        match (interface, ifindex) {
            (Some(name), _) => match namespace {
                Some(namespace) => format!("{name} in {namespace}"),
                None => name.clone(),
            },
            (None, Some(index)) => format!("#{index} in {}", namespace.unwrap_or("?")),
            (None, None) => match namespace {
                Some(namespace) => format!("namespace {namespace}"),
                None => "this namespace".to_owned(),
            },
        }
    }
}
