//! Bytes of a packet, read by the book: what the rules ask of it, and no more.
//!
//! The kernel side reads packets in its own way (`nke_ebpf::Flow`), which must come to the same.
//! This one is written from the same page of words, in another hand: slices, and no cleverness.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::conditions::{Dscp, Fragment, VlanId};
use super::expression::Frame;
use super::further::{Mac, Mark};
use super::interface_name::InterfaceName;
use super::rule::{Direction, PortProtocol, Protocol, Way};

/// What the rules can ask of a packet; or of a call, which is like a packet from nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes.
    pub way: Way,
    /// Whether it is ARP.
    pub arp: bool,
    /// Sender and receiver, if it is an IP packet.
    pub ends: Option<Ends>,
    /// What it carries, if that shows.
    pub protocol: Option<Protocol>,
    /// The sender's port and the receiver's, if they show.
    pub ports: Option<(u16, u16)>,
    /// The flags of TCP, if they show.
    pub tcp_flags: Option<u8>,
    /// The type and the code of an ICMP message, if they show.
    pub icmp: Option<(u8, u8)>,
    /// [`Fragment::First`] or [`Fragment::Later`], if it is one.
    pub fragment: Option<Fragment>,
    /// Its code point, if it is an IP packet.
    pub dscp: Option<Dscp>,
    /// Its outer VLAN tag, if it has one.
    pub vlan: Option<VlanId>,
    /// How many bytes it has behind its link header and tags, if that is said.
    pub length: Option<u32>,
    /// What is known of the mark that the kernel keeps with it.
    pub mark: Option<Mark>,
    /// Where its frame comes from and goes, if it has one and that is said.
    pub ether: Option<(Mac, Mac)>,
    /// The interface that it comes in by, or goes out by if it only goes out, if that is said.
    pub interface: Option<InterfaceName>,
    /// Its bytes, where they are known: expressions ask for any of them.
    pub frame: Option<Frame>,
}

impl Packet {
    /// What goes some way, and of which nothing else is known.
    #[must_use]
    pub const fn unknown(way: Way) -> Self {
        Self {
            way,
            arp: false,
            ends: None,
            protocol: None,
            ports: None,
            tcp_flags: None,
            icmp: None,
            fragment: None,
            dscp: None,
            vlan: None,
            length: None,
            mark: None,
            ether: None,
            interface: None,
            frame: None,
        }
    }
}

/// Sender and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Of an IPv4 packet.
    V4(Ipv4Addr, Ipv4Addr),
    /// Of an IPv6 packet.
    V6(Ipv6Addr, Ipv6Addr),
}

/// The packet hides what it carries behind too many extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obscured;

/// Reads a packet that begins with its Ethernet header.
///
/// # Errors
///
/// [`Obscured`] if the packet hides what it carries behind too many extension headers.
pub fn dissect(bytes: &[u8], direction: Direction) -> Result<Packet, Obscured> {
    let mut nothing = Packet {
        length: Some(0),
        mark: Some(Mark::whole(0)),
        ether: bytes
            .first_chunk()
            .map(|[a, b, c, d, e, f, g, h, i, j, k, l]| {
                (Mac([*g, *h, *i, *j, *k, *l]), Mac([*a, *b, *c, *d, *e, *f]))
            }),
        ..Packet::unknown(direction.into())
    };
    let Some(mut kind) = number(bytes, 12) else {
        return Ok(nothing);
    };
    let mut start = 14;
    for _ in 0..nke_ebpf::VLAN_TAGS {
        if kind != 0x8100 && kind != 0x88a8 {
            break;
        }
        let (Some(tag), Some(inner)) = (number(bytes, start), number(bytes, start + 2)) else {
            return Ok(nothing);
        };
        nothing.vlan = nothing.vlan.or(VlanId::new(tag & 0xfff));
        (kind, start) = (inner, start + 4);
    }
    if bytes.len() >= LINK {
        nothing.length = u32::try_from(bytes.len() - start).ok();
    }
    carried(kind, bytes, start, nothing)
}

/// Reads a packet that begins with its IP header, of the version that this ethertype means: as it
/// comes by at the IP layer.
///
/// # Errors
///
/// As [`dissect`].
pub(super) fn dissect_behind_link(
    kind: u16,
    bytes: &[u8],
    direction: Direction,
) -> Result<Packet, Obscured> {
    let plain = Packet {
        length: u32::try_from(bytes.len()).ok(),
        mark: Some(Mark::whole(0)),
        ..Packet::unknown(direction.into())
    };
    carried(kind, bytes, 0, plain)
}

/// What a frame of this ethertype carries, which begins there.
fn carried(kind: u16, bytes: &[u8], start: usize, nothing: Packet) -> Result<Packet, Obscured> {
    match kind {
        0x0800 => Ok(ipv4(bytes, start, nothing)),
        0x86dd => ipv6(bytes, start, nothing),
        // A receiver would want more of it; a filter of neighbours had better not.
        0x0806 => Ok(Packet {
            arp: bytes.len() >= LINK,
            ..nothing
        }),
        _ => Ok(nothing),
    }
}

/// What is looked at of a link header: with the place of two tags.
const LINK: usize = 22;

fn ipv4(bytes: &[u8], start: usize, nothing: Packet) -> Packet {
    let Some(header) = bytes.get(start..start + 20) else {
        return nothing;
    };
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return nothing;
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    const MORE_FOLLOW: u16 = 1 << 13;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let protocol = Protocol(header[9]);
    let plain = Packet {
        ends: Some(Ends::V4(address(12), address(16))),
        protocol: Some(protocol),
        dscp: Dscp::new(header[1] >> 2),
        fragment: match (fragment & 0x1fff != 0, fragment & MORE_FOLLOW != 0) {
            (true, _) => Some(Fragment::Later),
            (false, true) => Some(Fragment::First),
            (false, false) => None,
        },
        ..nothing
    };
    if plain.fragment == Some(Fragment::Later) {
        return plain;
    }
    carrying(plain, bytes, start + length, protocol)
}

fn ipv6(bytes: &[u8], start: usize, nothing: Packet) -> Result<Packet, Obscured> {
    let Some(header) = bytes.get(start..start + 40) else {
        return Ok(nothing);
    };
    if header[0] >> 4 != 6 {
        return Ok(nothing);
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    let mut plain = Packet {
        ends: Some(Ends::V6(address(8), address(24))),
        dscp: Dscp::new((header[0] << 4 | header[1] >> 4) >> 2),
        ..nothing
    };
    let (mut kind, mut at, mut passed) = (header[6], start + 40, 0);
    while is_extension(kind) {
        if passed == nke_ebpf::EXTENSION_HEADERS || at > nke_ebpf::REACH {
            return Err(Obscured);
        }
        let Some(extension) = bytes.get(at..at + 8) else {
            return Ok(plain);
        };
        if kind == FRAGMENT {
            plain.fragment = Some(Fragment::First);
        }
        let later_fragment =
            kind == FRAGMENT && u16::from_be_bytes([extension[2], extension[3]]) >> 3 != 0;
        if later_fragment {
            let shown = !is_extension(extension[0]);
            return Ok(Packet {
                protocol: shown.then_some(Protocol(extension[0])),
                fragment: Some(Fragment::Later),
                ..plain
            });
        }
        at += match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(extension[1]) + 2) * 4,
            _ => (usize::from(extension[1]) + 1) * 8,
        };
        kind = extension[0];
        passed += 1;
    }
    if at > nke_ebpf::REACH {
        return Err(Obscured);
    }
    let protocol = Protocol(kind);
    plain.protocol = Some(protocol);
    Ok(carrying(plain, bytes, at, protocol))
}

/// With what the header of the protocol says, which begins there.
fn carrying(packet: Packet, bytes: &[u8], start: usize, protocol: Protocol) -> Packet {
    let byte = |at: usize| bytes.get(start + at).copied();
    let tcp = protocol == PortProtocol::Tcp.protocol();
    let icmp = protocol == Protocol(1) || protocol == Protocol(58);
    Packet {
        ports: ports(bytes, start, protocol),
        tcp_flags: byte(13).filter(|_| tcp),
        icmp: byte(0).zip(byte(1)).filter(|_| icmp),
        ..packet
    }
}

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

fn is_extension(kind: u8) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION_OPTIONS: u8 = 60;
    [
        HOP_BY_HOP,
        ROUTING,
        FRAGMENT,
        AUTHENTICATION,
        DESTINATION_OPTIONS,
    ]
    .contains(&kind)
}

fn ports(bytes: &[u8], start: usize, protocol: Protocol) -> Option<(u16, u16)> {
    PortProtocol::try_from(protocol).ok()?;
    // A header that is cut in the middle shows neither.
    let second = number(bytes, start + 2)?;
    Some((number(bytes, start)?, second))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
