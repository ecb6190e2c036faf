//! The packets that are nearly all: IP without tags, options, extension headers or fragments, with the ports of TCP or
//! UDP.
//!
//! One comparison with the packet's end is enough for all of that, and every number is one load. What is
//! found is what the long way finds, or nothing: then it must be asked.

use super::{Flow, LINK_LENGTH, front, known, more::dscp};
use crate::{
    Packet,
    abi::{self, facts},
    branchless::at,
    headers::{Ipv4, Ipv6, StraightV4, StraightV6, ethertype, protocol},
};

/// Where the IP header's fields lie in the packet.
const IP: usize = LINK_LENGTH;
/// The transport header behind IPv4's.
const V4_END: usize = IP + size_of::<Ipv4>();
/// The transport header behind IPv6's.
const V6_END: usize = IP + size_of::<Ipv6>();

/// Bits of IPv4's word of fragments that a whole packet has not set: one that says that more follow, and
/// the offset.
const PART: u64 = 0x3fff_u16.to_be() as u64;

/// The flow of a packet that is as simple as nearly all are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Straight {
    V4(Flow),
    V6(Flow),
}

impl Straight {
    /// The flow of such a packet, which begins with its link header.
    #[inline(always)]
    pub(crate) fn of(packet: &impl Packet, more: bool) -> Option<Self> {
        // No IP packet that has ports is shorter.
        let first = packet.header::<StraightV4>(0)?;
        let kind = at::<12, 2, _>(first);
        if kind == u64::from(ethertype::IPV4.to_be()) {
            Flow::straight_v4(packet, first, more).map(Self::V4)
        } else if kind == u64::from(ethertype::IPV6.to_be()) {
            Flow::straight_v6(packet, packet.header(0)?, more).map(Self::V6)
        } else {
            None
        }
    }
}

impl Flow {
    /// The same, whatever its family.
    #[inline(always)]
    pub(super) fn straight(packet: &impl Packet, more: bool) -> Option<Self> {
        let (Straight::V4(flow) | Straight::V6(flow)) = Straight::of(packet, more)?;
        // Whatever a packet begins with, the verifier knows nothing of it.
        let noise = at::<0, 8, _>(packet.header::<StraightV4>(0)?);
        Some(flow.with_facts_forgotten(noise))
    }

    #[inline(always)]
    fn straight_v4(packet: &impl Packet, header: &StraightV4, more: bool) -> Option<Self> {
        // Version 4, five words.
        if at::<IP, 1, _>(header) != 0x45 || at::<{ IP + 6 }, 2, _>(header) & PART != 0 {
            return None;
        }
        let mut flow = Self {
            facts: facts::V4 | straight_protocol(at::<{ IP + 9 }, 1, _>(header))?,
            ports: ports(
                at::<V4_END, 2, _>(header),
                at::<{ V4_END + 2 }, 2, _>(header),
            ),
            transport: V4_END as u64,
            source: front(at::<{ IP + 12 }, 4, _>(header)),
            destination: front(at::<{ IP + 16 }, 4, _>(header)),
        };
        if more {
            flow.read_straight(packet, at::<{ IP + 1 }, 1, _>(header) as u8);
        }
        Some(flow)
    }

    #[inline(always)]
    fn straight_v6(packet: &impl Packet, header: &StraightV6, more: bool) -> Option<Self> {
        if at::<IP, 1, _>(header) >> 4 != 6 {
            return None;
        }
        let mut flow = Self {
            facts: facts::V6 | straight_protocol(at::<{ IP + 6 }, 1, _>(header))?,
            ports: ports(
                at::<V6_END, 2, _>(header),
                at::<{ V6_END + 2 }, 2, _>(header),
            ),
            transport: V6_END as u64,
            source: [
                at::<{ IP + 8 }, 8, _>(header),
                at::<{ IP + 16 }, 8, _>(header),
            ],
            destination: [
                at::<{ IP + 24 }, 8, _>(header),
                at::<{ IP + 32 }, 8, _>(header),
            ],
        };
        if more {
            let start = u16::from_be(at::<IP, 2, _>(header) as u16);
            flow.read_straight(packet, (start >> 4) as u8);
        }
        Some(flow)
    }

    /// What more a packet says that is no fragment, and has no tag but one that was taken.
    #[inline(always)]
    fn read_straight(&mut self, packet: &impl Packet, class: u8) {
        if packet.tags_taken() != 0 {
            self.facts |= packet.tag();
        }
        self.facts |= dscp(class);
        self.read_detail(packet);
    }
}

/// The facts of a protocol that is TCP or UDP, its ports being there.
#[inline(always)]
fn straight_protocol(number: u64) -> Option<u64> {
    let number = number as u8;
    (number == protocol::TCP || number == protocol::UDP).then_some(known(number) | facts::PORTS)
}

/// Two ports as they lie in the packet.
#[inline(always)]
fn ports(source: u64, destination: u64) -> u64 {
    let host = |port: u64| u16::from_be(port as u16);
    abi::ports(host(source), host(destination))
}
