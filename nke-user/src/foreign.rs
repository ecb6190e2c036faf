//! What is on our hooks and not nke's, programs and chains of netfilter: shown, and never touched.

use std::{fmt, fs::File, path::PathBuf};

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use serde::Serialize;

use crate::{
    cgroup::Cgroup,
    clsact,
    hook::Hook,
    interface::Namespace,
    iptables,
    mode::Mode,
    netlink::{self, Message},
    nftables::{self, BaseChain},
    sys,
    target::Spot,
};

/// A program that somebody else attached, or what else the kernel calls at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The kernel's id of a program; `null` if it is none.
    pub program_id: Option<u32>,
    /// Its name: `inet t c` is chain `c` of nftables' table `inet t`.
    pub name: String,
    /// By what it is attached.
    pub how: How,
    /// Its priority in netfilter, lower runs first; `null` where order is that of a list.
    pub priority: Option<i32>,
    /// Whether it runs before nke's chain: those behind are not asked about what ends there, but
    /// for those of cgroups, which are and can undo a denial.
    pub before: bool,
    /// The cgroup above that has it; `null` if it is where it is shown.
    pub above: Option<PathBuf>,
}

/// Where nke's own root is among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// The root's id.
    pub(crate) program_id: u32,
    /// Its priority in netfilter.
    pub(crate) priority: Option<i32>,
}

/// The kernel's ways to attach a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The one XDP program.
    Xdp,
    /// The list of TCX programs (since 6.6).
    Tcx,
    /// A filter of the clsact queueing discipline.
    Clsact,
    /// The list of a cgroup's programs.
    Cgroup,
    /// The list of a network namespace's programs.
    Netns,
    /// A base chain of nftables.
    Nftables,
    /// A table of iptables.
    Iptables,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xdp => "XDP",
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
            Self::Cgroup => "cgroup",
            Self::Netns => "netns",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}

/// One of all on a hook, nke's root among them.
struct Entry {
    program_id: Option<u32>,
    /// Of what is no program.
    name: String,
    how: How,
    priority: Option<i32>,
    above: Option<PathBuf>,
}

impl Entry {
    fn program((program_id, how): (u32, How)) -> Self {
        Self {
            program_id: Some(program_id),
            name: String::new(),
            how,
            priority: None,
            above: None,
        }
    }

    fn chain(chain: BaseChain) -> Self {
        Self {
            program_id: None,
            name: chain.name,
            how: How::Nftables,
            priority: Some(chain.priority),
            above: None,
        }
    }

    fn table((name, priority): iptables::Table) -> Self {
        Self {
            program_id: None,
            name,
            how: How::Iptables,
            priority: Some(priority),
            above: None,
        }
    }
}

/// The programs that are on a hook's lists, in the order in which they run. Those that netfilter
/// calls are on none: the kernel does not say of their links which namespace they are in.
fn listed(hook: Hook, spot: &Spot) -> Vec<(u32, How)> {
    let of = |how| move |id| (id, how);
    let attach_type = hook.row().attach_type;
    match spot {
        Spot::Interface {
            namespace, index, ..
        } if hook == Hook::INTERFACE_XDP => xdp(namespace, *index)
            .into_iter()
            .map(of(How::Xdp))
            .collect(),
        Spot::Interface {
            namespace, index, ..
        } => {
            let query = || sys::link::query_interface(*index, attach_type);
            let tcx = namespace.within(query).ok().and_then(Result::ok);
            let tcx = tcx.unwrap_or_default().into_iter().map(of(How::Tcx));
            let clsact = filters(hook, namespace, *index).into_iter();
            tcx.chain(clsact.map(of(How::Clsact))).collect()
        }
        Spot::Cgroup(cgroup) => {
            let programs = sys::link::query(&cgroup.directory, attach_type).unwrap_or_default();
            programs.into_iter().map(of(How::Cgroup)).collect()
        }
        Spot::Namespace(_) if hook.row().modes.contains(&Mode::Netfilter) => Vec::new(),
        Spot::Namespace(namespace) => {
            let programs = sys::link::query(namespace, attach_type).unwrap_or_default();
            programs.into_iter().map(of(How::Netns)).collect()
        }
    }
}

/// All on a hook that can be seen, in the order in which it runs.
fn all(hook: Hook, spot: &Spot) -> Vec<Entry> {
    let programs = listed(hook, spot).into_iter().map(Entry::program);
    match spot {
        // `__dev_queue_xmit` and `__netif_receive_skb_core`, net/core/dev.c: traffic control is
        // nearer to the wire than netfilter both ways.
        Spot::Interface {
            namespace, name, ..
        } if hook == Hook::INTERFACE_OUT => base_chains(namespace, hook, Some(name))
            .chain(programs)
            .collect(),
        Spot::Interface {
            namespace, name, ..
        } => programs
            .chain(base_chains(namespace, hook, Some(name)))
            .collect(),
        Spot::Namespace(namespace) => {
            let tables = iptables::tables(namespace, hook).into_iter();
            let netfilter = tables
                .map(Entry::table)
                .chain(base_chains(namespace, hook, None));
            let mut found: Vec<_> = programs.chain(netfilter).collect();
            found.sort_by_key(|entry| entry.priority);
            found
        }
        Spot::Cgroup(cgroup) => of_cgroup(cgroup, hook.row().attach_type)
            .into_iter()
            .map(|(id, above)| Entry {
                above,
                ..Entry::program((id, How::Cgroup))
            })
            .collect(),
    }
}

/// The programs that run for a cgroup, in their order, each with the cgroup above that has it: the
/// kernel calls those of the cgroups above it as well.
pub(crate) fn of_cgroup(cgroup: &Cgroup, attach_type: u32) -> Vec<(u32, Option<PathBuf>)> {
    let running = sys::link::query_effective(&cgroup.directory, attach_type);
    let own = |directory: &File| sys::link::query(directory, attach_type).unwrap_or_default();
    let mut levels = vec![(None, own(&cgroup.directory))];
    levels.extend(cgroup.above().map(|above| {
        let programs = own(&above.directory);
        (Some(above.path().to_owned()), programs)
    }));
    let level = |id| {
        let above = levels.iter_mut().find_map(|(path, programs)| {
            let at = programs.iter().position(|program| *program == id)?;
            programs.remove(at);
            Some(path.clone())
        });
        (id, above.flatten())
    };
    let running = running.unwrap_or_default().into_iter();
    running.map(level).collect()
}

/// The program of a cgroup's own that runs last. A cgroup namespace can hide the cgroups above, so
/// the cgroup's own list is asked who is its own.
pub(crate) fn last_of(cgroup: &Cgroup, attach_type: u32) -> Option<u32> {
    let own = sys::link::query(&cgroup.directory, attach_type).ok()?;
    let running = sys::link::query_effective(&cgroup.directory, attach_type).ok()?;
    running.into_iter().rfind(|program| own.contains(program))
}

/// The base chains of nftables at a hook; none where the kernel has no nftables.
fn base_chains(
    namespace: &Namespace,
    hook: Hook,
    interface: Option<&str>,
) -> impl Iterator<Item = Entry> {
    let chains = nftables::base_chains(namespace).unwrap_or_default();
    let here: Vec<_> = chains
        .into_iter()
        .filter(|chain| chain.is_at(hook, interface))
        .collect();
    here.into_iter().map(Entry::chain)
}

/// Whether a program is on a hook.
pub(crate) fn runs(hook: Hook, spot: &Spot, program: u32) -> bool {
    listed(hook, spot).iter().any(|(id, _)| *id == program)
}

/// What is on a hook and not nke's, in the order in which it runs: `own` is the chain's root, and
/// `ours` are all programs of nke's that the kernel calls.
pub(crate) fn programs(hook: Hook, spot: &Spot, own: Option<Own>, ours: &[u32]) -> Vec<Foreign> {
    let mut found = all(hook, spot);
    let is_own = |entry: &Entry| own.is_some_and(|own| entry.program_id == Some(own.program_id));
    let is_ours = |entry: &Entry| entry.program_id.is_some_and(|id| ours.contains(&id));
    found.retain(|entry| is_own(entry) || !is_ours(entry));
    let listed = found.iter().position(is_own);
    if let Some(position) = listed {
        found.remove(position);
    }
    // Netfilter has no list to find it on. Of one priority the newer runs first
    // (nf_hook_entries_grow, net/netfilter/core.c): that is nke's, as a rule.
    let preceded = |entry: &Entry| match (entry.priority, own.and_then(|own| own.priority)) {
        (Some(other), Some(own)) => other < own,
        _ => false,
    };
    let position = listed.unwrap_or_else(|| found.iter().take_while(|e| preceded(e)).count());
    let describe = |(nth, entry): (usize, Entry)| Foreign {
        program_id: entry.program_id,
        name: entry.program_id.map_or(entry.name, name),
        how: entry.how,
        priority: entry.priority,
        before: nth < position,
        above: entry.above,
    };
    found.into_iter().enumerate().map(describe).collect()
}

/// A program on a list, as one of others.
pub(crate) fn on_list(program_id: u32, how: How, before: bool) -> Foreign {
    Foreign {
        program_id: Some(program_id),
        name: name(program_id),
        how,
        priority: None,
        before,
        above: None,
    }
}

/// Who has an interface's XDP hook, in words.
pub(crate) fn owner(namespace: &Namespace, ifindex: u32) -> String {
    match xdp(namespace, ifindex) {
        Some(id) => format!("program {id} ({})", name(id)),
        None => "another program".to_owned(),
    }
}

fn name(program: u32) -> String {
    let described = sys::program::open(program).and_then(sys::program::describe);
    described
        .map(|described| described.name)
        .unwrap_or_default()
}

fn xdp(namespace: &Namespace, ifindex: u32) -> Option<u32> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    let answers = netlink::order(namespace, Message::GetLink(message), 0).ok()?;
    answers.into_iter().find_map(|answer| {
        let Message::NewLink(link) = answer else {
            return None;
        };
        let xdp = link.attributes.into_iter().find_map(|attribute| {
            if let LinkAttribute::Xdp(xdp) = attribute {
                Some(xdp)
            } else {
                None
            }
        })?;
        xdp.into_iter().find_map(|xdp| {
            if let LinkXdp::ProgId(id) = xdp {
                Some(id)
            } else {
                None
            }
        })
    })
}

fn filters(hook: Hook, namespace: &Namespace, ifindex: u32) -> Vec<u32> {
    let filters = clsact::filters(namespace, ifindex, hook == Hook::INTERFACE_OUT);
    filters
        .unwrap_or_default()
        .into_iter()
        .map(|filter| filter.program)
        .collect()
}
