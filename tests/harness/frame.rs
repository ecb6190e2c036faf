//! Exact frames, written down layer by layer.
//!
//! ```
//! use nke_tests::frame::{Frame, Ip};
//!
//! let ip = Ip::new("10.1.0.1", "10.1.0.2");
//! let frame = Frame::from_outside().vlan(7).ip(&ip.udp(1000, 53, b"query"));
//! assert_eq!(frame.len(), 14 + 4 + 20 + 8 + 5);
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet header, and the VLAN tags behind it.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// From the outside's interface to the inside's.
    #[must_use]
    pub fn from_outside() -> Self {
        Self {
            bytes: vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1],
        }
    }

    /// From the inside's interface to the outside's.
    #[must_use]
    pub fn from_inside() -> Self {
        Self {
            bytes: vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2],
        }
    }

    /// Adds an 802.1Q tag.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// Adds a tag of any kind: `0x88a8` is 802.1ad's outer one.
    #[must_use]
    pub fn tag(mut self, kind: u16, id: u16) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(id.to_be_bytes());
        self
    }

    /// The frame with an IP packet in it.
    #[must_use]
    pub fn ip(self, packet: &[u8]) -> Vec<u8> {
        let kind = if packet.first().is_some_and(|byte| byte >> 4 == 6) {
            0x86dd
        } else {
            0x0800
        };
        self.of(kind, packet)
    }

    /// The frame with anything in it.
    #[must_use]
    pub fn of(mut self, kind: u16, payload: &[u8]) -> Vec<u8> {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(payload);
        self.bytes
    }
}

/// Fields of an IP header that tests vary; the methods make packets of it.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The datagram's number, which its fragments share.
    pub id: u16,
    /// IPv4 options, or IPv6 extension headers: (their type, all their bytes but the next type).
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl Ip {
    /// A header from one address to another of the same family.
    ///
    /// # Panics
    ///
    /// When either is no address, or the families differ.
    #[must_use]
    pub fn new(source: &str, destination: &str) -> Self {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (source, destination) = (address(source), address(destination));
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
        Self {
            source,
            destination,
            id: 1,
            extensions: Vec::new(),
        }
    }

    /// A UDP packet.
    #[must_use]
    pub fn udp(&self, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
        self.packet(17, &self.udp_datagram(from, to, data))
    }

    /// A TCP segment with these flags.
    #[must_use]
    pub fn tcp(&self, from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let sum = self.transport_sum(6, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(6, &segment)
    }

    /// An echo request of ICMP, or ICMPv6.
    #[must_use]
    pub fn echo(&self) -> Vec<u8> {
        let (protocol, kind) = if self.source.is_ipv4() {
            (1, 8)
        } else {
            (58, 128)
        };
        let mut message = vec![kind, 0, 0, 0, 0, 7, 0, 1];
        let sum = if protocol == 1 {
            sum(&message)
        } else {
            self.transport_sum(58, &message)
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(protocol, &message)
    }

    /// A UDP datagram in fragments whose sizes are given; all but the last are multiples of 8.
    ///
    /// # Panics
    ///
    /// When the sizes do not add up to the datagram.
    #[must_use]
    pub fn udp_fragments(&self, from: u16, to: u16, data: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let datagram = self.udp_datagram(from, to, data);
        assert_eq!(
            sizes.iter().sum::<usize>(),
            datagram.len(),
            "the fragments are the datagram"
        );
        let mut offset = 0;
        let mut fragments = Vec::new();
        for size in sizes {
            let end = offset + size;
            let more = end < datagram.len();
            fragments.push(self.fragment(17, offset, more, &datagram[offset..end]));
            offset = end;
        }
        fragments
    }

    /// One fragment: its place in the datagram in bytes, whether more follow, and its part.
    #[must_use]
    pub fn fragment(&self, protocol: u8, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
        let place = u16::try_from(offset).expect("a datagram is less than 64 KiB");
        if self.source.is_ipv4() {
            return self.v4(protocol, (place / 8) | (u16::from(more) << 13), part);
        }
        let mut header = vec![0];
        header.extend((place | u16::from(more)).to_be_bytes());
        header.extend(u32::from(self.id).to_be_bytes());
        let mut with = self.clone();
        with.extensions.push((44, header));
        with.packet(protocol, part)
    }

    /// A packet of any protocol.
    #[must_use]
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        if self.source.is_ipv4() {
            self.v4(protocol, 0, payload)
        } else {
            self.v6(protocol, payload)
        }
    }

    fn v4(&self, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) else {
            unreachable!("checked when made");
        };
        let options: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        let header_length = 20 + options.len();
        let words = u8::try_from(header_length / 4).expect("a header is short");
        let length = u16::try_from(header_length + payload.len()).expect("less than 64 KiB");
        let mut packet = vec![0x40 | words, 0];
        packet.extend(length.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(Ipv4Addr::octets(&source));
        packet.extend(Ipv4Addr::octets(&destination));
        packet.extend(options);
        let check = sum(&packet);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn v6(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, self.destination) else {
            unreachable!("checked when made");
        };
        let mut body = Vec::new();
        let mut types = self
            .extensions
            .iter()
            .map(|(kind, _)| *kind)
            .chain([protocol]);
        let first = types.next().unwrap_or(protocol);
        for ((_, bytes), next) in self.extensions.iter().zip(types) {
            body.push(next);
            body.extend(bytes);
        }
        body.extend(payload);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(
            u16::try_from(body.len())
                .expect("less than 64 KiB")
                .to_be_bytes(),
        );
        packet.extend([first, 64]);
        packet.extend(Ipv6Addr::octets(&source));
        packet.extend(Ipv6Addr::octets(&destination));
        packet.extend(body);
        packet
    }

    fn udp_datagram(&self, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + data.len()).expect("less than 64 KiB");
        let mut datagram = [from, to, length, 0].map(u16::to_be_bytes).concat();
        datagram.extend(data);
        let sum = self.transport_sum(17, &datagram);
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        datagram
    }

    /// The checksum of a transport header with the pseudo header that belongs to it.
    fn transport_sum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let mut all = match (self.source, self.destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
            (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
            _ => unreachable!("checked when made"),
        };
        all.extend(
            u32::try_from(segment.len())
                .expect("less than 64 KiB")
                .to_be_bytes(),
        );
        all.extend([0, 0, 0, protocol]);
        all.extend(segment);
        match sum(&all) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// The checksum of the Internet.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
