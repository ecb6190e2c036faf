//! The headers that packets begin with, as they lie in the packet.
//!
//! Every header is bytes at alignment 1, because nothing promises more for a packet's address.
//! Numbers that the network writes big end first are their own type, so that they cannot be
//! compared with a host number by mistake:
//!
//! ```
//! use nke_ebpf::{Direction, Frame, Packet, headers::Ethernet};
//!
//! let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06];
//! let frame = Frame::new(&bytes, Direction::In);
//! assert_eq!(frame.header::<Ethernet>(0).map(|header| header.ethertype.get()), Some(0x0806));
//! ```
//!
//! Headers are never copied out of the packet: the verifier refuses to read what a copy leaves
//! undefined.
#![expect(
    unsafe_code,
    reason = "a header is a promise about the layout of bytes"
)]

/// A type that may lie anywhere in a packet.
///
/// # Safety
///
/// The type must be `repr(C)` with alignment 1 and no padding, and every pattern of bits must be
/// a value of it: in short, a struct of bytes and arrays of bytes.
pub unsafe trait Header {}

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// The number in the host's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// A 32-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Be32([u8; 4]);

impl Be32 {
    /// The number in the host's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

/// The Ethernet header.
#[derive(Debug)]
#[repr(C)]
pub struct Ethernet {
    /// Address of the receiver.
    pub destination: [u8; 6],
    /// Address of the sender.
    pub source: [u8; 6],
    /// What follows: one of [`ethertype`], or a length below 1536.
    pub ethertype: Be16,
}

/// The Ethernet header and the place of the two tags that may follow it.
///
/// A packet too short for this is too short for any IP header behind its Ethernet header.
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    /// Address of the receiver.
    pub destination: [u8; 6],
    /// Address of the sender.
    pub source: [u8; 6],
    /// What follows: one of [`ethertype`], or a length below 1536.
    pub ethertype: Be16,
    /// The tag, if the ethertype says that there is one.
    pub tag: Vlan,
    /// The tag behind it, if that one's ethertype says that there is one.
    pub second_tag: Vlan,
}

/// An 802.1Q or 802.1ad tag, behind its ethertype.
#[derive(Debug)]
#[repr(C)]
pub struct Vlan {
    /// Priority (3 bits), drop eligibility (1), VLAN identifier (12).
    pub control: Be16,
    /// What follows.
    pub ethertype: Be16,
}

/// The fixed part of the IPv4 header.
#[derive(Debug)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits), and the header's length in words of 32 bits (4).
    pub version_and_length: u8,
    /// Differentiated services (6 bits), and congestion (2).
    pub traffic_class: u8,
    /// Length of header and payload.
    pub total_length: Be16,
    /// Which datagram a fragment belongs to.
    pub identification: Be16,
    /// Flags (3 bits), and the fragment's offset in units of eight bytes (13).
    pub fragment: Be16,
    /// Hops that are left.
    pub time_to_live: u8,
    /// What follows: one of [`protocol`].
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: Be16,
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}

/// The fixed IPv6 header.
#[derive(Debug)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_label: [u8; 4],
    /// Length of everything behind this header.
    pub payload_length: Be16,
    /// What follows: one of [`protocol`].
    pub next: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Sender, in two halves.
    pub source: [[u8; 8]; 2],
    /// Receiver, in two halves.
    pub destination: [[u8; 8]; 2],
}

/// The first eight bytes of an IPv6 extension header; the whole of a fragment header.
#[derive(Debug)]
#[repr(C)]
pub struct Extension {
    /// What follows.
    pub next: u8,
    /// Length of this header, in a unit and from an origin that depend on the kind.
    pub length: u8,
    /// In a fragment header: the offset in units of eight bytes (13 bits), flags (3).
    pub fragment: Be16,
    /// Depends on the kind.
    pub rest: [u8; 4],
}

/// The start of every transport header that has ports.
#[derive(Debug)]
#[repr(C)]
pub struct Ports {
    /// Port of the sender.
    pub source: Be16,
    /// Port of the receiver.
    pub destination: Be16,
}

/// The TCP header as far as its flags.
#[derive(Debug)]
#[repr(C)]
pub struct Tcp {
    /// The ports.
    pub ports: Ports,
    /// Number of the first byte.
    pub sequence: [u8; 4],
    /// Number of the next byte that is expected.
    pub acknowledgement: [u8; 4],
    /// Length of the header in words of 32 bits (4 bits), and bits that nobody uses.
    pub length: u8,
    /// From the lowest: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR.
    pub flags: u8,
}

/// The beginning of a message of ICMP, of either family.
#[derive(Debug)]
#[repr(C)]
pub struct Icmp {
    /// What kind of message it is.
    pub kind: u8,
    /// Which of its kind.
    pub code: u8,
}

/// What nearly all IPv4 packets begin with: no tag, no options, and ports.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct StraightV4 {
    pub(crate) link: Ethernet,
    pub(crate) ip: Ipv4,
    pub(crate) ports: Ports,
}

/// What nearly all IPv6 packets begin with: no tag, no extension headers, and ports.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct StraightV6 {
    pub(crate) link: Ethernet,
    pub(crate) ip: Ipv6,
    pub(crate) ports: Ports,
}

/// The TCP header as far as its flags, with its numbers.
#[derive(Debug)]
#[repr(C)]
pub struct Segment {
    /// The ports.
    pub ports: Ports,
    /// Number of the first byte.
    pub sequence: Be32,
    /// Number of the next byte that is expected.
    pub acknowledgement: Be32,
    /// Length of the header in words of 32 bits (4 bits), and bits that nobody uses.
    pub length: u8,
    /// As [`Tcp::flags`].
    pub flags: u8,
}

/// An echo request or reply of ICMP, of either family; the beginning of an error, too.
#[derive(Debug)]
#[repr(C)]
pub struct Echo {
    /// What kind of message it is.
    pub kind: u8,
    /// Which of its kind.
    pub code: u8,
    /// Checksum of the message.
    pub checksum: Be16,
    /// Which process asks.
    pub identifier: Be16,
    /// Which of its questions this is.
    pub sequence: Be16,
}

macro_rules! headers {
    ($($header:ty = $size:literal),+ $(,)?) => {
        $(
            // SAFETY: a `repr(C)` struct of bytes, arrays of bytes and `Be16` (which is an array
            // of bytes); the assertions keep it so.
            unsafe impl Header for $header {}
            const _: () = assert!(size_of::<$header>() == $size && align_of::<$header>() == 1);
        )+
    };
}

headers!(
    Ethernet = 14,
    Link = 22,
    Vlan = 4,
    Ipv4 = 20,
    Ipv6 = 40,
    Extension = 8,
    Ports = 4,
    Tcp = 14,
    Icmp = 2,
    StraightV4 = 38,
    StraightV6 = 58,
    Segment = 14,
    Echo = 8
);

/// Values of [`Ethernet::ethertype`].
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Values of [`Ipv4::protocol`] and [`Ipv6::next`].
pub mod protocol {
    /// IPv6 hop-by-hop options, an extension header.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 routing, an extension header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment, an extension header.
    pub const FRAGMENT: u8 = 44;
    /// IPsec authentication; in IPv6 an extension header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMP6: u8 = 58;
    /// IPv6 destination options, an extension header.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}
