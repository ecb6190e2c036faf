//! Programs on our hooks that are not nke's: shown, and never touched.

use std::fmt;

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use serde::Serialize;

use crate::{
    clsact,
    hook::Hook,
    interface::Namespace,
    netlink::{self, Message},
    sys,
    target::Spot,
};

/// A program that somebody else attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The kernel's id.
    pub program_id: u32,
    /// Its name.
    pub name: String,
    /// By what it is attached.
    pub how: How,
    /// Whether it runs before nke's chain: those behind are not asked about what ends there.
    pub before: bool,
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
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xdp => "XDP",
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
            Self::Cgroup => "cgroup",
        })
    }
}

/// All programs on a hook, in the order in which they run.
fn all(hook: Hook, spot: &Spot) -> Vec<(u32, How)> {
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
            let tcx = namespace
                .within(query)
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default();
            let clsact = filters(hook, namespace, *index)
                .into_iter()
                .map(of(How::Clsact));
            tcx.into_iter().map(of(How::Tcx)).chain(clsact).collect()
        }
        Spot::Cgroup(cgroup) => {
            let programs = sys::link::query(&cgroup.directory, attach_type).unwrap_or_default();
            programs.into_iter().map(of(How::Cgroup)).collect()
        }
        Spot::Namespace(_) => Vec::new(),
    }
}

/// Whether a program is on a hook.
pub(crate) fn runs(hook: Hook, spot: &Spot, program: u32) -> bool {
    all(hook, spot).iter().any(|(id, _)| *id == program)
}

/// The programs on a hook but its root `own` and other programs of nke's, in the order in which
/// they run.
pub(crate) fn programs(
    hook: Hook,
    spot: &Spot,
    own: Option<u32>,
    others_of_ours: &[u32],
) -> Vec<Foreign> {
    let mut found = all(hook, spot);
    found.retain(|(id, _)| !others_of_ours.contains(id));
    let position = found.iter().position(|(id, _)| Some(*id) == own);
    if let Some(position) = position {
        found.remove(position);
    }
    let describe = |(nth, (program_id, how)): (usize, &(u32, How))| Foreign {
        program_id: *program_id,
        name: name(*program_id),
        how: *how,
        before: position.is_some_and(|position| nth < position),
    };
    found.iter().enumerate().map(describe).collect()
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
