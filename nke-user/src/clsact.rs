//! The clsact queueing discipline: how a `sched_cls` program is attached without TCX.
//!
//! A filter stays until it is deleted, whoever made it. nke's is known by its priority, its
//! handle and its program; filters of others are never touched.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use serde::{Deserialize, Serialize};

use crate::{
    hook::Hook,
    interface::Namespace,
    kernel::Version,
    netlink::{self, Message},
};

/// From this kernel on TCX does the same with links.
pub(crate) const NOT_NEEDED_SINCE: Version = Version::new(6, 6);

/// The filter that calls a root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filter {
    egress: bool,
    priority: u16,
    /// Whether the queueing discipline is nke's as well.
    owns_qdisc: bool,
}

/// nke's filters have this handle.
const HANDLE: TcHandle = TcHandle { major: 0, minor: 1 };
/// `ETH_P_ALL` in network byte order, as the low half of `tcm_info`.
const ALL_PROTOCOLS: u32 = 0x0003_u16.to_be() as u32;

fn parent(egress: bool) -> TcHandle {
    let minor = if egress {
        TcHandle::MIN_EGRESS
    } else {
        TcHandle::MIN_INGRESS
    };
    TcHandle {
        major: u16::MAX,
        minor,
    }
}

fn message(ifindex: u32) -> io::Result<TcMessage> {
    i32::try_from(ifindex)
        .map(TcMessage::with_index)
        .map_err(io::Error::other)
}

/// Chooses what the filter will be: behind all that are there. The queueing discipline is nke's if
/// there is none, or if the filter of the other direction says so. Changes nothing.
pub(crate) fn plan(
    namespace: &Namespace,
    ifindex: u32,
    hook: Hook,
    other: Option<&Filter>,
) -> io::Result<Filter> {
    let egress = hook == Hook::INTERFACE_OUT;
    let present = has_qdisc(namespace, ifindex)?;
    let filters = if present {
        every(namespace, ifindex, egress)?
    } else {
        Vec::new()
    };
    let last = filters.iter().filter_map(priority).max();
    Ok(Filter {
        egress,
        priority: last.map_or(1, |last| last.saturating_add(1)),
        owns_qdisc: !present || other.is_some_and(|other| other.owns_qdisc),
    })
}

fn qdisc(ifindex: u32) -> io::Result<TcMessage> {
    let mut qdisc = message(ifindex)?;
    qdisc.header.parent = TcHandle::CLSACT;
    qdisc.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    qdisc
        .attributes
        .push(TcAttribute::Kind("clsact".to_owned()));
    Ok(qdisc)
}

fn has_qdisc(namespace: &Namespace, ifindex: u32) -> io::Result<bool> {
    let question = Message::GetQueueDiscipline(message(ifindex)?);
    let answers = netlink::dump(namespace, question)?;
    let clsact = TcAttribute::Kind("clsact".to_owned());
    Ok(answers.iter().any(|answer| {
        matches!(answer, Message::NewQueueDiscipline(found)
            if u32::try_from(found.header.index) == Ok(ifindex)
                && found.attributes.contains(&clsact))
    }))
}

/// A `bpf` filter of an interface.
pub(crate) struct Found {
    pub(crate) priority: u16,
    pub(crate) handle: TcHandle,
    pub(crate) program: u32,
}

/// A filter's priority, which is the upper half of a word.
fn priority(filter: &TcMessage) -> Option<u16> {
    u16::try_from(filter.header.info >> 16).ok()
}

/// All filters of one direction, of whatever kind, in the order in which they run.
fn every(namespace: &Namespace, ifindex: u32, egress: bool) -> io::Result<Vec<TcMessage>> {
    let mut question = message(ifindex)?;
    question.header.parent = parent(egress);
    let answers = netlink::dump(namespace, Message::GetTrafficFilter(question))?;
    let filters = answers.into_iter().filter_map(|answer| {
        if let Message::NewTrafficFilter(filter) = answer {
            Some(filter)
        } else {
            None
        }
    });
    Ok(filters.collect())
}

/// The filters of one direction that are eBPF programs, in the order in which they run.
pub(crate) fn filters(namespace: &Namespace, ifindex: u32, egress: bool) -> io::Result<Vec<Found>> {
    let filters = every(namespace, ifindex, egress)?.into_iter();
    let found = filters.filter_map(|filter| {
        let priority = priority(&filter)?;
        let mut options = filter.attributes.into_iter();
        let options = options.find_map(|attribute| {
            if let TcAttribute::Options(options) = attribute {
                Some(options)
            } else {
                None
            }
        })?;
        let program = options.into_iter().find_map(|option| {
            if let TcOption::Bpf(TcFilterBpfOption::ProgId(id)) = option {
                Some(id)
            } else {
                None
            }
        })?;
        Some(Found {
            priority,
            handle: filter.header.handle,
            program,
        })
    });
    Ok(found.collect())
}

impl Filter {
    fn message(&self, ifindex: u32) -> io::Result<TcMessage> {
        let mut filter = message(ifindex)?;
        filter.header.parent = parent(self.egress);
        filter.header.handle = HANDLE;
        filter.header.info = u32::from(self.priority) << 16 | ALL_PROTOCOLS;
        filter.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        Ok(filter)
    }

    fn set(
        &self,
        namespace: &Namespace,
        ifindex: u32,
        root: &OwnedFd,
        flags: u16,
    ) -> io::Result<()> {
        let mut filter = self.message(ifindex)?;
        filter.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(root.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName("nke_root".to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        netlink::order(namespace, Message::NewTrafficFilter(filter), flags).map(drop)
    }

    /// Adds the filter, and the queueing discipline if there is none.
    pub(crate) fn add(
        &self,
        namespace: &Namespace,
        ifindex: u32,
        root: &OwnedFd,
    ) -> io::Result<()> {
        if self.owns_qdisc && !has_qdisc(namespace, ifindex)? {
            let created = Message::NewQueueDiscipline(qdisc(ifindex)?);
            netlink::order(namespace, created, NLM_F_CREATE | NLM_F_EXCL)?;
        }
        self.set(namespace, ifindex, root, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Has it call another root, in one step.
    pub(crate) fn replace(
        &self,
        namespace: &Namespace,
        ifindex: u32,
        root: &OwnedFd,
    ) -> io::Result<()> {
        self.set(namespace, ifindex, root, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// The program that it calls; `None` if it is not there.
    pub(crate) fn program(&self, namespace: &Namespace, ifindex: u32) -> io::Result<Option<u32>> {
        let mut found = match filters(namespace, ifindex, self.egress) {
            Ok(found) => found.into_iter(),
            // The interface is gone.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is = |found: &Found| found.priority == self.priority && found.handle == HANDLE;
        Ok(found.find(is).map(|found| found.program))
    }

    /// Deletes it, if it is there and calls a root of nke's, and the queueing discipline if nke
    /// made it and it has no other filter.
    pub(crate) fn remove(
        &self,
        namespace: &Namespace,
        ifindex: u32,
        is_root: impl Fn(u32) -> bool,
    ) -> io::Result<()> {
        if self.program(namespace, ifindex)?.is_some_and(is_root) {
            let filter = Message::DelTrafficFilter(self.message(ifindex)?);
            netlink::order(namespace, filter, 0)?;
        }
        let empty = |egress| every(namespace, ifindex, egress).is_ok_and(|all| all.is_empty());
        if self.owns_qdisc && has_qdisc(namespace, ifindex)? && empty(false) && empty(true) {
            netlink::order(namespace, Message::DelQueueDiscipline(qdisc(ifindex)?), 0)?;
        }
        Ok(())
    }
}
