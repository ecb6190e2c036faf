//! What hangs a root on the byte streams of a cgroup's TCP connections.
//!
//! The kernel runs stream programs for the sockets of a map. So such a chain has a sockhash, and a
//! program on the cgroup that puts each new connection into it:
//!
//! ```text
//! cgroup -> join (sock_ops) -> sockhash <- link <- root
//! ```
//!
//! A socket takes its own reference to the root as it joins, and keeps it until it closes; nke must
//! never take a socket out of the map, because the kernel then throws away what it has received and
//! the process has not read (`sk_psock_destroy`, net/core/skmsg.c), and on 6.18 may then never return
//! from the read ("TCP recvmsg seq # bug"). Instead the root holds the
//! sockhash. Once a chain is gone the sockets hold the root and the root the sockhash: they pass
//! everything on, and the kernel frees all of it with the last of them.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::build::{describe, made};
use crate::{
    cgroup::Cgroup,
    error::Result,
    hook::Hook,
    loader,
    mode::Mode,
    place,
    sys::{
        link,
        map::{self, Shape},
    },
};

/// Connections at a time that a chain can see: 16 bytes each, used or not, and some 100 more when
/// used. Further ones are not seen.
const MOST_SOCKETS: u32 = 1 << 18;

/// A root program, not yet attached.
pub(crate) struct Root {
    pub(crate) program: OwnedFd,
    pub(crate) id: u32,
    sockets: Option<OwnedFd>,
}

impl Root {
    /// Loads the root of a hook, with a sockhash where it takes one.
    pub(super) fn load(hook: Hook, frags: bool, next: &OwnedFd) -> Result<Self> {
        let row = hook.row();
        let mut instructions = place::root(next.as_raw_fd(), row.pass);
        let sockets = if row.modes.contains(&Mode::Sockmap) {
            let shape = Shape::sockhash("nke_sockets", MOST_SOCKETS);
            let sockets = made("sockhash", map::create(shape))?;
            instructions = place::holding(sockets.as_raw_fd(), instructions);
            Some(sockets)
        } else {
            None
        };
        let program = loader::load_own("nke_root", hook, frags, &instructions)?;
        let id = describe(&program)?;
        Ok(Self {
            program,
            id,
            sockets,
        })
    }

    /// Attaches it to its sockhash, and has the cgroup's connections join from now on. The links,
    /// in the order of [`PINS`].
    pub(super) fn hang(&self, hook: Hook, cgroup: &Cgroup) -> Result<io::Result<Vec<OwnedFd>>> {
        let Some(sockets) = &self.sockets else {
            return Ok(Err(io::ErrorKind::Unsupported.into()));
        };
        let events = Hook::SOCKET_EVENTS;
        let join = place::join(sockets.as_raw_fd());
        let join = loader::load_own("nke_join", events, false, &join)?;
        // First the root: a socket runs what the map has when it joins.
        Ok(
            link::create_at(&self.program, sockets, hook.row().attach_type).and_then(|link| {
                let join = link::create_at(&join, &cgroup.directory, events.row().attach_type)?;
                Ok(vec![link, join])
            }),
        )
    }
}

/// The pins of the links: the first is the root's.
pub(super) const PINS: [&str; 2] = ["link", "join"];
