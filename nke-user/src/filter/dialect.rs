//! Whose rules are read: the words that the packet filter and the connection guard understand.
//!
//! ```
//! use nke::filter::Dialect;
//!
//! let rules = Dialect::Calls.rules("drop out proto tcp to 10.0.0.0/8 port { ssh, telnet }")?;
//! assert_eq!(rules[1].to_string(), "drop out proto tcp to 10.0.0.0/8 port 23");
//! assert!(Dialect::Packets.rules("drop bind").is_err());
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! There is one grammar and one parser; what differs is which words may stand where.

use super::rule::Way;

/// What rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Packets: the packet filter's rules. They have a sender and can be logged.
    Packets,
    /// What programs ask of their sockets: the connection guard's rules.
    Calls,
}

impl Dialect {
    /// The ways that a rule can name, each with its word.
    pub(super) const fn ways(self) -> &'static [(&'static str, Way)] {
        match self {
            Self::Packets => &[("in", Way::In), ("out", Way::Out)],
            Self::Calls => &[
                ("out", Way::Out),
                ("connect", Way::Connect),
                ("sendmsg", Way::Sendmsg),
                ("bind", Way::Bind),
            ],
        }
    }

    /// The ways that something can go, each with its word: no rule's summary of several.
    pub(super) const fn ways_that_go(self) -> &'static [(&'static str, Way)] {
        match self {
            Self::Packets => self.ways(),
            Self::Calls => self.ways().split_at(1).1,
        }
    }

    /// Every word, to tell a misspelt one from a misplaced one.
    pub(super) const fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Packets => &[
                "pass",
                "drop",
                "reject",
                "redirect",
                "with",
                "port-unreachable",
                "host-unreachable",
                "no-route",
                "admin-prohibited",
                "in",
                "out",
                "log",
                "inet",
                "inet6",
                "proto",
                "all",
                "from",
                "to",
                "port",
                "flags",
                "icmp-type",
                "icmp6-type",
                "code",
                "fragment",
                "dscp",
                "vlan",
                "length",
                "mark",
                "ether",
                "expr",
                "limit",
                "over",
                "burst",
                "per",
                "on",
                "count",
                "not",
                "keep",
                "state",
            ],
            Self::Calls => &[
                "pass", "self", "not", "drop", "out", "connect", "sendmsg", "bind", "inet",
                "inet6", "proto", "all", "to", "port",
            ],
        }
    }

    /// A rule, in short.
    #[must_use]
    pub const fn order(self) -> &'static str {
        match self {
            Self::Packets => {
                "pass|drop|reject [with WHAT]|redirect to IFACE|count|mark N[/MASK] [in|out] [log [1/N]] [on IFACE] [arp|inet|inet6] [proto P] [from ADDRESS [port N]] \
                 [to ADDRESS [port N]] [flags F/G] [icmp-type T [code C]] [fragment] [dscp D] \
                 [vlan N] [length N] [mark N[/MASK]] [ether from|to MAC] \
                 [limit [over] N/s [bytes] [burst N] [per source[/N]]] [expr 'TCPDUMP'] [keep state]"
            }
            Self::Calls => {
                "pass|drop [out|connect|sendmsg|bind] [inet|inet6] [proto P] [to ADDRESS] [port N]"
            }
        }
    }
}
