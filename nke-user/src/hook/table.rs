//! The table of the hooks: data, and the few words that spell it.
//!
//! A row holds only what differs from the one that it is made of. Nothing here may depend on the
//! running kernel.
//!
//! ```ignore
//! let first = &TABLE[0];
//! assert_eq!(first.name, "interface/xdp");
//! ```

use super::ProgramType::{CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, SockOps};
use super::{Kind, ProgramType, Row, Way};
use crate::{kernel::Version, mode::Mode};

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

/// A hook on another way than that of a mere call.
const fn on(way: Way, row: Row) -> Row {
    Row { way, ..row }
}

/// Every hook, way by way, and along each way in the order in which the kernel runs them; those of
/// a call in the order in which a program's calls usually come. Why `ip/postrouting` is before
/// `socket/data-out`: `ip_finish_output` (net/ipv4/ip_output.c) asks the cgroup, and netfilter is
/// done by then. `socket/lookup` is between `ip/in` and `socket/data-in`, since the cgroup is that
/// of the socket that it finds (`__udp4_lib_rcv`, `tcp_v4_rcv`).
pub(super) static TABLE: [Row; 37] = [
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
