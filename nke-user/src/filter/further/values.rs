//! What tests compare with: marks, addresses of frames, prefixes, lengths, named sets.
//!
//! ```
//! use nke::filter::Mark;
//!
//! let mark = Mark::new(0x10, 0xf0).expect("some bits are looked at");
//! assert!(mark.is(0x1f) && !mark.is(0x2f));
//! assert_eq!(mark.to_string(), "0x10/0xf0");
//! ```
//!
//! Nothing here knows what asks for it, nor the kernel's form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nke_ebpf::set::Kind;

use super::super::rule::Prefix;
use super::super::set::SetName;

/// The mark of a packet, and which of its bits are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    pub(super) value: u32,
    pub(super) mask: u32,
}

impl Mark {
    /// These bits where the mask has ones; others do not count. Nothing if none is looked at.
    #[must_use]
    pub fn new(value: u32, mask: u32) -> Option<Self> {
        let value = value & mask;
        (mask != 0).then_some(Self { value, mask })
    }

    /// The mark with these bits in the place of its own.
    #[must_use]
    pub const fn set(self, mark: u32) -> u32 {
        mark & !self.mask | self.value
    }

    /// Whether a mark is so.
    #[must_use]
    pub const fn is(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }

    /// This mark, of which all bits are known.
    #[must_use]
    pub const fn whole(value: u32) -> Self {
        let mask = u32::MAX;
        Self { value, mask }
    }

    /// What is known of a mark that these bits were put into.
    #[must_use]
    pub const fn put_into(self, known: Self) -> Self {
        let value = self.set(known.value);
        let mask = self.mask | known.mask;
        Self { value, mask }
    }

    /// Whether a mark is so of which this much is known; nothing if that depends on the rest.
    pub(in crate::filter) const fn is_known(self, known: Self) -> Option<bool> {
        let both = self.mask & known.mask;
        if self.value & both != known.value & both {
            Some(false)
        } else if both == self.mask {
            Some(true)
        } else {
            None
        }
    }
}

/// The address of an interface on its link, as it stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address, as `02:00:00:00:00:01` says it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next()?;
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
        }
        parts.next().is_none().then_some(Self(octets))
    }

    /// As the kernel side compares it: the first byte highest.
    pub(in crate::filter) const fn word(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    pub(super) fn of_word(word: u64) -> Self {
        let [_, _, octets @ ..] = word.to_be_bytes();
        Self(octets)
    }
}

/// A side of a packet in a named set: its address, with its port if that is what the set has; or its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Membership {
    /// Which side.
    pub side: Side,
    /// Whether its port alone is meant.
    pub port: bool,
    /// The set.
    pub set: SetName,
}

impl Membership {
    /// What members are of this kind, if they are not what is asked for.
    pub(in crate::filter) const fn is_not(&self, kind: Kind) -> Option<&'static str> {
        match (kind, self.port) {
            (Kind::Addresses | Kind::Pairs, false) | (Kind::Ports, true) => None,
            (Kind::Addresses, true) => Some("addresses"),
            (Kind::Pairs, true) => Some("addresses with ports"),
            (Kind::Ports, false) => Some("ports"),
        }
    }

    /// What the members are taken for.
    pub(in crate::filter) const fn takes_for(&self) -> &'static str {
        if self.port { "ports" } else { "addresses" }
    }
}

/// The sender or the receiver of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
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
    pub(super) first: u32,
    pub(super) last: u32,
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

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, mask } = self;
        write!(f, "{value:#x}")?;
        if *mask == u32::MAX {
            return Ok(());
        }
        write!(f, "/{mask:#x}")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
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
