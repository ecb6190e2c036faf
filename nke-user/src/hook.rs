//! The hooks: where in the kernel's packet path a chain can sit.
//!
//! A hook is a row of one table: everything that the rest of nke needs to know about it is data
//! there. This module must never do I/O.
//!
//! ```
//! use nke::hook::Hook;
//!
//! let hook: Hook = "interface/xdp".parse().unwrap();
//! assert_eq!(hook.row().go_on, [2]); // XDP_PASS
//! ```

mod table;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use self::ProgramType::{CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, SockOps};
use self::table::TABLE;
use crate::{kernel::Version, mode::Mode, place};

/// One place in a layer of the network stack: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook(usize);

/// What the kernel calls a program of a hook (`enum bpf_prog_type`, uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramType {
    /// `BPF_PROG_TYPE_SCHED_CLS`
    SchedCls = 3,
    /// `BPF_PROG_TYPE_XDP`
    Xdp = 6,
    /// `BPF_PROG_TYPE_CGROUP_SKB`
    CgroupSkb = 8,
    /// `BPF_PROG_TYPE_CGROUP_SOCK`
    CgroupSock = 9,
    /// `BPF_PROG_TYPE_SOCK_OPS`
    SockOps = 13,
    /// `BPF_PROG_TYPE_SK_SKB`
    SkSkb = 14,
    /// `BPF_PROG_TYPE_SK_MSG`
    SkMsg = 16,
    /// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`
    CgroupSockAddr = 18,
    /// `BPF_PROG_TYPE_CGROUP_SOCKOPT`
    CgroupSockopt = 25,
    /// `BPF_PROG_TYPE_SK_LOOKUP`
    SkLookup = 30,
    /// `BPF_PROG_TYPE_NETFILTER`
    Netfilter = 32,
}

/// What a hook's chains are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An interface of a network namespace.
    Interface,
    /// A network namespace.
    Namespace,
    /// A cgroup, of version 2.
    Cgroup,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Interface => "an interface",
            Self::Namespace => "a network namespace",
            Self::Cgroup => "a cgroup",
        })
    }
}

/// Which way a hook is on. Along one way the hooks run in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the wire to a socket of this host.
    In,
    /// Past the host: between `ip/prerouting` of the way in and `ip/postrouting` of the way out.
    Forward,
    /// From a program's call to the wire.
    Out,
    /// Calls of a program, and events, that no one packet meets.
    Call,
}

impl Way {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::In, Self::Forward, Self::Out, Self::Call];
}

/// What differs between hooks.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The hook's name, as typed and printed.
    pub name: &'static str,
    /// The way that it is on.
    pub way: Way,
    /// What its chains are attached to.
    pub kind: Kind,
    /// The names of the ELF sections whose programs serve it: libbpf's
    /// (docs.kernel.org/bpf/libbpf/program_types.html). One with a `/` outdoes one without.
    pub sections: &'static [&'static str],
    /// The type that its programs are loaded as.
    pub program_type: ProgramType,
    /// `expected_attach_type` of its programs (`enum bpf_attach_type`).
    pub expected_attach_type: u32,
    /// `attach_type` of the root's link; of a netfilter hook, the hook's number.
    pub attach_type: u32,
    /// The ways to attach the root, the best first.
    pub modes: &'static [Mode],
    /// Verdicts that go on to the next node, compared as 32 bits; with none, every verdict does.
    pub go_on: &'static [i32],
    /// Verdicts that drop or deny, compared as 32 bits.
    pub dropped: &'static [i32],
    /// The verdict of an empty chain whose policy is to pass, and what a pass policy means.
    pub pass: i32,
    /// The verdict of a drop policy, where there can be one.
    pub drop: Option<i32>,
    /// The first kernel that has the hook.
    pub since: Version,
}

impl Row {
    /// Whether the kernel's test runs take packets without a link header here: what the host itself
    /// sends has none yet (net/bpf/test_run.c, `bpf_prog_test_run_nf`).
    pub(crate) fn is_tested_without_link(&self) -> bool {
        const NF_INET_LOCAL_OUT: u32 = 3;
        self.program_type == ProgramType::Netfilter && self.attach_type == NF_INET_LOCAL_OUT
    }
}

/// Whether two texts are the same, for constants.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl Hook {
    /// XDP on the device: before the kernel makes an `sk_buff`.
    pub const INTERFACE_XDP: Self = Self::named("interface/xdp");
    /// `sched_cls` on the device's ingress.
    pub const INTERFACE_IN: Self = Self::named("interface/in");
    /// `sched_cls` on the device's egress.
    pub const INTERFACE_OUT: Self = Self::named("interface/out");
    /// `sock_ops` on a cgroup: what becomes of its TCP connections.
    pub const SOCKET_EVENTS: Self = Self::named("socket/events");
    /// `setsockopt(2)`, before the kernel sees the option.
    pub const SETSOCKOPT: Self = Self::named("socket/setsockopt");

    /// The hook of this name, which is in the table.
    const fn named(name: &str) -> Self {
        let mut at = 0;
        while !same(TABLE[at].name, name) {
            at += 1;
        }
        Self(at)
    }

    /// Every hook, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..TABLE.len()).map(Self)
    }

    /// The hook's row.
    pub fn row(self) -> &'static Row {
        &TABLE[self.0]
    }

    /// The hooks that a program in the ELF section `section` serves, the default first.
    pub fn of_section(section: &str) -> Vec<Self> {
        let (kind, detail) = section.split_once('/').unwrap_or((section, ""));
        let detail = detail.split('/').next().unwrap_or_default();
        // Programs of a hook's type that answer another question than its chain's: those that the
        // kernel runs behind a redirect, and those that say how long a message is.
        if matches!(
            (kind, detail),
            ("xdp" | "xdp.frags", "cpumap" | "devmap") | ("sk_skb", "stream_parser")
        ) {
            return Vec::new();
        }
        let serving = |name: &str| {
            let has = |hook: &Self| hook.row().sections.contains(&name);
            Self::all().filter(has).collect::<Vec<_>>()
        };
        let exact = serving(&format!("{kind}/{detail}"));
        if exact.is_empty() {
            serving(kind)
        } else {
            exact
        }
    }

    /// How placement measures and judges a packet of this hook.
    pub fn rule(self, frags: bool) -> place::Rule {
        let length = match (self.row().program_type, frags) {
            (ProgramType::SchedCls | ProgramType::SkSkb | CgroupSkb, _) => place::Length::SkbLen,
            (ProgramType::SkMsg, _) => place::Length::MsgSize,
            (ProgramType::Xdp, false) => place::Length::XdpLinear,
            (ProgramType::Xdp, true) => place::Length::XdpFrags,
            _ => place::Length::None,
        };
        place::Rule {
            go_on: self.row().go_on,
            dropped: self.row().dropped,
            length,
            preemptible: self.preemptible(),
            bits: self.bits(),
        }
    }

    /// The bits that the verifier wants to see verdicts made of, if it does.
    fn bits(self) -> Option<i32> {
        let row = self.row();
        let free = [
            ProgramType::Xdp,
            ProgramType::SchedCls,
            ProgramType::SkMsg,
            ProgramType::SkSkb,
        ];
        let verdicts = row.go_on.iter().chain(row.dropped);
        let bits = verdicts.fold(row.pass, |bits, verdict| bits | verdict);
        (!free.contains(&row.program_type)).then_some(bits)
    }

    /// Whether something else can run here between two instructions of a run. Packets that come in
    /// are handled with bottom halves off all the way up to the socket, and so are all at an interface;
    /// what a program sends is handled in its own time, and can be interrupted by what comes in.
    fn preemptible(self) -> bool {
        match self.row().program_type {
            ProgramType::Xdp | ProgramType::SchedCls => false,
            ProgramType::Netfilter | CgroupSkb => self.row().way == Way::Out,
            CgroupSock | CgroupSockAddr | CgroupSockopt | SockOps => true,
            ProgramType::SkLookup | ProgramType::SkMsg | ProgramType::SkSkb => true,
        }
    }

    /// Whether a program that the kernel calls behind can undo a denial: those of a cgroup, where
    /// they have `bpf_set_retval` (`cgroup_common_func_proto`, kernel/bpf/cgroup.c; since 5.18).
    pub(crate) fn can_be_undone(self) -> bool {
        let types = [CgroupSock, CgroupSockAddr, CgroupSockopt];
        let row = self.row();
        row.drop.is_some() && types.contains(&row.program_type)
    }

    /// Where a context of this hook has its socket, if that can have opted in.
    ///
    /// At `socket/create` nobody has the socket yet, and at other layers it is not sure that there
    /// is one. The offsets are those of uapi/linux/bpf.h.
    pub fn socket(self) -> Option<place::Socket> {
        const BPF_CGROUP_INET_SOCK_CREATE: u32 = 2;
        let row = self.row();
        match row.program_type {
            CgroupSkb => Some(place::Socket::At(168)), // struct __sk_buff
            SockOps => Some(place::Socket::At(184)),   // struct bpf_sock_ops
            CgroupSockAddr => Some(place::Socket::At(64)), // struct bpf_sock_addr
            CgroupSockopt => Some(place::Socket::At(0)), // struct bpf_sockopt
            CgroupSock if row.attach_type == BPF_CGROUP_INET_SOCK_CREATE => None,
            CgroupSock => Some(place::Socket::Context),
            ProgramType::SkMsg => Some(place::Socket::At(72)), // struct sk_msg_md
            ProgramType::SchedCls
            | ProgramType::Xdp
            | ProgramType::SkSkb
            | ProgramType::SkLookup
            | ProgramType::Netfilter => None,
        }
    }

    /// The name without the address family.
    fn family(self) -> &'static str {
        let name = self.row().name;
        let ends = ["4", "6", "-unix"];
        ends.into_iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name)
    }

    /// The name as part of a path: no slash, no dot.
    pub(crate) fn directory(self) -> String {
        self.row().name.replace('/', "-")
    }
}

/// Hooks as they are asked for: one, or the family of those that differ only in the address
/// family: `socket/connect` is `socket/connect4`, `socket/connect6` and `socket/connect-unix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family(Vec<Hook>);

impl Family {
    /// All hooks of a hook's family.
    pub fn of(hook: Hook) -> Self {
        Self(
            Hook::all()
                .filter(|other| other.family() == hook.family())
                .collect(),
        )
    }

    /// Its hooks, in the order of the table.
    pub fn hooks(&self) -> &[Hook] {
        &self.0
    }

    /// Whether a hook is meant.
    pub fn has(&self, hook: Hook) -> bool {
        self.0.contains(&hook)
    }
}

impl From<Hook> for Family {
    fn from(hook: Hook) -> Self {
        Self(vec![hook])
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let family: Vec<_> = Hook::all().filter(|hook| hook.family() == text).collect();
        if family.is_empty() {
            text.parse().map(|hook: Hook| hook.into())
        } else {
            Ok(Self(family))
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            several => f.pad(several.first().map_or("", |hook| hook.family())),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().name)
    }
}

impl FromStr for Hook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all()
            .find(|hook| hook.row().name == text)
            .ok_or_else(|| {
                let mut names: Vec<_> = Self::all().map(Self::family).collect();
                names.dedup();
                format!("no such hook; the hooks are {}", names.join(", "))
            })
    }
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.row().name)
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_serve_hooks() {
        let check = |section, names: &[&str]| {
            let hooks = Hook::of_section(section);
            let found: Vec<_> = hooks.iter().map(|hook| hook.row().name).collect();
            assert_eq!(found, names, "{section}");
        };
        check("xdp", &["interface/xdp"]);
        check("xdp.frags/anything", &["interface/xdp"]);
        check("xdp/devmap", &[]);
        check("tcx/egress", &["interface/out"]);
        check("tc/ingress", &["interface/in"]);
        check("classifier/x", &["interface/in", "interface/out"]);
        check("tcx", &[]);
        check("kprobe/x", &[]);
        check(
            "netfilter",
            &[
                "ip/prerouting",
                "ip/in",
                "ip/forward",
                "ip/out",
                "ip/postrouting",
            ],
        );
        check("cgroup_skb/ingress", &["socket/data-in"]);
        check("cgroup/skb", &["socket/data-in", "socket/data-out"]);
        check("cgroup/connect4", &["socket/connect4"]);
        check("sk_lookup/x", &["socket/lookup"]);
        check("sk_skb/stream_verdict/x", &["socket/stream-in"]);
        check("sk_skb/verdict", &["socket/stream-in"]);
        check("sk_skb/stream_parser", &[]);
        check("sk_msg/x", &["socket/stream-out"]);
    }

    #[test]
    fn a_family_is_all_its_hooks() {
        let check = |text: &str, names: &[&str]| {
            let family: Family = text.parse().unwrap();
            let found: Vec<_> = family.hooks().iter().map(|hook| hook.row().name).collect();
            assert_eq!(found, names);
            assert_eq!(family.to_string(), text);
        };
        check("socket/bind", &["socket/bind4", "socket/bind6"]);
        check("socket/bind6", &["socket/bind6"]);
        check("interface/in", &["interface/in"]);
        assert!("socket".parse::<Family>().is_err());
    }

    #[test]
    fn names_are_paths_and_back() {
        for hook in Hook::all() {
            assert_eq!(hook.to_string().parse(), Ok(hook));
            assert!(!hook.directory().contains(['/', '.']));
            assert_eq!(
                Hook::all()
                    .filter(|other| other.row().name == hook.row().name)
                    .count(),
                1
            );
        }
        assert_eq!(Hook::INTERFACE_IN.row().name, "interface/in");
        assert_eq!(Hook::INTERFACE_OUT.row().name, "interface/out");
        assert_eq!(Hook::SETSOCKOPT.row().name, "socket/setsockopt");
    }
}
