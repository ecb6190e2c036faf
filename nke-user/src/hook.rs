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

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

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

const XDP_ABORTED: i32 = 0;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_PIPE: i32 = 3;

const XDP: Row = Row {
    name: "interface/xdp",
    way: Way::In,
    kind: Kind::Interface,
    sections: &["xdp", "xdp.frags"],
    program_type: ProgramType::Xdp,
    expected_attach_type: 37, // BPF_XDP
    attach_type: 37,
    modes: &[Mode::Native, Mode::Generic],
    go_on: &[XDP_PASS],
    dropped: &[XDP_DROP, XDP_ABORTED],
    pass: XDP_PASS,
    drop: Some(XDP_DROP),
    since: Version::new(5, 9),
};

const IN: Row = Row {
    name: "interface/in",
    sections: &[
        "tc",
        "classifier",
        "action",
        "netkit",
        "tc/ingress",
        "tcx/ingress",
    ],
    program_type: ProgramType::SchedCls,
    expected_attach_type: 0,
    attach_type: 46, // BPF_TCX_INGRESS
    modes: &[Mode::Tcx, Mode::Clsact],
    go_on: &[TC_ACT_UNSPEC, TC_ACT_PIPE],
    dropped: &[TC_ACT_SHOT],
    pass: TC_ACT_UNSPEC,
    drop: Some(TC_ACT_SHOT),
    since: Version::new(5, 10),
    ..XDP
};

const OUT: Row = Row {
    name: "interface/out",
    way: Way::Out,
    sections: &[
        "tc",
        "classifier",
        "action",
        "netkit",
        "tc/egress",
        "tcx/egress",
    ],
    attach_type: 47, // BPF_TCX_EGRESS
    ..IN
};

const IP: Row = Row {
    name: "ip/in",
    way: Way::In,
    kind: Kind::Namespace,
    sections: &["netfilter"],
    program_type: ProgramType::Netfilter,
    expected_attach_type: 45, // BPF_NETFILTER
    attach_type: 1,           // NF_INET_LOCAL_IN
    modes: &[Mode::Netfilter],
    go_on: &[1],   // NF_ACCEPT
    dropped: &[0], // NF_DROP
    pass: 1,
    drop: Some(0),
    since: Version::new(6, 4),
};

/// The hook of this number, `enum nf_inet_hooks` of uapi/linux/netfilter.h.
const fn ip(name: &'static str, way: Way, number: u32) -> Row {
    Row {
        name,
        way,
        attach_type: number,
        ..IP
    }
}

const CGROUP: Row = Row {
    name: "socket/data-in",
    way: Way::In,
    kind: Kind::Cgroup,
    sections: &["cgroup_skb/ingress", "cgroup/skb"],
    program_type: CgroupSkb,
    expected_attach_type: 0, // BPF_CGROUP_INET_INGRESS
    attach_type: 0,
    modes: &[Mode::Cgroup],
    go_on: &[1],
    dropped: &[0],
    pass: 1,
    drop: Some(0),
    since: Version::new(5, 10),
};

/// A hook of a cgroup, whose programs are loaded for the attach type that they are attached as.
const fn cgroup(
    name: &'static str,
    sections: &'static [&'static str],
    program_type: ProgramType,
    attach_type: u32,
) -> Row {
    Row {
        name,
        way: Way::Call,
        sections,
        program_type,
        expected_attach_type: attach_type,
        attach_type,
        ..CGROUP
    }
}

/// A hook of the byte streams of a cgroup's TCP connections.
const fn stream(
    name: &'static str,
    way: Way,
    sections: &'static [&'static str],
    program_type: ProgramType,
    attach_type: u32,
) -> Row {
    Row {
        modes: &[Mode::Sockmap],
        since: Version::new(6, 10),
        ..on(way, cgroup(name, sections, program_type, attach_type))
    }
}

/// One whose programs can only let go on.
const fn cannot_drop(row: Row) -> Row {
    Row {
        drop: None,
        dropped: &[],
        ..row
    }
}

/// Binding also answers 3: allowed, and without `CAP_NET_BIND_SERVICE` (since 5.12).
const fn bind(row: Row) -> Row {
    Row {
        go_on: &[1, 3],
        dropped: &[0, 2],
        ..row
    }
}

use ProgramType::{CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, SockOps};

/// A hook on another way than that of a mere call.
const fn on(way: Way, row: Row) -> Row {
    Row { way, ..row }
}

/// Every hook, way by way, and along each way in the order in which the kernel runs them; those of
/// a call in the order in which a program's calls usually come. Why `ip/postrouting` is before
/// `socket/data-out`: `ip_finish_output` (net/ipv4/ip_output.c) asks the cgroup, and netfilter is
/// done by then. `socket/lookup` is between `ip/in` and `socket/data-in`, since the cgroup is that
/// of the socket that it finds (`__udp4_lib_rcv`, `tcp_v4_rcv`).
static TABLE: [Row; 37] = [
    XDP,
    IN,
    ip("ip/prerouting", Way::In, 0),
    IP,
    // Of a network namespace, though of the socket layer: which socket a packet is for.
    Row {
        kind: Kind::Namespace,
        modes: &[Mode::Namespace],
        since: Version::new(5, 9),
        ..on(
            Way::In,
            cgroup("socket/lookup", &["sk_lookup"], ProgramType::SkLookup, 36),
        )
    },
    CGROUP,
    // BPF_SK_SKB_VERDICT, whichever of the two the section names: the kernel runs them alike.
    stream(
        "socket/stream-in",
        Way::In,
        &["sk_skb", "sk_skb/verdict", "sk_skb/stream_verdict"],
        ProgramType::SkSkb,
        38,
    ),
    on(
        Way::In,
        cannot_drop(cgroup(
            "socket/recvmsg4",
            &["cgroup/recvmsg4"],
            CgroupSockAddr,
            19,
        )),
    ),
    on(
        Way::In,
        cannot_drop(cgroup(
            "socket/recvmsg6",
            &["cgroup/recvmsg6"],
            CgroupSockAddr,
            20,
        )),
    ),
    on(
        Way::In,
        unix(cannot_drop(cgroup(
            "socket/recvmsg-unix",
            &["cgroup/recvmsg_unix"],
            CgroupSockAddr,
            51,
        ))),
    ),
    ip("ip/forward", Way::Forward, 2),
    on(
        Way::Out,
        cgroup(
            "socket/create",
            &["cgroup/sock_create", "cgroup/sock"],
            CgroupSock,
            2,
        ),
    ),
    on(
        Way::Out,
        bind(cgroup("socket/bind4", &["cgroup/bind4"], CgroupSockAddr, 8)),
    ),
    on(
        Way::Out,
        bind(cgroup("socket/bind6", &["cgroup/bind6"], CgroupSockAddr, 9)),
    ),
    on(
        Way::Out,
        cgroup("socket/post-bind4", &["cgroup/post_bind4"], CgroupSock, 12),
    ),
    on(
        Way::Out,
        cgroup("socket/post-bind6", &["cgroup/post_bind6"], CgroupSock, 13),
    ),
    on(
        Way::Out,
        cgroup("socket/connect4", &["cgroup/connect4"], CgroupSockAddr, 10),
    ),
    on(
        Way::Out,
        cgroup("socket/connect6", &["cgroup/connect6"], CgroupSockAddr, 11),
    ),
    on(
        Way::Out,
        unix(cgroup(
            "socket/connect-unix",
            &["cgroup/connect_unix"],
            CgroupSockAddr,
            49,
        )),
    ),
    on(
        Way::Out,
        cgroup("socket/sendmsg4", &["cgroup/sendmsg4"], CgroupSockAddr, 14),
    ),
    on(
        Way::Out,
        cgroup("socket/sendmsg6", &["cgroup/sendmsg6"], CgroupSockAddr, 15),
    ),
    on(
        Way::Out,
        unix(cgroup(
            "socket/sendmsg-unix",
            &["cgroup/sendmsg_unix"],
            CgroupSockAddr,
            50,
        )),
    ),
    stream(
        "socket/stream-out",
        Way::Out,
        &["sk_msg"],
        ProgramType::SkMsg,
        7, // BPF_SK_MSG_VERDICT
    ),
    ip("ip/out", Way::Out, 3),
    ip("ip/postrouting", Way::Out, 4),
    // Sending also answers 2 and 3: drop and send, and tell the sender of congestion.
    Row {
        way: Way::Out,
        go_on: &[1, 3],
        dropped: &[0, 2],
        ..cgroup(
            "socket/data-out",
            &["cgroup_skb/egress", "cgroup/skb"],
            CgroupSkb,
            1,
        )
    },
    OUT,
    cgroup(
        "socket/setsockopt",
        &["cgroup/setsockopt"],
        CgroupSockopt,
        22,
    ),
    cgroup(
        "socket/getsockopt",
        &["cgroup/getsockopt"],
        CgroupSockopt,
        21,
    ),
    cannot_drop(cgroup(
        "socket/getsockname4",
        &["cgroup/getsockname4"],
        CgroupSockAddr,
        31,
    )),
    cannot_drop(cgroup(
        "socket/getsockname6",
        &["cgroup/getsockname6"],
        CgroupSockAddr,
        32,
    )),
    unix(cannot_drop(cgroup(
        "socket/getsockname-unix",
        &["cgroup/getsockname_unix"],
        CgroupSockAddr,
        53,
    ))),
    cannot_drop(cgroup(
        "socket/getpeername4",
        &["cgroup/getpeername4"],
        CgroupSockAddr,
        29,
    )),
    cannot_drop(cgroup(
        "socket/getpeername6",
        &["cgroup/getpeername6"],
        CgroupSockAddr,
        30,
    )),
    unix(cannot_drop(cgroup(
        "socket/getpeername-unix",
        &["cgroup/getpeername_unix"],
        CgroupSockAddr,
        52,
    ))),
    Row {
        go_on: &[],
        ..cannot_drop(cgroup("socket/events", &["sockops"], SockOps, 3))
    },
    cgroup("socket/release", &["cgroup/sock_release"], CgroupSock, 34),
];

/// A hook of AF_UNIX sockets.
const fn unix(row: Row) -> Row {
    Row {
        since: Version::new(6, 7),
        ..row
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
        }
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
