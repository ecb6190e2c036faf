//! Protection against locking oneself out: whether a chain that is about to be put in force would
//! cut the SSH connection that the command came by.
//!
//! The connection is what `SSH_CONNECTION` says, of the command or of a process that it descends
//! from (sudo takes it away), if the kernel has such a socket. Packets of it, in and out, are run
//! through the chain while it is still aside, by the kernel itself (`BPF_PROG_TEST_RUN`): so what
//! judges is what would run. This module must never change a chain.
//!
//! ```no_run
//! if let Some(flow) = nke::lockout::Flow::of_caller() {
//!     println!("you are here by {flow}");
//! }
//! ```
//!
//! What it cannot know: rules that ask for an interface are tried by that of the route to the far end, and those of the IP
//! layer that stay as they are by the loopback device; a connection that comes by way of address translation looks different at
//! `interface/xdp`, and an extension may judge by more than a packet (how many there were).

mod connection;
pub(crate) mod packet;
mod route;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
};

use crate::{
    filter::{Caller, InterfaceName, Mac},
    hook::{Hook, ProgramType, Way},
    interface::Namespace,
    sys::program::{self, TestRun},
    target::Target,
};

/// The connection that the command came by.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The far end, where the user sits.
    peer: SocketAddr,
    /// This host's end.
    local: SocketAddr,
    /// The network namespace that its socket is in.
    netns: u64,
    /// The interfaces that it goes by; `None` if that cannot be found out.
    interfaces: Option<Vec<u32>>,
    /// The hardware addresses of whose frames it comes by, and of this host's; `None` if there are none, or they are not
    /// known.
    hardware: Option<(Mac, Mac)>,
    /// The cgroups whose programs meet it: that of its socket, and those above. `None` if that
    /// cannot be found out.
    cgroups: Option<Vec<u64>>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.peer, self.local)
    }
}

impl Flow {
    /// The SSH connection of whoever runs this process; `None` if there is none.
    pub fn of_caller() -> Option<Self> {
        connection::of_caller()
    }

    /// The connection as rules are asked about it.
    pub(crate) const fn caller(&self) -> Caller {
        Caller {
            far: self.peer,
            near: self.local,
            hardware: self.hardware,
        }
    }

    /// Whether it is IPv6 on the wire.
    pub(crate) const fn is_v6(&self) -> bool {
        match self.peer.ip() {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
        }
    }

    /// Whether its packets meet a chain.
    pub(crate) fn meets(&self, hook: Hook, target: Target) -> bool {
        let judged = matches!(
            hook.row().program_type,
            ProgramType::Xdp
                | ProgramType::SchedCls
                | ProgramType::Netfilter
                | ProgramType::CgroupSkb
        );
        let here = match target {
            Target::Interface { netns, ifindex } => {
                let interfaces = self.interfaces.as_ref();
                netns == self.netns && interfaces.is_none_or(|all| all.contains(&ifindex))
            }
            Target::Namespace { netns } => netns == self.netns,
            Target::Cgroup { id } => self.cgroups.as_ref().is_none_or(|all| all.contains(&id)),
        };
        judged && here && hook.row().way != Way::Forward
    }

    /// By which interface its packets come to a chain of the IP layer; nothing at other hooks, where that is said of each
    /// packet, and if it cannot be found out. The kernel's test runs come by the loopback device there.
    pub(crate) fn taken_to_come_by(
        &self,
        hook: Hook,
        namespace: &Namespace,
    ) -> Option<InterfaceName> {
        let netfilter = hook.row().program_type == ProgramType::Netfilter;
        let route = self.interfaces.as_ref().filter(|_| netfilter)?.first()?;
        namespace.interface(*route)?.parse().ok()
    }

    /// Whether a chain cuts it: what a root answers to packets of it, with data and without. One
    /// that cannot be asked is taken to.
    pub(crate) fn is_cut_by(&self, hook: Hook, target: Target, root: impl AsFd) -> bool {
        let passes = |payload: &[u8]| {
            let packet = packet::tcp(self.ends(hook), payload);
            let probe = packet::probe(hook, target.ifindex(), packet);
            let run = TestRun {
                packet: &probe.packet,
                context: &probe.context,
                ..TestRun::default()
            };
            // Before 5.15 XDP takes no context.
            let bare = TestRun {
                context: &[],
                ..run
            };
            let ran = program::test_run(&root, &run);
            let ran = ran.or_else(|_| program::test_run(&root, &bare));
            ran.is_ok_and(|(verdict, _)| lets_through(hook, verdict.cast_signed()))
        };
        !(passes(&[0x5a; 64]) && passes(&[]))
    }

    /// From whom to whom its packets are at a hook.
    fn ends(&self, hook: Hook) -> (SocketAddr, SocketAddr) {
        match hook.row().way {
            Way::In | Way::Forward | Way::Call => (self.peer, self.local),
            Way::Out => (self.local, self.peer),
        }
    }
}

/// Whether a packet with this verdict goes on its way to where it was going.
fn lets_through(hook: Hook, verdict: i32) -> bool {
    const TC_ACT_OK: i32 = 0;
    const TC_ACT_RECLASSIFY: i32 = 1;
    let row = hook.row();
    let more: &[i32] = if row.program_type == ProgramType::SchedCls {
        &[TC_ACT_OK, TC_ACT_RECLASSIFY]
    } else if row.program_type == ProgramType::CgroupSkb && row.way == Way::Out {
        // With a word to slow down (NET_XMIT_CN).
        &[3]
    } else {
        &[]
    };
    verdict == row.pass || row.go_on.contains(&verdict) || more.contains(&verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_meets_the_chains_on_its_way() {
        let flow = Flow {
            peer: "192.0.2.1:50000".parse().unwrap(),
            local: "192.0.2.2:22".parse().unwrap(),
            netns: 7,
            interfaces: Some(vec![2]),
            hardware: None,
            cgroups: Some(vec![1, 5]),
        };
        let check = |hook: &str, target, meets| {
            assert_eq!(flow.meets(hook.parse().unwrap(), target), meets, "{hook}");
        };
        let interface = |netns, ifindex| Target::Interface { netns, ifindex };
        check("interface/xdp", interface(7, 2), true);
        check("interface/out", interface(7, 3), false);
        check("interface/in", interface(8, 2), false);
        check("ip/in", Target::Namespace { netns: 7 }, true);
        check("ip/forward", Target::Namespace { netns: 7 }, false);
        check("socket/lookup", Target::Namespace { netns: 7 }, false);
        check("socket/data-in", Target::Cgroup { id: 5 }, true);
        check("socket/data-out", Target::Cgroup { id: 6 }, false);
        check("socket/connect4", Target::Cgroup { id: 5 }, false);
    }

    #[test]
    fn verdicts_let_through() {
        let check = |hook: &str, verdict, passes| {
            assert_eq!(
                lets_through(hook.parse().unwrap(), verdict),
                passes,
                "{hook} {verdict}"
            );
        };
        check("interface/xdp", 2, true);
        check("interface/xdp", 1, false);
        check("interface/xdp", 3, false);
        check("interface/in", -1, true);
        check("interface/in", 0, true);
        check("interface/in", 2, false);
        check("ip/out", 1, true);
        check("ip/out", 0, false);
        check("socket/data-in", 3, false);
        check("socket/data-out", 3, true);
        check("socket/data-out", 0, false);
    }
}
