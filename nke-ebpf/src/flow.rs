//! Which flow a packet belongs to: its addresses, protocol and ports.
//!
//! ```
//! use nke_ebpf::{Direction, Family, Flow, Frame};
//!
//! let mut bytes = [0; 38];
//! bytes[12..14].copy_from_slice(&[0x08, 0x00]); // Ethernet: IPv4 follows
//! bytes[14] = 0x45; // version 4, five words of header
//! bytes[23] = 17; // UDP
//! bytes[26..30].copy_from_slice(&[192, 0, 2, 1]);
//! bytes[36..38].copy_from_slice(&[0, 53]);
//!
//! let flow = Flow::of(&Frame::new(&bytes, Direction::In)).unwrap();
//! assert_eq!((flow.family(), flow.protocol()), (Family::V4, Some(17)));
//! assert_eq!(flow.destination_port(), Some(53));
//! ```
//!
//! What is read, and what is not:
//!
//! - up to two VLAN tags are stepped over; behind a third one the packet is no IP packet to us;
//! - an IP header that is cut short, or is not of the version that the ethertype says, is no IP
//!   header: no receiver would take it either;
//! - of a fragment, only the first one carries ports; a later one carries none;
//! - IPv6 extension headers are stepped over, up to [`EXTENSION_HEADERS`] of them and within the
//!   first [`REACH`] bytes of the packet. A packet that hides its protocol behind more than that
//!   is [`Obscured`], and the caller must say what to do with it;
//! - lengths in the IP header are not compared with the packet's: they lie for large segments,
//!   and a receiver that finds them wrong drops the packet itself.
//!
//! A flow never tells of anything that the packet does not really hold.

use crate::{
    Packet,
    abi::{self, facts},
    branchless::{below, equal, forget, half_word, word},
    headers::{Extension, Ipv4, Ipv6, Link, Ports, ethertype, protocol},
    packet::Scratch,
};

/// How many VLAN tags are stepped over.
pub const VLAN_TAGS: usize = 2;

/// How many IPv6 extension headers are stepped over. A sender that keeps to RFC 8200 has at most
/// six of those that are meant here.
pub const EXTENSION_HEADERS: usize = 8;

/// How far into a packet headers are looked for, in bytes.
pub const REACH: usize = 512;
const _: () = assert!(REACH < 1024);

/// Which internet protocol a packet is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Neither IPv4 nor IPv6, as far as can be seen: ARP, MPLS, a broken header.
    Other,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The packet hides its protocol behind more extension headers than are stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obscured;

/// What a packet says of where it comes from and where it goes.
//
// One word of facts instead of a handful of options: the verifier follows every combination of
// known flags through whatever comes behind, but one unknown number only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    facts: u64,
    ports: u64,
    /// Where the protocol's own header begins; 0 if it is not there.
    transport: u64,
    /// The sender's address: sixteen bytes as two words in memory order. Of an IPv4 address, the
    /// first four bytes count.
    pub source: [u64; 2],
    /// The receiver's address, alike.
    pub destination: [u64; 2],
}

/// A fact of our own: the packet ended where a header should have been.
const CUT: u64 = 1 << 31;

impl Flow {
    /// The flow of a packet.
    ///
    /// # Errors
    ///
    /// [`Obscured`] if the protocol is hidden behind too many extension headers.
    #[inline(always)]
    pub fn of(packet: &impl Packet) -> Result<Self, Obscured> {
        Self::asked(packet, false)
    }

    /// The flow of a packet, with what more it says ([`facts::MORE`]) if that is asked for.
    ///
    /// # Errors
    ///
    /// As [`Flow::of`].
    #[inline(always)]
    pub fn asked(packet: &impl Packet, more: bool) -> Result<Self, Obscured> {
        if packet.has_link()
            && let Some(flow) = Self::straight(packet, more)
        {
            return Ok(flow);
        }
        let flow = Self::any(packet)?;
        Ok(if more { flow.with_more(packet) } else { flow })
    }

    /// The flow of any packet.
    #[inline(always)]
    fn any(packet: &impl Packet) -> Result<Self, Obscured> {
        let mut flow = Self {
            facts: 0,
            ports: 0,
            transport: 0,
            source: [0; 2],
            destination: [0; 2],
        };
        match packet.network() {
            Some((ethertype::IPV4, offset)) => flow.read_ipv4(packet, offset),
            Some((ethertype::IPV6, offset)) => flow.read_ipv6(packet, offset)?,
            Some((kind, _)) => {
                let is_arp = equal(u64::from(kind), u64::from(ethertype::ARP));
                flow.facts = is_arp * facts::ARP;
            }
            None => flow.facts = CUT,
        }
        Ok(flow.forgotten(u64::from(packet.len())))
    }

    /// The same flow, of which the verifier has forgotten the facts. By the rest of it hardly any
    /// branch is decided. No bit of the noise may be known.
    #[inline(always)]
    pub(crate) fn with_facts_forgotten(self, noise: u64) -> Self {
        Self {
            facts: forget(self.facts, noise),
            ..self
        }
    }

    /// The same flow, whichever way it was found.
    #[inline(always)]
    pub(crate) fn forgotten(&self, noise: u64) -> Self {
        let Self {
            facts,
            ports,
            transport,
            source,
            destination,
        } = *self;
        Self {
            facts: forget(facts, noise),
            ports: forget(ports, noise),
            transport: forget(transport, noise),
            source: source.map(|word| forget(word, noise)),
            destination: destination.map(|word| forget(word, noise)),
        }
    }

    /// IPv4, IPv6 or neither.
    #[inline(always)]
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.facts & (facts::V4 | facts::V6) {
            facts::V4 => Family::V4,
            facts::V6 => Family::V6,
            _ => Family::Other,
        }
    }

    /// What the IP packet carries. Nothing where the packet ends inside its extension headers, or
    /// where a later fragment has not got them.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> Option<u8> {
        if self.facts & facts::PROTOCOL == 0 {
            return None;
        }
        Some((self.facts >> facts::PROTOCOL_SHIFT) as u8)
    }

    /// The sender's port. Nothing where the protocol has none, where the packet ends before it,
    /// and in every fragment but the first.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> Option<u16> {
        if self.facts & facts::PORTS == 0 {
            return None;
        }
        Some(self.ports as u16)
    }

    /// The receiver's port, alike.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> Option<u16> {
        if self.facts & facts::PORTS == 0 {
            return None;
        }
        Some((self.ports >> 32) as u16)
    }

    /// The sender's address, if the packet is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn source_v4(&self) -> [u8; 4] {
        first_four(self.source)
    }

    /// The receiver's address, if the packet is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn destination_v4(&self) -> [u8; 4] {
        first_four(self.destination)
    }

    /// The sender's address, if the packet is IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn source_v6(&self) -> [u8; 16] {
        sixteen(self.source)
    }

    /// The receiver's address, if the packet is IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn destination_v6(&self) -> [u8; 16] {
        sixteen(self.destination)
    }

    /// What is known, as bits: [`abi::facts`].
    #[inline(always)]
    #[must_use]
    pub const fn facts(&self) -> u64 {
        self.facts & !CUT
    }

    /// Both ports as one number: [`abi::ports`]. 0 where they are not known.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> u64 {
        self.ports
    }

    /// Where the protocol's own header begins; 0 if it is not there.
    #[inline(always)]
    pub(crate) const fn transport(&self) -> usize {
        self.transport as usize
    }

    /// Whether the packet ended where a header should have been.
    #[inline(always)]
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.facts & CUT != 0
    }

    #[inline(always)]
    fn read_ipv4(&mut self, packet: &impl Packet, offset: usize) {
        let mut scratch = Scratch::uninit();
        let Some(ip) = packet.header_in::<Ipv4>(offset, &mut scratch) else {
            self.facts |= CUT;
            return;
        };
        let length = usize::from(ip.version_and_length & 0xf) * 4;
        if ip.version_and_length >> 4 != 4 || length < size_of::<Ipv4>() {
            return;
        }
        self.source = front(half_word(&ip.source).into());
        self.destination = front(half_word(&ip.destination).into());
        self.facts = facts::V4 | known(ip.protocol);
        if ip.fragment.get() & 0x1fff == 0 {
            self.transport = (offset + length) as u64;
            self.read_ports(packet, offset + length, ip.protocol);
        }
    }

    #[inline(always)]
    fn read_ipv6(&mut self, packet: &impl Packet, offset: usize) -> Result<(), Obscured> {
        let mut scratch = Scratch::uninit();
        let Some(ip) = packet.header_in::<Ipv6>(offset, &mut scratch) else {
            self.facts |= CUT;
            return Ok(());
        };
        if ip.version_class_label[0] >> 4 != 6 {
            return Ok(());
        }
        self.source = address_v6(&ip.source);
        self.destination = address_v6(&ip.destination);
        self.facts = facts::V6;
        let mut next = ip.next;
        let mut offset = offset + size_of::<Ipv6>();
        for _ in 0..EXTENSION_HEADERS {
            if !is_extension(next) {
                break;
            }
            let mut scratch = Scratch::uninit();
            let Some(extension) = packet.header_in::<Extension>(offset, &mut scratch) else {
                self.facts |= CUT;
                return Ok(());
            };
            self.facts |= equal(u64::from(next), u64::from(protocol::FRAGMENT)) * facts::FRAGMENT;
            if is_later_fragment(next, extension) != 0 {
                self.facts |= facts::LATER;
                // The rest of the headers, and the ports, went with the first fragment.
                if !is_extension(extension.next) {
                    self.facts |= known(extension.next);
                }
                return Ok(());
            }
            offset += extension_length(next, extension.length);
            if offset > REACH {
                return Err(Obscured);
            }
            offset = below::<1024>(offset);
            next = extension.next;
        }
        if is_extension(next) {
            return Err(Obscured);
        }
        self.facts |= known(next);
        self.transport = offset as u64;
        self.read_ports(packet, offset, next);
        Ok(())
    }

    #[inline(always)]
    fn read_ports(&mut self, packet: &impl Packet, offset: usize, protocol: u8) {
        if !has_ports(protocol) {
            return;
        }
        let mut scratch = Scratch::uninit();
        match packet.header_in::<Ports>(offset, &mut scratch) {
            Some(ports) => {
                self.facts |= facts::PORTS;
                self.ports = abi::ports(ports.source.get(), ports.destination.get());
            }
            None => self.facts |= CUT,
        }
    }
}

/// Length of the Ethernet header.
const LINK_LENGTH: usize = 14;

/// What comes behind the link header and its tags, and where it begins.
#[inline(always)]
pub(crate) fn behind_link(packet: &impl Packet) -> Option<(u16, usize)> {
    let link = packet.header::<Link>(0)?;
    let (kind, tags) = behind_tags(link, packet.tags_taken());
    Some((kind, LINK_LENGTH + tags as usize * 4))
}

/// What comes behind the tags, and how many of them are in the packet (0, 1 or 2).
//
// Without a branch: each would double what the verifier has to walk through behind it.
#[inline(always)]
fn behind_tags(link: &Link, taken: usize) -> (u16, u64) {
    let [first, second, third] = [
        link.ethertype.get(),
        link.tag.ethertype.get(),
        link.second_tag.ethertype.get(),
    ];
    let one = is_tag(first);
    let two = one & is_tag(second) & equal(taken as u64, 0);
    let pick = |set: u64, yes: u16, no: u16| no ^ ((yes ^ no) & 0u16.wrapping_sub(set as u16));
    // Verifiers before Linux 6.8 lose sight of a number's bounds at an "or".
    (pick(two, third, pick(one, second, first)), (one + two) & 3)
}

#[inline(always)]
fn is_tag(kind: u16) -> u64 {
    equal(u64::from(kind), u64::from(ethertype::VLAN))
        | equal(u64::from(kind), u64::from(ethertype::SERVICE_VLAN))
}

#[inline(always)]
fn is_later_fragment(kind: u8, extension: &Extension) -> u64 {
    let is_first = equal(u64::from(extension.fragment.get() & 0xfff8), 0);
    equal(u64::from(kind), u64::from(protocol::FRAGMENT)) & (is_first ^ 1)
}

/// How long an extension header is, by its kind and what its length field says.
#[inline(always)]
fn extension_length(kind: u8, length: u8) -> usize {
    let is_fragment = equal(u64::from(kind), u64::from(protocol::FRAGMENT));
    let is_authentication = equal(u64::from(kind), u64::from(protocol::AUTHENTICATION));
    // (length + 1) * 8 in general, (length + 2) * 4 for authentication, 8 for a fragment.
    let length = u64::from(length) & is_fragment.wrapping_sub(1);
    let eights = (length + 1) * 8;
    let fours = (length + 2) * 4;
    (eights ^ ((eights ^ fours) & 0u64.wrapping_sub(is_authentication))) as usize
}

/// The facts that a known protocol adds.
#[inline(always)]
const fn known(protocol: u8) -> u64 {
    facts::PROTOCOL | (protocol as u64) << facts::PROTOCOL_SHIFT
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

/// Whether the protocol's header begins with two ports.
#[inline(always)]
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE
    )
}

#[inline(always)]
pub(crate) fn address_v4(bytes: &[u8; 4]) -> [u64; 2] {
    front(half_word(bytes).into())
}

/// The words of an IPv4 address, from its bytes as a number in memory order.
#[inline(always)]
const fn front(address: u64) -> [u64; 2] {
    if cfg!(target_endian = "little") {
        [address, 0]
    } else {
        [address << 32, 0]
    }
}

#[inline(always)]
pub(crate) fn address_v6([first, second]: &[[u8; 8]; 2]) -> [u64; 2] {
    [word(first), word(second)]
}

#[inline(always)]
const fn first_four([first, _]: [u64; 2]) -> [u8; 4] {
    let [a, b, c, d, ..] = first.to_ne_bytes();
    [a, b, c, d]
}

#[inline(always)]
const fn sixteen([first, second]: [u64; 2]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

mod more;
mod straight;
mod towards;
#[cfg(feature = "bpf")]
pub(crate) use more::tagged;
pub(crate) use more::{ether, tag_behind_link};
#[cfg(feature = "bpf")]
pub(crate) use straight::Straight;
#[cfg(feature = "bpf")]
pub(crate) use towards::mapped;

#[cfg(test)]
mod tests;
