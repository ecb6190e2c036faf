//! Packets of a connection, as the kernel's test runs take them for each type of program.
//!
//! This must never send anything.

use std::net::{IpAddr, SocketAddr};

use crate::hook::{Hook, ProgramType, Way};

/// What a program is run on.
pub(super) struct Probe {
    pub(super) packet: Vec<u8>,
    pub(super) context: Vec<u8>,
}

/// A packet for the hook's type of program: the kernel wants a link header at all layers, and in the
/// context where the packet is.
pub(super) fn probe(hook: Hook, ifindex: Option<u32>, ip: Vec<u8>) -> Probe {
    let is_v4 = ip.first().is_some_and(|byte| byte >> 4 == 4);
    let ether_type: [u8; 2] = if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let framed = || [&[0; 12][..], &ether_type, &ip].concat();
    let row = hook.row();
    match row.program_type {
        ProgramType::Netfilter => {
            let family = if is_v4 {
                libc::NFPROTO_IPV4
            } else {
                libc::NFPROTO_IPV6
            };
            // struct nf_hook_state: the hook, the family, and pointers that stay the kernel's.
            let mut context = vec![0; 8 + 5 * size_of::<usize>()];
            context[0] = row.attach_type.to_le_bytes()[0];
            context[1] = family.to_le_bytes()[0];
            let packet = if row.is_tested_without_link() {
                ip
            } else {
                framed()
            };
            Probe { packet, context }
        }
        ProgramType::Xdp => {
            // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
            // egress_ifindex.
            let packet = framed();
            let length = u32::try_from(packet.len()).unwrap_or_default();
            let context = [0, length, 0, ifindex.unwrap_or_default(), 0, 0];
            let context = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
            Probe { packet, context }
        }
        ProgramType::SchedCls => {
            // struct __sk_buff: ingress_ifindex at 36, ifindex at 40.
            let ifindex = ifindex.unwrap_or_default();
            let mut context = vec![0; 192];
            if row.way == Way::In {
                context[36..40].copy_from_slice(&ifindex.to_ne_bytes());
            }
            context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
            Probe {
                packet: framed(),
                context,
            }
        }
        ProgramType::CgroupSkb
        | ProgramType::CgroupSock
        | ProgramType::CgroupSockAddr
        | ProgramType::CgroupSockopt
        | ProgramType::SockOps
        | ProgramType::SkSkb
        | ProgramType::SkMsg
        | ProgramType::SkLookup => Probe {
            packet: framed(),
            context: Vec::new(),
        },
    }
}

/// A segment of a TCP connection that stands, from its IP header on.
pub(crate) fn tcp((from, to): (SocketAddr, SocketAddr), payload: &[u8]) -> Vec<u8> {
    const ACK: u8 = 0x10;
    const PUSH: u8 = 0x08;
    let mut segment = Vec::new();
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(0x1000_0000u32.to_be_bytes());
    segment.extend(0x2000_0000u32.to_be_bytes());
    let flags = if payload.is_empty() { ACK } else { ACK | PUSH };
    segment.extend([0x50, flags, 0x10, 0x00]); // 20 bytes of header; the window
    segment.extend([0; 4]); // checksum, urgent pointer
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap_or_default();
    let (addresses, header) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            let mut header = vec![0x45, 0x10]; // SSH marks its packets as interactive
            header.extend((20 + length).to_be_bytes());
            header.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
            header.extend(&addresses);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (addresses, header)
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let addresses = [octets(from), octets(to)].concat();
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([6, 64]);
            header.extend(&addresses);
            (addresses, header)
        }
    };
    let pseudo = [&addresses[..], &[0, 6], &length.to_be_bytes(), &segment].concat();
    let sum = checksum(&pseudo);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    [header, segment].concat()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Direction, dissect};

    #[test]
    fn packets_are_what_the_filter_takes_them_for() {
        for (from, to) in [
            ("192.0.2.1:50000", "192.0.2.2:22"),
            ("[fd00::1]:50000", "[fd00::2]:22"),
        ] {
            let ends = (from.parse().unwrap(), to.parse().unwrap());
            let ip = tcp(ends, b"hello");
            let probe = probe(Hook::INTERFACE_IN, Some(3), ip);
            let packet = dissect(&probe.packet, Direction::In).unwrap();
            let rule = format!(
                "drop in proto tcp from {} port 50000 to {} port 22",
                ends.0.ip(),
                ends.1.ip()
            );
            let rule: crate::filter::Rule = rule.parse().unwrap();
            assert!(rule.matches(&packet), "{packet:?}");
        }
    }

    #[test]
    fn what_the_host_sends_has_no_link_header_yet() {
        let hook = |name: &str| name.parse::<Hook>().unwrap();
        for (name, link) in [("ip/in", 14), ("ip/out", 0), ("ip/postrouting", 14)] {
            let probe = probe(hook(name), None, vec![0x45; 20]);
            assert_eq!(probe.packet.len(), link + 20, "{name}");
        }
    }

    #[test]
    fn checksums_are_right_when_they_come_to_nothing() {
        let ends = (
            "192.0.2.1:50000".parse().unwrap(),
            "192.0.2.2:22".parse().unwrap(),
        );
        let ip = tcp(ends, b"odd");
        assert_eq!(checksum(&ip[..20]), 0);
        let length = u16::try_from(ip.len() - 20).unwrap();
        let pseudo = [&ip[12..20], &[0, 6], &length.to_be_bytes(), &ip[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
