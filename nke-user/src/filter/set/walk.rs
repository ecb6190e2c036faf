//! All members of a set, read back from its lines.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nke_ebpf::set::{ANY_PROTOCOL, BITS, BUCKETS, Key, Kind, LEVEL, PORT_LINES, What};

use super::{Lasting, Member, NEXT, PortRange, Set, Store};
use crate::filter::rule::{PortProtocol, Prefix, Protocol};

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// Calls this for each member that has not ended, in no order.
    pub(in crate::filter) fn for_each(
        &self,
        now: u64,
        mut then: impl FnMut(Lasting),
    ) -> io::Result<()> {
        if self.about()?.kind == Kind::Ports {
            return self.for_each_range(|range| then(Lasting::forever(Member::Ports(range))));
        }
        let first = BUCKETS + self.store.get(0, 0)? as u32 + 1;
        let next = u32::try_from(self.store.get(1, NEXT)?).unwrap_or(u32::MAX);
        for node in first..next.min(self.store.length()) {
            let level = self.store.get(node, LEVEL)?;
            let prefix = [self.store.get(node, 0)?, self.store.get(node, 1)?];
            let [high, low] = prefix.map(u128::from);
            let bits = high << 64 | low;
            let (is_v6, what) = Key::what(level);
            match what {
                What::Prefixes { begin } => self.for_each_bit(node, |bit| {
                    // A heap: the highest bit of the number says how many come behind it.
                    let own = bit.ilog2();
                    let behind = u128::from(bit) << 1 << (127 - own) >> begin;
                    let own = begin + own;
                    member(is_v6, bits | behind, own)
                        .map(Lasting::forever)
                        .into_iter()
                        .for_each(&mut then);
                })?,
                What::Pairs { protocol, port } => self.for_each_bit(node, |bit| {
                    let port = port | u16::try_from(bit & 0x7f).unwrap_or_default();
                    pair(is_v6, bits, protocol, port)
                        .map(Lasting::forever)
                        .into_iter()
                        .for_each(&mut then);
                })?,
                What::Timed { length } => {
                    let until = Some(self.store.get(node, BITS)?).filter(|until| *until > now);
                    let member = until.and_then(|_| member(is_v6, bits, length));
                    member
                        .map(|member| Lasting { member, until })
                        .into_iter()
                        .for_each(&mut then);
                }
                What::TimedPair { protocol, port } => {
                    let until = Some(self.store.get(node, BITS)?).filter(|until| *until > now);
                    let member = until.and_then(|_| pair(is_v6, bits, protocol, port));
                    member
                        .map(|member| Lasting { member, until })
                        .into_iter()
                        .for_each(&mut then);
                }
            }
        }
        Ok(())
    }

    fn for_each_bit(&self, node: u32, mut then: impl FnMut(u32)) -> io::Result<()> {
        for index in 0..4 {
            let mut word = self.store.get(node, BITS + index as usize)?;
            while word != 0 {
                match index * 64 + word.trailing_zeros() {
                    // No number of a heap.
                    0 => {}
                    bit => then(bit),
                }
                word &= word - 1;
            }
        }
        Ok(())
    }

    fn for_each_range(&self, mut then: impl FnMut(PortRange)) -> io::Result<()> {
        let mut begun: Option<u16> = None;
        let mut last = 0;
        for port in 0..=u16::MAX {
            let line = (BUCKETS + u32::from(port) / 512).min(PORT_LINES - 1);
            let word = self.store.get(line, usize::from(port / 64 % 8))?;
            let is_in = word >> (port % 64) & 1 != 0;
            match (begun, is_in) {
                (None, true) => begun = Some(port),
                (Some(first), false) => {
                    PortRange::new(first, last).into_iter().for_each(&mut then);
                    begun = None;
                }
                (None, false) | (Some(_), true) => {}
            }
            last = port;
        }
        let open = begun.and_then(|first| PortRange::new(first, last));
        open.into_iter().for_each(then);
        Ok(())
    }
}

/// The prefix of this length with these bits in front.
fn member(is_v6: bool, bits: u128, length: u32) -> Option<Member> {
    let length = u8::try_from(length).ok()?;
    match address(is_v6, bits) {
        IpAddr::V4(address) => Prefix::<Ipv4Addr>::new(address, length).map(Member::V4),
        IpAddr::V6(address) => Prefix::<Ipv6Addr>::new(address, length).map(Member::V6),
    }
}

fn pair(is_v6: bool, bits: u128, protocol: u32, port: u16) -> Option<Member> {
    let protocol = match protocol {
        ANY_PROTOCOL => None,
        number => Some(PortProtocol::try_from(Protocol(u8::try_from(number).ok()?)).ok()?),
    };
    Some(Member::Pair {
        protocol,
        address: address(is_v6, bits),
        port,
    })
}

fn address(is_v6: bool, bits: u128) -> IpAddr {
    if is_v6 {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(
            u32::try_from(bits >> 96).unwrap_or_default(),
        ))
    }
}
