//! `list`, `show` and `chain`: what is, as the kernel has it. The shapes here are what `--json`
//! prints, and stay as they are.

use std::{fmt, path::PathBuf};

use semver::Version;
use serde::Serialize;

use super::{Control, Form, Holder, Policy, Scope};
use crate::{
    chain::{Anchor, Chain, Node, Role},
    counters,
    error::{Error, Result},
    extension::{Extension, Needed},
    foreign::{self, Foreign},
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

impl Control {
    /// All loaded extensions, in the order of their kmids.
    pub fn extensions(&self) -> Vec<ExtensionStatus> {
        self.extensions
            .iter()
            .map(|extension| self.status_of(extension))
            .collect()
    }

    fn status_of(&self, extension: &Extension) -> ExtensionStatus {
        let Extension {
            name,
            build: _,
            kmid,
            size,
            record,
        } = extension.clone();
        ExtensionStatus {
            kmid,
            name,
            loads: record.users.count(),
            uses: self.use_count(kmid),
            holders: self.holders(kmid),
            opt_in: self
                .uses(kmid)
                .filter(|(_, node)| node.record.opt_in)
                .count(),
            size,
            path: record.path,
            hooks: record.hooks,
            description: record.description,
            identifier: record.identifier,
            version: record.version,
            needs: record
                .needs
                .iter()
                .filter_map(|needed| self.need(needed))
                .collect(),
            init: record.init,
            exit: record.exit,
        }
    }

    fn need(&self, needed: &Needed) -> Option<NeedStatus> {
        let Needed { kmid, range, maps } = needed;
        let provider = self.known(*kmid)?;
        Some(NeedStatus {
            kmid: *kmid,
            name: provider.name.clone(),
            identifier: provider.record.identifier.clone(),
            version: provider.record.version.clone(),
            range: range.as_ref().map(ToString::to_string),
            maps: maps.clone(),
        })
    }

    pub(super) fn extension_status(&self, kmid: u32) -> Result<ExtensionStatus> {
        let extension = self.known(kmid);
        let not_loaded = || Error::NotLoaded {
            name: kmid.to_string(),
            stage: "read back",
        };
        Ok(self.status_of(extension.ok_or_else(not_loaded)?))
    }

    /// The chains in a scope. For a place that is named, also hooks where nke has no chain but
    /// others have programs.
    ///
    /// # Errors
    ///
    /// [`Error::NoInterface`], [`Error::NoNamespace`], [`Error::NoCgroup`].
    pub fn chains(&self, scope: &Scope) -> Result<Vec<ChainStatus>> {
        let place = scope.resolve()?;
        let chains = self.chains.iter().filter(|chain| place.has(chain));
        let mut chains: Vec<_> = chains.map(|chain| self.found_status(chain)).collect();
        if let Some(place) = scope.named() {
            let spot = place.open()?;
            let asked = |hook: &Hook| scope.hook.as_ref().is_none_or(|asked| asked.has(*hook));
            for hook in Hook::all()
                .filter(|hook| hook.row().kind == place.kind())
                .filter(asked)
            {
                if self.chain(hook, spot.target()).is_none() {
                    chains.extend(self.others(hook, &spot));
                }
            }
            chains.sort_by_key(|chain| chain.hook);
        }
        Ok(chains)
    }

    /// A hook that only others have programs on.
    pub(super) fn others(&self, hook: Hook, spot: &Spot) -> Option<ChainStatus> {
        let foreign = foreign::programs(hook, spot, None, &self.programs());
        let bare = ChainStatus::bare(hook, spot);
        (!foreign.is_empty()).then_some(ChainStatus { foreign, ..bare })
    }

    /// nke's own programs that the kernel calls: the roots, and those by which chains work from
    /// other hooks than their own.
    fn programs(&self) -> Vec<u32> {
        let roots = self.chains.iter().map(|chain| chain.anchor.root());
        roots.chain(self.helpers()).collect()
    }

    /// The programs by which chains work from other hooks than their own.
    pub(super) fn helpers(&self) -> Vec<u32> {
        let anchors = self.chains.iter().map(|chain| &chain.anchor);
        anchors.filter_map(Anchor::helper).collect()
    }

    /// A chain's status, of whatever it is attached to now.
    fn found_status(&self, chain: &Chain) -> ChainStatus {
        self.chain_status(chain, Spot::find(chain.target).as_ref())
    }

    pub(super) fn chain_status(&self, chain: &Chain, spot: Option<&Spot>) -> ChainStatus {
        let Chain {
            hook,
            target,
            anchor,
            ..
        } = chain;
        let own = Some(anchor.own());
        let foreign = spot.map(|spot| foreign::programs(*hook, spot, own, &self.programs()));
        let policy = if chain.drops() {
            Policy::Drop
        } else {
            Policy::Pass
        };
        let nodes = (1..)
            .zip(&chain.nodes)
            .filter_map(|(n, node)| self.node(n, chain, node));
        let mut status = match spot {
            Some(spot) => ChainStatus::bare(*hook, spot),
            None => ChainStatus::lost(*hook, *target),
        };
        status.mode = Some(anchor.mode);
        status.netfilter = anchor.netfilter;
        status.policy = policy;
        status.nodes = nodes.collect();
        let claims = chain.claims();
        status.claims = claims.map(|(name, _)| name.to_owned()).collect();
        status.foreign = foreign.unwrap_or_default();
        status
    }

    fn node(&self, position: usize, chain: &Chain, node: &Node) -> Option<NodeStatus> {
        let Role::Extension { name, kmid, symbol } = &node.record.role else {
            return None;
        };
        let counts = node
            .record
            .counters
            .then(|| self.counts(chain, node))
            .flatten();
        Some(NodeStatus {
            position,
            id: node.record.id,
            extension: name.clone(),
            kmid: *kmid,
            program: symbol.clone(),
            priority: node.record.priority,
            program_id: node.program,
            form: node.record.form,
            opt_in: node.record.opt_in,
            enabled: node.record.enabled,
            packets: counts.map(|(packets, _)| packets),
            bytes: counts.map(|(_, bytes)| bytes),
        })
    }

    /// Packets and bytes, summed over the CPUs.
    fn counts(&self, chain: &Chain, node: &Node) -> Option<(Counts, Counts)> {
        let map = self
            .state
            .get(&chain.node_directory(node).join("counters"))
            .ok()?;
        let [go_on, dropped, other, rest @ ..] = counters::sums(&map).ok()?;
        let packets = Counts {
            go_on,
            dropped,
            other,
        };
        let [go_on, dropped, other] = rest;
        Some((
            packets,
            Counts {
                go_on,
                dropped,
                other,
            },
        ))
    }
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
    fn lost(hook: Hook, target: Target) -> Self {
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
