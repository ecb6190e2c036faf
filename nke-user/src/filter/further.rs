//! What a rule asks beside its own fields: tests, which are looked at where all else matches.
//!
//! ```
//! use nke::filter::{Asked, LengthRange, Rule, Test};
//!
//! let rule = "drop proto udp from not 10.0.0.0/8 length 1400-65535".parse::<Rule>()?;
//! let [source, length] = rule.tests.as_slice() else { panic!() };
//! assert!(source.not && matches!(source.what, Asked::Source(_)));
//! assert_eq!(length.what, Asked::Length(LengthRange::new(1400, 65535).unwrap()));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Tests of a rule stand in the order of their type, each once: rules that are equal ask the same.
//! What a packet has not got fails every test about it, whether it says `not` or not.

mod display;
mod encoded;
mod values;

use std::net::IpAddr;

use nke_ebpf::abi::facts;

pub(super) use self::display::{List, fmt_options};
pub use self::values::{LengthRange, Mac, Mark, Membership, Net, Side};
use super::conditions::{self, Dscp, IcmpKind, TcpFlags, VlanId};
use super::dissect::{Ends, Packet};
use super::interface_name::InterfaceName;
use super::known::KnownSets;
use super::rate::Limit;
use super::rule::{Action, Protocol, Rule};

/// One thing that a rule asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Test {
    /// What it is about.
    pub what: Asked,
    /// Whether it must be otherwise.
    pub not: bool,
}

/// What a packet must be, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asked {
    /// It carries this.
    Protocol(Protocol),
    /// Its sender is one of these.
    Source(Net),
    /// Its receiver is one of these.
    Destination(Net),
    /// The flags of its TCP segment are so.
    Flags(TcpFlags),
    /// Its message of ICMP is of this kind.
    Icmp(IcmpKind),
    /// It has this code point.
    Dscp(Dscp),
    /// It has the tag of this network.
    Vlan(VlanId),
    /// It is in a named set.
    In(Membership),
    /// It has so many bytes from its IP header on; without one, behind its link header and tags.
    Length(LengthRange),
    /// It has this mark, which the kernel keeps with it.
    Mark(Mark),
    /// Its frame comes from there.
    EtherFrom(Mac),
    /// Its frame goes there.
    EtherTo(Mac),
    /// It comes in by this interface, or goes out by it if it only goes out.
    On(InterfaceName),
    /// No more comes by than so much; all else fits. It is the last test.
    Limit(Limit),
}

impl Asked {
    /// Whether a packet is so; nothing where it has not got what is asked for.
    fn holds(&self, packet: &Packet, known: &KnownSets) -> Option<bool> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Protocol(protocol) => Some(packet.protocol? == *protocol),
            Self::In(membership) => known.has(membership, packet),
            Self::Source(net) => Some(net.contains(source?)),
            Self::Destination(net) => Some(net.contains(destination?)),
            Self::Flags(flags) => Some(flags.hold(packet.tcp_flags?)),
            Self::Icmp(wanted) => {
                let (kind, code) = packet.icmp?;
                Some(wanted.is(kind, code))
            }
            Self::Dscp(dscp) => Some(packet.dscp? == *dscp),
            Self::Vlan(id) => Some(packet.vlan? == *id),
            Self::Length(range) => Some(range.contains(packet.length?)),
            Self::Mark(mark) => mark.is_known(packet.mark?),
            Self::EtherFrom(mac) => Some(packet.ether?.0 == *mac),
            Self::EtherTo(mac) => Some(packet.ether?.1 == *mac),
            Self::On(name) => Some(packet.interface? == *name),
            // Nobody knows what else comes by: it is taken for the first.
            Self::Limit(_) => Some(true),
        }
    }

    /// What a packet has of it, in the words of the language.
    pub(super) fn found(&self, packet: &Packet) -> Option<String> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Protocol(_) => packet.protocol.map(|it| it.to_string()),
            Self::In(Membership { side, port, set: _ }) => {
                let ports = packet.ports.unzip();
                let (address, own) = match side {
                    Side::Source => (source, ports.0),
                    Side::Destination => (destination, ports.1),
                };
                match port {
                    true => own.map(|it| it.to_string()),
                    false => address.map(|it| it.to_string()),
                }
            }
            Self::Source(_) => source.map(|it| it.to_string()),
            Self::Destination(_) => destination.map(|it| it.to_string()),
            Self::Flags(_) => packet.tcp_flags.map(conditions::letters),
            Self::Icmp(IcmpKind { v6, .. }) => packet.icmp.map(|(kind, code)| {
                let kind = IcmpKind {
                    v6: *v6,
                    kind,
                    code: Some(code),
                };
                kind.to_string()
            }),
            Self::Dscp(_) => packet.dscp.map(|it| it.to_string()),
            Self::Vlan(_) => packet.vlan.map(|it| it.number().to_string()),
            Self::Length(_) => packet.length.map(|it| it.to_string()),
            Self::Mark(_) => packet.mark.map(|it| it.to_string()),
            Self::EtherFrom(_) => packet.ether.map(|(from, _)| from.to_string()),
            Self::EtherTo(_) => packet.ether.map(|(_, to)| to.to_string()),
            Self::On(_) => packet.interface.map(|it| it.to_string()),
            Self::Limit(_) => Some("within".to_owned()),
        }
    }

    /// What it is about.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "protocol",
            Self::In(Membership { side, port, set: _ }) => match (side, port) {
                (Side::Source, false) => "source address",
                (Side::Destination, false) => "destination address",
                (Side::Source, true) => "source port",
                (Side::Destination, true) => "destination port",
            },
            Self::Source(_) => "source address",
            Self::Destination(_) => "destination address",
            Self::Flags(_) => "flags",
            Self::Icmp(_) => "type",
            Self::Dscp(_) => "dscp",
            Self::Vlan(_) => "vlan",
            Self::Length(_) => "length",
            Self::Mark(_) => "mark",
            Self::EtherFrom(_) => "source of the frame",
            Self::EtherTo(_) => "destination of the frame",
            Self::On(_) => "interface",
            Self::Limit(_) => "limit",
        }
    }

    /// What must be known of a packet, or it is not asked: [`facts`].
    pub(super) const fn demands(&self) -> u64 {
        match self {
            Self::Protocol(_) => facts::PROTOCOL,
            Self::Flags(_) | Self::Icmp(_) => facts::DETAIL,
            Self::Dscp(_) => facts::DSCP,
            Self::Vlan(_) => facts::TAGGED,
            Self::Source(_)
            | Self::Destination(_)
            | Self::In(_)
            | Self::Length(_)
            | Self::Mark(_)
            | Self::EtherFrom(_)
            | Self::EtherTo(_)
            | Self::On(_)
            | Self::Limit(_) => 0,
        }
    }
}

fn ends(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    packet.ends.map(|ends| match ends {
        Ends::V4(from, to) => (from.into(), to.into()),
        Ends::V6(from, to) => (from.into(), to.into()),
    })
}

impl Test {
    /// That a packet is not so.
    pub(super) const fn not(what: Asked) -> Self {
        Self { what, not: true }
    }

    /// Whether a packet passes it. Of sets that are not known, none does.
    #[must_use]
    pub fn holds(&self, packet: &Packet, known: &KnownSets) -> bool {
        let Self { what, not } = self;
        what.holds(packet, known).is_some_and(|holds| holds != *not)
    }
}

impl Rule {
    /// What it asks of named sets.
    pub fn memberships(&self) -> impl Iterator<Item = &Membership> {
        self.tests.iter().filter_map(|test| {
            let Asked::In(membership) = &test.what else {
                return None;
            };
            Some(membership)
        })
    }

    /// All interfaces that it names: the one that packets leave by, and those that it asks for.
    pub(crate) fn named_interfaces(&self) -> impl Iterator<Item = InterfaceName> {
        let target = match self.action {
            Action::Redirect(name) => Some(name),
            Action::Pass | Action::Drop | Action::Reject(_) | Action::Count | Action::Mark(_) => {
                None
            }
        };
        target.into_iter().chain(self.interfaces())
    }

    /// What it does as long as there is no interface of a name that it has.
    pub(crate) fn without_interface(&self, name: InterfaceName) -> &'static str {
        let asked = |not| {
            self.tests.contains(&Test {
                what: Asked::On(name),
                not,
            })
        };
        if asked(false) {
            "matches nothing"
        } else if asked(true) {
            "matches on all interfaces"
        } else {
            "drops all that it matches"
        }
    }

    /// The interfaces that it asks for.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = InterfaceName> {
        self.tests.iter().filter_map(|test| {
            let Asked::On(name) = test.what else {
                return None;
            };
            Some(name)
        })
    }
}
