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

/// What differs between hooks.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The hook's name, as typed and printed.
    pub name: &'static str,
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
    /// The verdict of a drop policy.
    pub drop: i32,
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
    kind: Kind::Interface,
    sections: &["xdp", "xdp.frags"],
    program_type: ProgramType::Xdp,
    expected_attach_type: 37, // BPF_XDP
    attach_type: 37,
    modes: &[Mode::Native, Mode::Generic],
    go_on: &[XDP_PASS],
    dropped: &[XDP_DROP, XDP_ABORTED],
    pass: XDP_PASS,
    drop: XDP_DROP,
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
    drop: TC_ACT_SHOT,
    since: Version::new(5, 10),
    ..XDP
};

const OUT: Row = Row {
    name: "interface/out",
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

/// Every hook, in the order in which a received packet meets them, then the sent ones.
static TABLE: [Row; 3] = [XDP, IN, OUT];

impl Hook {
    /// XDP on the device: before the kernel makes an `sk_buff`.
    pub const INTERFACE_XDP: Self = Self(0);
    /// `sched_cls` on the device's ingress.
    pub const INTERFACE_IN: Self = Self(1);
    /// `sched_cls` on the device's egress.
    pub const INTERFACE_OUT: Self = Self(2);

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
        // Programs of this type that the kernel runs behind a redirect, where no chain can be.
        if kind.starts_with("xdp") && matches!(detail, "cpumap" | "devmap") {
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
            (ProgramType::SchedCls | ProgramType::CgroupSkb, _) => place::Length::SkbLen,
            (ProgramType::Xdp, false) => place::Length::XdpLinear,
            (ProgramType::Xdp, true) => place::Length::XdpFrags,
            _ => place::Length::None,
        };
        place::Rule {
            go_on: self.row().go_on,
            dropped: self.row().dropped,
            length,
        }
    }

    /// The name as part of a path: no slash, no dot.
    pub(crate) fn directory(self) -> String {
        self.row().name.replace('/', "-")
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
                let names: Vec<_> = Self::all().map(|hook| hook.row().name).collect();
                format!("no such hook; the hooks are {}", names.join(", "))
            })
    }
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.row().name)
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
    }

    #[test]
    fn names_are_paths_and_back() {
        for hook in Hook::all() {
            assert_eq!(hook.to_string().parse(), Ok(hook));
            assert!(!hook.directory().contains(['/', '.']));
        }
        assert_eq!(Hook::INTERFACE_OUT.row().name, "interface/out");
    }
}
