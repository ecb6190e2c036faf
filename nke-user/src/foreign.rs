//! Programs on our hooks that are not nke's: shown, and never touched.

use std::fmt;

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use serde::Serialize;

use crate::{
    clsact,
    hook::{Hook, ProgramType},
    interface::Namespace,
    netlink::{self, Message},
    state::Target,
    sys,
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

/// The kernel's ways to attach a program to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The one XDP program.
    Xdp,
    /// The list of TCX programs (since 6.6).
    Tcx,
    /// A filter of the clsact queueing discipline.
    Clsact,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xdp => "XDP",
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
        })
    }
}

/// The programs on a hook but `own`, in the order in which they run.
pub(crate) fn programs(
    hook: Hook,
    namespace: &Namespace,
    target: Target,
    own: Option<u32>,
) -> Vec<Foreign> {
    let mut found: Vec<(u32, How)> = match hook.row().program_type {
        ProgramType::Xdp => xdp(namespace, target)
            .into_iter()
            .map(|id| (id, How::Xdp))
            .collect(),
        ProgramType::SchedCls => {
            let query = || sys::link::query(target.ifindex, hook.row().attach_type);
            let tcx = namespace
                .within(query)
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default();
            let tcx = tcx.into_iter().map(|id| (id, How::Tcx));
            tcx.chain(
                filters(hook, namespace, target)
                    .into_iter()
                    .map(|id| (id, How::Clsact)),
            )
            .collect()
        }
    };
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
pub(crate) fn owner(namespace: &Namespace, target: Target) -> String {
    match xdp(namespace, target) {
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

fn xdp(namespace: &Namespace, target: Target) -> Option<u32> {
    let mut message = LinkMessage::default();
    message.header.index = target.ifindex;
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

fn filters(hook: Hook, namespace: &Namespace, target: Target) -> Vec<u32> {
    let filters = clsact::filters(namespace, target.ifindex, hook == Hook::InterfaceOut);
    filters
        .unwrap_or_default()
        .into_iter()
        .map(|filter| filter.program)
        .collect()
}
