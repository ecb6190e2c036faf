//! The modes of a hook: the ways in which the kernel can be made to call a root.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// XDP in the driver, before an `sk_buff` is made.
    Native,
    /// XDP behind that, for drivers that have none.
    Generic,
    /// A link on the interface's list of `sched_cls` programs (since 6.6).
    Tcx,
    /// A filter of the interface's clsact queueing discipline.
    Clsact,
    /// Links to a netfilter hook of a namespace, one for IPv4 and one for IPv6 (since 6.4).
    Netfilter,
    /// A link to a cgroup.
    Cgroup,
    /// A link to a network namespace.
    Namespace,
    /// A link to a sockhash that a cgroup's new TCP connections join (since 6.10).
    Sockmap,
}

impl Mode {
    /// As typed and printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Netfilter => "netfilter",
            Self::Cgroup => "cgroup",
            Self::Namespace => "namespace",
            Self::Sockmap => "sockmap",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [
            Self::Native,
            Self::Generic,
            Self::Tcx,
            Self::Clsact,
            Self::Netfilter,
            Self::Cgroup,
            Self::Namespace,
            Self::Sockmap,
        ];
        all.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            "no such mode; those of interface/xdp are native and generic, those of interface/in \
             and interface/out are tcx and clsact"
                .to_owned()
        })
    }
}
