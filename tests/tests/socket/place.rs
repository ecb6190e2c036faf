//! A place of one's own: the world, and a cgroup whose sockets live in the world's inside.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use nke_tests::{Cgroup, INSIDE_V4, INSIDE_V6, Node, Ran, World, socket, stranger};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::Deserialize;

pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) cgroup: Cgroup,
}

/// `nke chain --json`, as far as it matters here.
#[derive(Deserialize)]
struct Chains {
    chains: Vec<Chain>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Chain {
    pub(crate) hook: String,
    pub(crate) cgroup: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) foreign: Vec<Foreign>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Foreign {
    pub(crate) program_id: u32,
    pub(crate) name: String,
    pub(crate) how: String,
    pub(crate) before: bool,
    pub(crate) above: Option<String>,
}

/// A socket of this mark is what the strangers deny.
pub(crate) const MARK: u32 = 57005;

/// Looks on.
pub(crate) fn watch(name: &str) -> String {
    stranger::object("sockets.c", name, &[])
}

/// Denies what a marked socket does.
pub(crate) fn deny() -> String {
    stranger::object("sockets.c", "deny", &["-DDENY"])
}

/// Denies likewise, with an errno.
pub(crate) fn deny_with(errno: i32) -> String {
    let flag = format!("-DERRNO={errno}");
    stranger::object("sockets.c", &format!("deny{errno}"), &["-DDENY", &flag])
}

/// Writes a digit behind a call's number.
pub(crate) fn trail(digit: u8) -> String {
    let flag = format!("-DTRAIL={digit}");
    stranger::object("sockets.c", &format!("trail{digit}"), &[&flag])
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            world: World::with_addresses(),
            cgroup: Cgroup::new(),
        }
    }

    /// Runs `nke` with these words on the cgroup.
    #[must_use]
    pub(crate) fn nke(&self, words: &[&str]) -> Ran {
        let place = ["--cgroup", self.cgroup.path()];
        self.world.nke(&[words, &place].concat())
    }

    pub(crate) fn attach(&self, hook: &str, what: &str) {
        self.nke(&["attach", what, "--hook", hook]).ok();
    }

    /// Three at a hook: one that looks on, one that denies, and one that comes behind.
    pub(crate) fn guard(&self, hook: &str, deny: &str) {
        for what in [&watch("first"), deny, &watch("last")] {
            self.attach(hook, what);
        }
    }

    /// Three at a hook, which write 123 when they run in the order that was asked for.
    pub(crate) fn trails(&self, hook: &str) {
        for (digit, priority) in [(3, "90"), (1, "10"), (2, "50")] {
            let words = ["attach", &trail(digit), "--hook", hook, "--priority"];
            self.nke(&[&words[..], &[priority]].concat()).ok();
        }
    }

    /// Takes all that is at a hook away.
    pub(crate) fn clear(&self, hook: &str) {
        for chain in self.chains(hook) {
            for node in chain.nodes {
                self.world.nke(&["detach", &node.id.to_string()]).ok();
            }
        }
    }

    /// The chains of a hook or a family.
    pub(crate) fn chains(&self, hook: &str) -> Vec<Chain> {
        let words = ["chain", "--json", "--hook", hook];
        self.nke(&words).json::<Chains>().chains
    }

    /// The only chain of a hook.
    pub(crate) fn chain(&self, hook: &str) -> Chain {
        let mut chains = self.chains(hook);
        assert_eq!(chains.len(), 1, "{chains:?}");
        chains.remove(0)
    }

    /// What each node of a hook let go on, and what it denied.
    pub(crate) fn tallies(&self, hook: &str) -> Vec<(u64, u64)> {
        let tally = |node: &Node| {
            let packets = node.packets.expect("it counts");
            assert_eq!(packets.other, 0);
            (packets.go_on, packets.dropped)
        };
        self.chain(hook).nodes.iter().map(tally).collect()
    }

    /// Does something on a thread of the cgroup, inside.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.cgroup.enter(&self.world.inside, work)
    }

    /// A datagram socket of the cgroup that is not bound to anything.
    pub(crate) fn udp(&self, v6: bool) -> UdpSocket {
        let made = self.enter(|| open(v6, SocketType::DGRAM));
        made.expect("nobody denies it").into()
    }
}

/// A socket of the caller's cgroup.
pub(crate) fn open(v6: bool, kind: SocketType) -> io::Result<std::os::fd::OwnedFd> {
    let family = if v6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    // A raw socket has no protocol of its own accord: that of pings.
    let ping = if v6 {
        rustix::net::ipproto::ICMPV6
    } else {
        rustix::net::ipproto::ICMP
    };
    let protocol = (kind == SocketType::RAW).then_some(ping);
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, protocol)?)
}

/// Gives a socket the mark that is denied.
pub(crate) fn mark(socket: impl AsFd) {
    let value = MARK.to_ne_bytes();
    socket::set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, &value).expect("root may mark");
}

/// A port of the inside.
pub(crate) fn inside(v6: bool, port: u16) -> SocketAddr {
    let address = if v6 {
        IpAddr::from(INSIDE_V6)
    } else {
        INSIDE_V4.into()
    };
    SocketAddr::new(address, port)
}

/// Why something was denied.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(denied: io::Result<T>) -> i32 {
    let error = denied.expect_err("it is to be denied");
    error.raw_os_error().expect("the kernel said so")
}
