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

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nke_ebpf::abi::{self, field};

use super::dissect::{Ends, Packet};
use super::encode;
use super::rule::{Addresses, Prefix, Rule};

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
    /// Its sender is one of these.
    Source(Net),
    /// Its receiver is one of these.
    Destination(Net),
    /// It has so many bytes from its IP header on; without one, behind its link header and tags.
    Length(LengthRange),
}

/// A prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Net {
    /// Of IPv4.
    V4(Prefix<Ipv4Addr>),
    /// Of IPv6.
    V6(Prefix<Ipv6Addr>),
}

/// Lengths of packets from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LengthRange {
    first: u32,
    last: u32,
}

impl LengthRange {
    /// The lengths between two, those included. Nothing if they stand in the wrong order.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Whether a length is one of these.
    #[must_use]
    pub const fn contains(&self, length: u32) -> bool {
        self.first <= length && length <= self.last
    }
}

impl Net {
    /// Whether an address is one of these.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (Self::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            (Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Asked {
    /// Whether a packet is so; nothing where it has not got what is asked for.
    fn holds(&self, packet: &Packet) -> Option<bool> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Source(net) => Some(net.contains(source?)),
            Self::Destination(net) => Some(net.contains(destination?)),
            Self::Length(range) => Some(range.contains(packet.length?)),
        }
    }

    /// What a packet has of it, in the words of the language.
    pub(super) fn found(&self, packet: &Packet) -> Option<String> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Source(_) => source.map(|it| it.to_string()),
            Self::Destination(_) => destination.map(|it| it.to_string()),
            Self::Length(_) => packet.length.map(|it| it.to_string()),
        }
    }

    /// What it is about.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "source address",
            Self::Destination(_) => "destination address",
            Self::Length(_) => "length",
        }
    }

    /// The words of it that stand behind a rule's ends, but for what it must be; nothing if it is
    /// said elsewhere.
    pub(super) const fn option(&self) -> Option<&'static str> {
        match self {
            Self::Source(_) | Self::Destination(_) => None,
            Self::Length(_) => Some("length"),
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
    /// Whether a packet passes it.
    #[must_use]
    pub fn holds(&self, packet: &Packet) -> bool {
        let Self { what, not } = self;
        what.holds(packet).is_some_and(|holds| holds != *not)
    }

    /// The kernel's form.
    pub(super) fn encode(&self) -> abi::Test {
        let Self { what, not } = self;
        let encoded = match what {
            Asked::Source(net) => address(field::SOURCE, net),
            Asked::Destination(net) => address(field::DESTINATION, net),
            Asked::Length(LengthRange { first, last }) => {
                abi::Test::range(field::LENGTH, *first, *last)
            }
        };
        abi::Test {
            not: u16::from(*not),
            ..encoded
        }
    }

    /// The test of a rule with these addresses of which this is the kernel's form; nothing if it is
    /// of none.
    pub(super) fn decode(encoded: &abi::Test, addresses: &Addresses) -> Option<Self> {
        let what = match (encoded.kind, encoded.field) {
            (abi::Test::MASKED, field::SOURCE) => Asked::Source(net(encoded, addresses)?),
            (abi::Test::MASKED, field::DESTINATION) => Asked::Destination(net(encoded, addresses)?),
            (abi::Test::RANGE, field::LENGTH) => {
                let [first, last] = [encoded.first[0], encoded.second[0]].map(u32::try_from);
                Asked::Length(LengthRange::new(first.ok()?, last.ok()?)?)
            }
            _ => return None,
        };
        let not = encoded.not != 0;
        let test = Self { what, not };
        (test.encode() == *encoded).then_some(test)
    }
}

fn address(field: u16, net: &Net) -> abi::Test {
    let (value, mask) = match net {
        Net::V4(prefix) => encode::words_v4(prefix),
        Net::V6(prefix) => encode::words_v6(prefix),
    };
    abi::Test::masked(field, value, mask)
}

/// The prefix, which is of the rule's family.
fn net(encoded: &abi::Test, addresses: &Addresses) -> Option<Net> {
    let words = (encoded.first, encoded.second);
    match addresses {
        Addresses::V4 { .. } => encode::prefix_v4(words).map(Net::V4),
        Addresses::V6 { .. } => encode::prefix_v6(words).map(Net::V6),
        Addresses::Any | Addresses::Arp => None,
    }
}

/// The things that tests of a rule say of what `is` picks, as they are listed: one, or in braces. Each
/// has the same `not`.
pub(super) struct List<'a> {
    pub(super) not: bool,
    pub(super) all: Vec<&'a Asked>,
}

impl<'a> List<'a> {
    /// Nothing where no test is of that kind.
    pub(super) fn of(rule: &'a Rule, is: impl Fn(&Asked) -> bool) -> Option<Self> {
        let tests = rule.tests.iter().filter(|test| is(&test.what));
        let not = tests.clone().next()?.not;
        let all = tests.map(|test| &test.what).collect();
        Some(Self { not, all })
    }
}

impl fmt::Display for List<'_> {
    /// With a blank in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not, all } = self;
        if *not {
            f.write_str(" not")?;
        }
        if let [one] = all.as_slice() {
            return write!(f, " {one}");
        }
        for (index, one) in all.iter().enumerate() {
            write!(f, "{}{one}", if index == 0 { " { " } else { ", " })?;
        }
        f.write_str(" }")
    }
}

impl fmt::Display for Asked {
    /// What it must be, without the words that say of what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(net) | Self::Destination(net) => match net {
                Net::V4(prefix) => prefix.fmt(f),
                Net::V6(prefix) => prefix.fmt(f),
            },
            Self::Length(range) => range.fmt(f),
        }
    }
}

impl fmt::Display for LengthRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}
