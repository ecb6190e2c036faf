//! The hooks: where in the kernel's packet path a chain can sit.
//!
//! A hook is a row of one table ([`Hook::row`]): everything that the rest of nke needs to know
//! about it is data there. This module must never do I/O.
//!
//! ```
//! use nke::hook::Hook;
//!
//! let hook: Hook = "interface/xdp".parse().unwrap();
//! assert_eq!(hook.row().go_on, [2]); // XDP_PASS
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{kernel::Version, mode::Mode, place};

/// One place in a layer of the network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// XDP on the device: before the kernel makes an `sk_buff`.
    #[serde(rename = "interface/xdp")]
    InterfaceXdp,
    /// `sched_cls` on the device's ingress: TCX, or clsact before Linux 6.6.
    #[serde(rename = "interface/in")]
    InterfaceIn,
    /// `sched_cls` on the device's egress: TCX, or clsact before Linux 6.6.
    #[serde(rename = "interface/out")]
    InterfaceOut,
}

/// What the kernel calls a program of a hook (`enum bpf_prog_type`, uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramType {
    /// `BPF_PROG_TYPE_SCHED_CLS`
    SchedCls = 3,
    /// `BPF_PROG_TYPE_XDP`
    Xdp = 6,
}

/// What differs between hooks.
#[derive(Debug)]
pub struct Row {
    /// The hook's name, as typed and printed.
    pub name: &'static str,
    /// The type that its programs are loaded as.
    pub program_type: ProgramType,
    /// `expected_attach_type` of its programs (`enum bpf_attach_type`).
    pub expected_attach_type: u32,
    /// `attach_type` of the root's link.
    pub attach_type: u32,
    /// Verdicts that go on to the next node, compared as 32 bits.
    pub go_on: &'static [i32],
    /// Verdicts that drop the packet, compared as 32 bits.
    pub dropped: &'static [i32],
    /// The ways to attach the root, the best first.
    pub modes: &'static [Mode],
    /// The verdict of an empty chain whose policy is to pass, and what a pass policy means.
    pub pass: i32,
    /// The verdict of a drop policy.
    pub drop: i32,
    /// The first kernel that has the hook.
    pub since: Version,
}

const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

const XDP_ABORTED: i32 = 0;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_PIPE: i32 = 3;

static XDP: Row = Row {
    name: "interface/xdp",
    program_type: ProgramType::Xdp,
    expected_attach_type: BPF_XDP,
    attach_type: BPF_XDP,
    modes: &[Mode::Native, Mode::Generic],
    go_on: &[XDP_PASS],
    dropped: &[XDP_DROP, XDP_ABORTED],
    pass: XDP_PASS,
    drop: XDP_DROP,
    since: Version::new(5, 9),
};

static IN: Row = Row {
    name: "interface/in",
    program_type: ProgramType::SchedCls,
    expected_attach_type: 0,
    attach_type: BPF_TCX_INGRESS,
    modes: &[Mode::Tcx, Mode::Clsact],
    go_on: &[TC_ACT_UNSPEC, TC_ACT_PIPE],
    dropped: &[TC_ACT_SHOT],
    pass: TC_ACT_UNSPEC,
    drop: TC_ACT_SHOT,
    since: Version::new(5, 10),
};

static OUT: Row = Row {
    name: "interface/out",
    attach_type: BPF_TCX_EGRESS,
    ..IN
};

impl Hook {
    /// Every hook, in the order in which a received packet meets them, then the sent ones.
    pub const ALL: [Self; 3] = [Self::InterfaceXdp, Self::InterfaceIn, Self::InterfaceOut];

    /// The hook's row.
    pub const fn row(self) -> &'static Row {
        match self {
            Self::InterfaceXdp => &XDP,
            Self::InterfaceIn => &IN,
            Self::InterfaceOut => &OUT,
        }
    }

    /// The hooks that a program in the ELF section `section` serves, by libbpf's names
    /// (docs.kernel.org/bpf/libbpf/program_types.html): the first is the default.
    pub fn of_section(section: &str) -> &'static [Self] {
        let mut parts = section.split('/');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("xdp" | "xdp.frags", Some("cpumap" | "devmap")) => &[],
            ("xdp" | "xdp.frags", _) => &[Self::InterfaceXdp],
            ("tc" | "tcx", Some("ingress")) => &[Self::InterfaceIn],
            ("tc" | "tcx", Some("egress")) => &[Self::InterfaceOut],
            ("tc" | "classifier" | "action" | "netkit", _) => {
                &[Self::InterfaceIn, Self::InterfaceOut]
            }
            _ => &[],
        }
    }

    /// How placement measures and judges a packet of this hook.
    pub fn rule(self, frags: bool) -> place::Rule {
        let length = match (self.row().program_type, frags) {
            (ProgramType::SchedCls, _) => place::Length::SkbLen,
            (ProgramType::Xdp, false) => place::Length::XdpLinear,
            (ProgramType::Xdp, true) => place::Length::XdpFrags,
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
        Self::ALL
            .into_iter()
            .find(|hook| hook.row().name == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|hook| hook.row().name).collect();
                format!("no such hook; the hooks are {}", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_serve_hooks() {
        let check = |section, hooks: &[Hook]| assert_eq!(Hook::of_section(section), hooks);
        check("xdp", &[Hook::InterfaceXdp]);
        check("xdp.frags/anything", &[Hook::InterfaceXdp]);
        check("xdp/devmap", &[]);
        check("tcx/egress", &[Hook::InterfaceOut]);
        check("tc/ingress", &[Hook::InterfaceIn]);
        check("classifier/x", &[Hook::InterfaceIn, Hook::InterfaceOut]);
        check("kprobe/x", &[]);
    }

    #[test]
    fn names_are_paths_and_back() {
        for hook in Hook::ALL {
            assert_eq!(hook.to_string().parse(), Ok(hook));
            assert!(!hook.directory().contains(['/', '.']));
        }
    }
}
