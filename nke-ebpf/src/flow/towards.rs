//! The flow of a socket call: where to, and by what protocol. Nobody has sent anything yet.

use super::{Flow, facts, front, has_ports, known};
use crate::abi;

impl Flow {
    /// A flow to (or, of `bind`, at) this address, sixteen bytes as two words in memory order.
    ///
    /// An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`) is the IPv4 address: a
    /// socket that is given it speaks IPv4.
    #[inline(always)]
    #[must_use]
    pub fn towards_v6(address: [u64; 2], protocol: u8, port: u16) -> Self {
        match mapped(address) {
            Some(address) => Self::towards_v4(address, protocol, port),
            None => Self {
                facts: facts::V6 | carried(protocol),
                ports: ports(protocol, port),
                transport: 0,
                source: [0; 2],
                destination: address,
            },
        }
    }

    /// The same, of the four bytes of an IPv4 address as a number in memory order.
    #[inline(always)]
    #[must_use]
    pub fn towards_v4(address: u32, protocol: u8, port: u16) -> Self {
        Self {
            facts: facts::V4 | carried(protocol),
            ports: ports(protocol, port),
            transport: 0,
            source: [0; 2],
            destination: front(address.into()),
        }
    }
}

/// The IPv4 address that is mapped into an IPv6 address, if one is.
#[inline(always)]
pub(crate) fn mapped([first, second]: [u64; 2]) -> Option<u32> {
    let (marker, address) = abi::split(second);
    (first == 0 && marker == u32::from_ne_bytes([0, 0, 0xff, 0xff])).then_some(address)
}

#[inline(always)]
fn carried(protocol: u8) -> u64 {
    let ports = if has_ports(protocol) { facts::PORTS } else { 0 };
    known(protocol) | ports
}

#[inline(always)]
fn ports(protocol: u8, port: u16) -> u64 {
    if has_ports(protocol) {
        abi::ports(0, port)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let words = |bytes: [u8; 16]| {
            let (words, _) = bytes.as_chunks::<8>();
            [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
        };
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&[10, 0, 0, 1]);
        let flow = Flow::towards_v6(words(bytes), 6, 22);
        assert_eq!(flow.family(), Family::V6, "only compatible, not mapped");
        bytes[10..12].copy_from_slice(&[0xff, 0xff]);
        let flow = Flow::towards_v6(words(bytes), 6, 22);
        assert_eq!((flow.family(), flow.protocol()), (Family::V4, Some(6)));
        assert_eq!(flow.destination_v4(), [10, 0, 0, 1]);
        assert_eq!(flow.destination_port(), Some(22));
        let same = Flow::towards_v4(u32::from_ne_bytes([10, 0, 0, 1]), 6, 22);
        assert_eq!(flow, same);
    }

    #[test]
    fn only_some_protocols_have_ports() {
        assert_eq!(Flow::towards_v4(1, 1, 7).destination_port(), None);
        assert_eq!(Flow::towards_v4(1, 1, 7).ports(), 0);
        assert_eq!(Flow::towards_v4(1, 17, 7).destination_port(), Some(7));
    }
}
