//! What few rules ask for: TCP flags, the type of an ICMP message, fragments, DSCP, VLAN tags.
//!
//! ```
//! use nke::filter::{Fragment, TcpFlags};
//!
//! let rule = "drop proto tcp flags S/SA fragment first".parse::<nke::filter::Rule>()?;
//! assert_eq!(rule.conditions.fragment, Some(Fragment::First));
//! let syn = TcpFlags::new(0x02, 0x12).unwrap();
//! assert!(syn.hold(0x02) && syn.hold(0x0a) && !syn.hold(0x12));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Each is one comparison of bits: the kernel's form of it is part of a rule's facts. What is not there
//! is none of these: a rule that asks for a header's field matches no packet that has not got it.

use std::fmt;

use nke_ebpf::abi::facts;

use super::names;
use super::rule::Protocol;

/// Which flags a TCP segment must have set, of those that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpFlags {
    set: u8,
    among: u8,
}

/// The flags' letters, from the lowest bit: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR.
pub(super) const LETTERS: &str = "FSRPAUEW";

/// A message of ICMP, or of ICMP for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IcmpKind {
    /// Whether it is of ICMP for IPv6.
    pub v6: bool,
    /// Its type.
    pub kind: u8,
    /// Its code; or any.
    pub code: Option<u8>,
}

/// Which part of a datagram that was sent in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// Any of them.
    Any,
    /// The first, which has the ports.
    First,
    /// One behind the first.
    Later,
    /// None: the packet is whole, or no IP packet at all.
    None,
}

/// A differentiated services code point: six bits of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dscp(u8);

/// The VLAN tag that a packet has outside, if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vlan {
    /// A tag, whichever.
    Tagged,
    /// No tag.
    Untagged,
    /// The tag of this network.
    Id(VlanId),
}

/// The number of a virtual network: 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

/// What else a packet must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// It must be such a fragment.
    pub fragment: Option<Fragment>,
    /// It must have this code point.
    pub dscp: Option<Dscp>,
    /// It must have this tag, or none.
    pub vlan: Option<Vlan>,
}

/// Bits that are compared, and what they must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    pub mask: u64,
    pub value: u64,
}

impl Bits {
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            mask: self.mask | other.mask,
            value: self.value | other.value,
        }
    }
}

impl Conditions {
    /// None.
    pub const NONE: Self = Self {
        fragment: None,
        dscp: None,
        vlan: None,
    };

    /// The kernel's form.
    pub(super) fn bits(&self) -> Bits {
        let Self {
            fragment,
            dscp,
            vlan,
        } = self;
        let fragment = fragment.map_or_else(Bits::default, |fragment| match fragment {
            Fragment::Any => Bits {
                mask: facts::FRAGMENT,
                value: facts::FRAGMENT,
            },
            Fragment::First => Bits {
                mask: facts::FRAGMENT | facts::LATER,
                value: facts::FRAGMENT,
            },
            Fragment::Later => Bits {
                mask: facts::FRAGMENT | facts::LATER,
                value: facts::FRAGMENT | facts::LATER,
            },
            Fragment::None => Bits {
                mask: facts::FRAGMENT,
                value: 0,
            },
        });
        let dscp = dscp.map_or_else(Bits::default, |Dscp(number)| Bits {
            mask: facts::DSCP | facts::DSCP_MASK,
            value: facts::DSCP | u64::from(number) << facts::DSCP_SHIFT,
        });
        let vlan = vlan.map_or_else(Bits::default, |vlan| match vlan {
            Vlan::Untagged => Bits {
                mask: facts::TAGGED,
                value: 0,
            },
            Vlan::Tagged => Bits {
                mask: facts::TAGGED,
                value: facts::TAGGED,
            },
            Vlan::Id(VlanId(id)) => Bits {
                mask: facts::TAGGED | facts::VLAN_MASK,
                value: facts::TAGGED | u64::from(id) << facts::VLAN_SHIFT,
            },
        });
        fragment.and(dscp).and(vlan)
    }

    /// What the kernel's form says; bits that are none of these are left out.
    pub(super) fn of_bits(Bits { mask, value }: Bits) -> Self {
        let asks = |fact| mask & fact != 0;
        let has = |fact| value & fact != 0;
        let fragment = match (asks(facts::FRAGMENT), asks(facts::LATER), has(facts::LATER)) {
            (false, _, _) => None,
            (true, false, _) if !has(facts::FRAGMENT) => Some(Fragment::None),
            (true, false, _) => Some(Fragment::Any),
            (true, true, false) => Some(Fragment::First),
            (true, true, true) => Some(Fragment::Later),
        };
        let dscp = (value & facts::DSCP_MASK) >> facts::DSCP_SHIFT;
        let id = (value & facts::VLAN_MASK) >> facts::VLAN_SHIFT;
        let vlan = match (
            asks(facts::TAGGED),
            has(facts::TAGGED),
            asks(facts::VLAN_MASK),
        ) {
            (false, _, _) => None,
            (true, false, _) => Some(Vlan::Untagged),
            (true, true, false) => Some(Vlan::Tagged),
            (true, true, true) => u16::try_from(id).ok().and_then(VlanId::new).map(Vlan::Id),
        };
        Self {
            fragment,
            dscp: u8::try_from(dscp)
                .ok()
                .filter(|_| asks(facts::DSCP_MASK))
                .map(Dscp),
            vlan,
        }
    }
}

impl TcpFlags {
    /// These set, and the others of `among` not. Nothing if no segment can be so, or if none is
    /// looked at.
    #[must_use]
    pub fn new(set: u8, among: u8) -> Option<Self> {
        (among != 0 && set & !among == 0).then_some(Self { set, among })
    }

    /// Both of these together; nothing if no segment can be so.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let apart = self.among & other.among & (self.set ^ other.set);
        (apart == 0).then_some(Self {
            set: self.set | other.set,
            among: self.among | other.among,
        })
    }

    /// Whether the flags of a segment are so.
    #[must_use]
    pub const fn hold(self, flags: u8) -> bool {
        flags & self.among == self.set
    }

    pub(super) fn bits(self) -> Bits {
        Bits {
            mask: facts::DETAIL | u64::from(self.among) << facts::DETAIL_SHIFT,
            value: facts::DETAIL | u64::from(self.set) << facts::DETAIL_SHIFT,
        }
    }

    pub(super) fn of_bits(Bits { mask, value }: Bits) -> Option<Self> {
        let flags = |bits: u64| u8::try_from(bits >> facts::DETAIL_SHIFT & 0xffff).ok();
        Self::new(flags(value)?, flags(mask)?)
    }
}

impl IcmpKind {
    /// The protocol that it is of.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        Protocol(if self.v6 { 58 } else { 1 })
    }

    /// Whether a message of the protocol is this.
    #[must_use]
    pub fn is(self, kind: u8, code: u8) -> bool {
        self.kind == kind && self.code.is_none_or(|wanted| wanted == code)
    }

    pub(super) fn bits(self) -> Bits {
        let code = self.code.map_or(0, |_| 0xff00);
        let number = u64::from(self.kind) | u64::from(self.code.unwrap_or(0)) << 8;
        Bits {
            mask: facts::DETAIL | (0xff | code) << facts::DETAIL_SHIFT,
            value: facts::DETAIL | number << facts::DETAIL_SHIFT,
        }
    }

    pub(super) fn of_bits(v6: bool, Bits { mask, value }: Bits) -> Self {
        let [kind, code, ..] = (value >> facts::DETAIL_SHIFT).to_le_bytes();
        let [_, asks, ..] = (mask >> facts::DETAIL_SHIFT).to_le_bytes();
        Self {
            v6,
            kind,
            code: (asks != 0).then_some(code),
        }
    }
}

impl Dscp {
    /// This number. Nothing if it has more than six bits.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number < 64).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl VlanId {
    /// This number. Nothing if it has more than twelve bits.
    #[must_use]
    pub fn new(id: u16) -> Option<Self> {
        (id < 1 << 12).then_some(Self(id))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, among } = *self;
        write!(f, "{}/{}", letters(set), letters(among))
    }
}

/// The letters of flags.
pub(super) fn letters(flags: u8) -> String {
    let all = LETTERS.chars().enumerate();
    all.filter(|(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, letter)| letter)
        .collect()
}

impl fmt::Display for IcmpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { v6, kind, code } = *self;
        match names::icmp_name(v6, kind) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{kind}")?,
        }
        code.map_or(Ok(()), |code| write!(f, " code {code}"))
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "fragment",
            Self::First => "fragment first",
            Self::Later => "fragment later",
            Self::None => "fragment none",
        })
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match names::dscp_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tagged => f.write_str("any"),
            Self::Untagged => f.write_str("none"),
            Self::Id(VlanId(id)) => write!(f, "{id}"),
        }
    }
}

impl fmt::Display for Conditions {
    /// Each with a blank in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fragment,
            dscp,
            vlan,
        } = self;
        if let Some(fragment) = fragment {
            write!(f, " {fragment}")?;
        }
        if let Some(dscp) = dscp {
            write!(f, " dscp {dscp}")?;
        }
        vlan.map_or(Ok(()), |vlan| write!(f, " vlan {vlan}"))
    }
}
