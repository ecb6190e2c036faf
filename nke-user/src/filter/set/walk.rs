//! All members of a set, read back from its lines.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nke_ebpf::set::{ANY_PROTOCOL, BITS, BUCKETS, Key, Kind, LEVEL, PORT_LINES, What};

use super::{Lasting, Member, PortRange, Set, Store};
use crate::filter::rule::{PortProtocol, Prefix, Protocol};

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// Calls this for each member that has not ended, in no order.
    pub(in crate::filter) fn for_each(
        &self,
        now: u64,
        then: impl FnMut(Lasting),
    ) -> io::Result<()> {
        let then = RefCell::new(then);
        let give = |it: Lasting| (then.borrow_mut())(it);
        if self.about()?.kind == Kind::Ports {
            return self.for_each_range(|range| give(Lasting::forever(Member::Ports(range))));
        }
        self.for_each_place(
            |node| self.for_each_of(node, now, give),
            |key, bit| {
                let (is_v6, what) = Key::what(key.level);
                if let What::Prefixes { begin } = what {
                    let member = prefix(is_v6, bits_of(key.prefix), begin, bit);
                    member.map(Lasting::forever).into_iter().for_each(give);
                }
            },
        )
    }

    /// The same for each that is in this node.
    fn for_each_of(&self, node: u32, now: u64, give: impl Fn(Lasting)) -> io::Result<()> {
        let bits = bits_of([self.store.get(node, 0)?, self.store.get(node, 1)?]);
        let (is_v6, what) = Key::what(self.store.get(node, LEVEL)?);
        let timed = |member: Option<Member>| {
            let until = Some(self.store.get(node, BITS)?).filter(|until| *until > now);
            if let (Some(member), Some(_)) = (member, until) {
                give(Lasting { member, until });
            }
            Ok(())
        };
        match what {
            What::Prefixes { begin } => self.for_each_bit(node, |bit| {
                let member = prefix(is_v6, bits, begin, bit);
                member.map(Lasting::forever).into_iter().for_each(&give);
            }),
            What::Pairs { protocol, port } => self.for_each_bit(node, |bit| {
                let port = port | u16::try_from(bit & 0x7f).unwrap_or_default();
                let member = pair(is_v6, bits, protocol, port);
                member.map(Lasting::forever).into_iter().for_each(&give);
            }),
            What::Timed { length } => timed(member(is_v6, bits, length)),
            What::TimedPair { protocol, port } => timed(pair(is_v6, bits, protocol, port)),
        }
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

const fn bits_of([high, low]: [u64; 2]) -> u128 {
    (high as u128) << 64 | low as u128
}

/// The prefix of which this is the bit in a node that begins here.
fn prefix(is_v6: bool, bits: u128, begin: u32, bit: u32) -> Option<Member> {
    // A heap: the highest bit of the number says how many come behind it.
    let own = bit.ilog2();
    let behind = u128::from(bit) << 1 << (127 - own) >> begin;
    member(is_v6, bits | behind, begin + own)
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
