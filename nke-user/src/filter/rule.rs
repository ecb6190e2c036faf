//! Rules, as values: what is matched, and what follows. They are about packets, or about what
//! programs ask of their sockets; a call has a destination and no source, as a packet nobody sent.
//!
//! ```
//! use nke::filter::{Action, PortRange, Rule, Transport};
//!
//! let rule = Rule {
//!     transport: Transport::Ports {
//!         protocol: None,
//!         source: PortRange::ALL,
//!         destination: PortRange::one(53),
//!     },
//!     ..Rule::all(Action::Drop)
//! };
//! assert_eq!(rule.to_string(), "drop to any port 53");
//! ```
//!
//! A rule that contradicts itself (an IPv4 source and an IPv6 destination, a port of ICMP) cannot
//! be written down in these types. Two rules that are equal match the same packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use nke_ebpf::Refusal;

use super::conditions::{Conditions, IcmpKind, TcpFlags};
use super::expression::Expression;
use super::further::{Mark, Test};
use super::interface_name::InterfaceName;

/// What happens to a packet, or to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It goes on.
    Pass,
    /// It is gone; the call fails.
    Drop,
    /// It is gone, and its sender is told. Of rules about packets only, where they are those of an interface.
    Reject(Refusal),
    /// It leaves by this interface, and is gone for all others. Of rules about packets only, where they are those of an
    /// interface.
    Redirect(InterfaceName),
    /// It is counted, and the rules behind decide. Of rules about packets only.
    Count,
    /// It is counted and marked, and the rules behind decide. Of rules about packets only.
    Mark(Mark),
}

impl Action {
    /// Whether the rules behind decide.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(self, Self::Count | Self::Mark(_))
    }

    /// Whether what it is about is gone, for the host and for the rules behind.
    #[must_use]
    pub const fn drops(self) -> bool {
        matches!(self, Self::Drop | Self::Reject(_) | Self::Redirect(_))
    }
}

/// Which way a packet goes, as its interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the host.
    In,
    /// Out of the host.
    Out,
}

/// Which way something goes: a packet, or what a program asks of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Into the host: packets.
    In,
    /// Out of the host: packets; [`Way::Connect`] and [`Way::Sendmsg`] of sockets.
    Out,
    /// `connect`.
    Connect,
    /// `sendmsg`, `sendto`, …, with an address.
    Sendmsg,
    /// `bind`.
    Bind,
}

impl Way {
    /// The calls of sockets.
    pub const CALLS: [Self; 3] = [Self::Connect, Self::Sendmsg, Self::Bind];

    /// Whether what goes this way is meant by a rule that says the other.
    const fn is(self, wanted: Self) -> bool {
        match self {
            Self::In => matches!(wanted, Self::In),
            Self::Out => matches!(wanted, Self::Out),
            Self::Connect => matches!(wanted, Self::Connect | Self::Out),
            Self::Sendmsg => matches!(wanted, Self::Sendmsg | Self::Out),
            Self::Bind => matches!(wanted, Self::Bind),
        }
    }
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::In,
            Direction::Out => Self::Out,
        }
    }
}

/// The addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix<A> {
    address: A,
    length: u8,
}

/// Which sender and receiver a packet must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Whatever it has, and were it no IP packet at all.
    Any,
    /// ARP, which has no addresses of IP.
    Arp,
    /// IPv4, and of these.
    V4 {
        /// Its sender is one of these.
        source: Prefix<Ipv4Addr>,
        /// Its receiver is one of these.
        destination: Prefix<Ipv4Addr>,
    },
    /// IPv6, and of these.
    V6 {
        /// Its sender is one of these.
        source: Prefix<Ipv6Addr>,
        /// Its receiver is one of these.
        destination: Prefix<Ipv6Addr>,
    },
}

/// The number of what an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

/// A protocol whose packets have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// DCCP.
    Dccp,
    /// SCTP.
    Sctp,
    /// UDP-Lite.
    UdpLite,
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// What an IP packet must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Whatever it carries.
    Any,
    /// This protocol.
    Protocol(Protocol),
    /// Something that has ports, and these.
    Ports {
        /// This protocol; or any that has ports.
        protocol: Option<PortProtocol>,
        /// The sender's port is one of these.
        source: PortRange,
        /// The receiver's port is one of these.
        destination: PortRange,
    },
    /// A segment of TCP with these ports and flags.
    Tcp {
        /// The sender's port is one of these.
        source: PortRange,
        /// The receiver's port is one of these.
        destination: PortRange,
        /// Its flags are so.
        flags: TcpFlags,
    },
    /// A message of ICMP.
    Icmp(IcmpKind),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What happens to a packet that matches.
    pub action: Action,
    /// Which way it must go; or any.
    pub way: Option<Way>,
    /// Whether a line is written for it.
    pub log: bool,
    /// For one of how many a line is written: 1 for all.
    pub sample: u32,
    /// Whose packet it must be.
    pub addresses: Addresses,
    /// What it must carry.
    pub transport: Transport,
    /// What else it must have.
    pub conditions: Conditions,
    /// What else is asked of it, where all of that fits: in order, each once.
    pub tests: Vec<Test>,
    /// The expression of tcpdump that it must fit beside all of that.
    pub expression: Option<Expression>,
    /// Whether what it passes makes a flow known, so that the flow's other packets pass: not of rules
    /// that drop.
    pub keep_state: bool,
}

/// An ordered list of rules, and what happens to a packet that none of them matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// What happens to a packet that no rule matches.
    pub default: Action,
    /// The rules. The first that matches decides.
    pub rules: Vec<Rule>,
}

impl Rule {
    /// The rule that matches every packet.
    #[must_use]
    pub const fn all(action: Action) -> Self {
        Self {
            action,
            way: None,
            log: false,
            sample: 1,
            addresses: Addresses::Any,
            transport: Transport::Any,
            conditions: Conditions::NONE,
            tests: Vec::new(),
            expression: None,
            keep_state: false,
        }
    }

    /// Whether one who sees what goes this way can ever match it.
    ///
    /// `interface/xdp` and `interface/in` see packets on their way in, `interface/out` those on
    /// their way out; `socket/connect` sees [`Way::Connect`], and so on.
    #[must_use]
    pub fn applies(&self, way: impl Into<Way>) -> bool {
        let way = way.into();
        self.way.is_none_or(|wanted| way.is(wanted))
    }
}

impl Default for RuleSet {
    /// Lets everything pass, like a filter that has been given no rules yet.
    fn default() -> Self {
        Self {
            default: Action::Pass,
            rules: Vec::new(),
        }
    }
}

macro_rules! prefix {
    ($address:ty, $bits:ty, $any:expr) => {
        impl Prefix<$address> {
            /// Every address.
            pub const ANY: Self = Self {
                address: $any,
                length: 0,
            };

            /// The longest that a prefix can be: one address.
            pub const LONGEST: u8 = <$bits>::BITS as u8;

            /// One address.
            #[must_use]
            pub const fn one(address: $address) -> Self {
                Self {
                    address,
                    length: Self::LONGEST,
                }
            }

            /// The prefix of this length that an address has. Nothing if it is too long.
            #[must_use]
            pub fn new(address: $address, length: u8) -> Option<Self> {
                let mask = Self::mask_of(length)?;
                Some(Self {
                    address: <$address>::from_bits(address.to_bits() & mask),
                    length,
                })
            }

            /// The prefix that ends with the mask's ones. Nothing if they are not all in front.
            #[must_use]
            pub fn with_mask(address: $address, mask: $address) -> Option<Self> {
                let length = u8::try_from(mask.to_bits().leading_ones()).ok()?;
                let prefix = Self::new(address, length)?;
                (prefix.mask() == mask).then_some(prefix)
            }

            /// The first of the addresses.
            #[must_use]
            pub const fn address(&self) -> $address {
                self.address
            }

            /// Ones where an address must agree.
            #[must_use]
            pub fn mask(&self) -> $address {
                <$address>::from_bits(Self::mask_of(self.length).unwrap_or(<$bits>::MAX))
            }

            /// How many bits must agree.
            #[must_use]
            pub const fn length(&self) -> u8 {
                self.length
            }

            /// Whether an address is one of these.
            #[must_use]
            pub fn contains(&self, address: $address) -> bool {
                address.to_bits() & self.mask().to_bits() == self.address.to_bits()
            }

            fn mask_of(length: u8) -> Option<$bits> {
                let zeros = u32::from(Self::LONGEST.checked_sub(length)?);
                Some(<$bits>::MAX.checked_shl(zeros).unwrap_or(0))
            }
        }
    };
}

prefix!(Ipv4Addr, u32, Ipv4Addr::UNSPECIFIED);
prefix!(Ipv6Addr, u128, Ipv6Addr::UNSPECIFIED);

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The ports between two, those included. Nothing if they stand in the wrong order.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// The ports that are in none of these, as few ranges as there can be, in order.
    #[must_use]
    pub fn all_but(ranges: &[Self]) -> Vec<Self> {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| range.first);
        let (mut left, mut next) = (Vec::new(), 0u32);
        for Self { first, last } in ranges {
            let before = u32::from(first)
                .checked_sub(1)
                .and_then(|before| before.try_into().ok());
            let from = u16::try_from(next).ok();
            left.extend(from.zip(before).and_then(|(from, to)| Self::new(from, to)));
            next = next.max(u32::from(last) + 1);
        }
        let from = u16::try_from(next).ok();
        left.extend(from.and_then(|from| Self::new(from, u16::MAX)));
        left
    }

    /// Whether a port is one of these.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl PortProtocol {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Dccp, Self::Sctp, Self::UdpLite];

    /// The number that it has in IP.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        Protocol(match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Dccp => 33,
            Self::Sctp => 132,
            Self::UdpLite => 136,
        })
    }
}

impl TryFrom<Protocol> for PortProtocol {
    type Error = Protocol;

    /// The protocol itself comes back if it has no ports.
    fn try_from(protocol: Protocol) -> Result<Self, Protocol> {
        Self::ALL
            .into_iter()
            .find(|known| known.protocol() == protocol)
            .ok_or(protocol)
    }
}
