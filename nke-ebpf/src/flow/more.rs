//! What few rules ask for: TCP flags, ICMP types, fragments, DSCP, VLAN tags.
//!
//! It is read in a second look at the headers, which a rule set that asks for none of it never
//! takes. Like the first, it tells of nothing that the packet does not hold.

use super::{CUT, Flow, LINK_LENGTH, is_tag};
use crate::{
    Packet,
    abi::facts,
    branchless::{below, equal},
    headers::{Ethernet, Icmp, Ipv4, Ipv6, Tcp, Vlan, protocol},
    packet::Scratch,
};

impl Flow {
    /// The same flow, with what more its packet says: [`facts::MORE`].
    #[inline(always)]
    #[must_use]
    pub fn with_more(mut self, packet: &impl Packet) -> Self {
        self.facts |= packet.tag();
        if let Some((_, offset)) = packet.network() {
            let mut scratch = Scratch::uninit();
            if self.facts & facts::V4 != 0 {
                if let Some(ip) = packet.header_in::<Ipv4>(offset, &mut scratch) {
                    self.facts |= dscp(ip.traffic_class) | fragment(ip.fragment.get());
                }
            } else if self.facts & facts::V6 != 0
                && let Some(ip) = packet.header_in::<Ipv6>(offset, &mut scratch)
            {
                let [high, low, ..] = ip.version_class_label;
                self.facts |= dscp(high << 4 | low >> 4);
            }
        }
        self.read_detail(packet);
        self.forgotten(u64::from(packet.len()))
    }

    /// What the protocol's own header says beside the ports.
    #[inline(always)]
    pub(super) fn read_detail(&mut self, packet: &impl Packet) {
        let offset = below::<1024>(self.transport as usize);
        if offset == 0 {
            return;
        }
        let mut scratch = Scratch::uninit();
        let detail = match (self.facts >> facts::PROTOCOL_SHIFT) as u8 {
            protocol::TCP => {
                let tcp = packet.header_in::<Tcp>(offset, &mut scratch);
                tcp.map(|tcp| u64::from(tcp.flags))
            }
            protocol::ICMP | protocol::ICMP6 => {
                let icmp = packet.header_in::<Icmp>(offset, &mut scratch);
                icmp.map(|icmp| u64::from(icmp.kind) | u64::from(icmp.code) << 8)
            }
            _ => return,
        };
        self.facts |= match detail {
            Some(detail) => facts::DETAIL | detail << facts::DETAIL_SHIFT,
            None => CUT,
        };
    }
}

/// The addresses of a frame, receiver's first, each with its first byte highest.
#[inline(always)]
pub(crate) fn ether(packet: &impl Packet) -> Option<[u64; 2]> {
    let link = packet.header::<Ethernet>(0)?;
    let octets = |[a, b, c, d, e, f]: &[u8; 6]| u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    Some([octets(&link.destination), octets(&link.source)])
}

/// The outer tag of a packet that begins with its link header, as facts.
#[inline(always)]
pub(crate) fn tag_behind_link(packet: &impl Packet) -> u64 {
    let link = packet.header::<Ethernet>(0);
    if link.is_none_or(|link| is_tag(link.ethertype.get()) == 0) {
        return 0;
    }
    let tag = packet.header::<Vlan>(LINK_LENGTH);
    tag.map_or(0, |tag| tagged(tag.control.get()))
}

/// The facts of a packet with this tag: priority (3 bits), drop eligibility (1), identifier (12).
#[inline(always)]
pub(crate) const fn tagged(control: u16) -> u64 {
    facts::TAGGED | ((control & 0xfff) as u64) << facts::VLAN_SHIFT
}

/// Six bits, with two for congestion behind them.
#[inline(always)]
pub(super) const fn dscp(traffic_class: u8) -> u64 {
    facts::DSCP | ((traffic_class >> 2) as u64) << facts::DSCP_SHIFT
}

/// IPv4's word of fragments: flags (3 bits), and the offset (13).
#[inline(always)]
fn fragment(word: u16) -> u64 {
    const MORE_FOLLOW: u16 = 1 << 13;
    let whole = equal(u64::from(word & (MORE_FOLLOW | 0x1fff)), 0);
    let first = equal(u64::from(word & 0x1fff), 0);
    let (is_part, is_later) = (whole ^ 1, first ^ 1);
    (is_part * facts::FRAGMENT) | (is_later * facts::LATER)
}
