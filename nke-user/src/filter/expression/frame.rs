//! The bytes that an expression is asked about: those of a packet, or where it is given in words, those that
//! such a packet has.
//!
//! What the words do not say is zero, but for lengths and what makes headers what they are. This makes
//! bytes and never sends them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::filter::conditions::Fragment;
use crate::filter::dissect::{Ends, Packet};
use crate::filter::further::Mac;
use crate::filter::rule::Protocol;

/// Bytes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on, or at the IP layer from the IP header on.
    pub bytes: Arc<[u8]>,
    /// Whether it begins with an Ethernet header.
    pub has_link: bool,
}

const TCP: u8 = 6;
const FRAGMENT: u8 = 44;

/// A frame that is read as this packet is.
pub(super) fn made_up(packet: &Packet) -> Vec<u8> {
    let (from, to) = packet.ether.unwrap_or((Mac([0; 6]), Mac([0; 6])));
    let mut bytes = [to.0, from.0].concat();
    if let Some(vlan) = packet.vlan {
        bytes.extend(0x8100u16.to_be_bytes());
        bytes.extend(vlan.number().to_be_bytes());
    }
    let (kind, network) = match packet.ends {
        Some(Ends::V4(from, to)) => (0x0800u16, v4(packet, &[from.into(), to.into()])),
        Some(Ends::V6(from, to)) => (0x86dd, v6(packet, &[from.into(), to.into()])),
        None if packet.arp => (0x0806, vec![0; 28]),
        // For experiments: nobody's.
        None => (0x88b5, vec![0; 46]),
    };
    bytes.extend(kind.to_be_bytes());
    bytes.extend(network);
    bytes
}

fn octets(ends: &[IpAddr; 2]) -> Vec<u8> {
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    ends.iter().flat_map(octets).collect()
}

fn v4(packet: &Packet, ends: &[IpAddr; 2]) -> Vec<u8> {
    const MORE_FOLLOW: u16 = 1 << 13;
    let payload = payload(packet, 20);
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let fragment = match packet.fragment {
        None | Some(Fragment::None) => 0,
        Some(Fragment::Later) => 1,
        Some(Fragment::First | Fragment::Any) => MORE_FOLLOW,
    };
    let class = packet.dscp.map_or(0, |dscp| dscp.number() << 2);
    let mut bytes = vec![0x45, class];
    bytes.extend([length, 0, fragment].map(u16::to_be_bytes).concat());
    bytes.extend([64, number(packet), 0, 0]);
    bytes.extend(octets(ends));
    bytes.extend(payload);
    bytes
}

fn v6(packet: &Packet, ends: &[IpAddr; 2]) -> Vec<u8> {
    let mut next = number(packet);
    let mut extension = Vec::new();
    if let Some(fragment) = packet.fragment {
        let offset = if fragment == Fragment::Later { 8 } else { 1 };
        extension = vec![next, 0, 0, offset, 0, 0, 0, 0];
        next = FRAGMENT;
    }
    let payload = payload(packet, 40 + extension.len());
    let length = u16::try_from(extension.len() + payload.len()).unwrap_or(u16::MAX);
    let class = packet.dscp.map_or(0, |dscp| dscp.number() << 2);
    let mut bytes = vec![0x60 | class >> 4, class << 4, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(octets(ends));
    bytes.extend(extension);
    bytes.extend(payload);
    bytes
}

/// What it carries; one that hides it hides it behind destination options.
fn number(packet: &Packet) -> u8 {
    const DESTINATION_OPTIONS: u8 = 60;
    packet
        .protocol
        .map_or(DESTINATION_OPTIONS, |Protocol(number)| number)
}

/// What comes behind this many bytes of IP headers.
fn payload(packet: &Packet, headers: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some((from, to)) = packet.ports {
        bytes.extend([from, to].map(u16::to_be_bytes).concat());
        if number(packet) == TCP {
            bytes.extend([0; 8]);
            bytes.extend([0x50, packet.tcp_flags.unwrap_or(0)]);
            bytes.extend([0; 6]);
        } else {
            bytes.extend([0, 8, 0, 0]);
        }
    } else if let Some((kind, code)) = packet.icmp {
        bytes.extend([kind, code]);
        bytes.extend([0; 6]);
    }
    if let Some(length) = packet.length {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 16);
        bytes.resize(wanted.saturating_sub(headers).max(bytes.len()), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use crate::filter::{Dialect, Direction, Way, dissect};

    #[test]
    fn what_is_made_of_words_is_read_as_they_say() {
        for words in [
            "in tcp 10.1.2.3:999 > 10.0.0.1:22 flags SA dscp ef",
            "in udp [fd00::1]:5000 > [fd00::2]:53 vlan 7",
            "in icmp 10.0.0.1 > 10.0.0.2 type echo-request code 0",
            "in udp fragment 10.0.0.1 > 10.0.0.2",
            "in tcp first-fragment [fd00::1]:1 > [fd00::2]:2 flags S",
            "in sctp cut 10.0.0.1 > 10.0.0.2",
            "in arp vlan 9",
            "in not-ip",
        ] {
            let packet = Dialect::Packets.packet(words, Way::In).unwrap();
            let mut read = dissect(&super::made_up(&packet), Direction::In).unwrap();
            read.length = packet.length;
            (read.ether, read.mark) = (packet.ether, packet.mark);
            assert_eq!(read, packet, "{words}");
        }
    }
}
