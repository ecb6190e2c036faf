//! Where a member, or what is asked for, belongs: the key of its node, and its bits there.

use super::{ALONE, Asks, LEVEL, Line, WITH_PROTOCOL, bits::STRIDE};
use crate::abi::facts;

/// Levels that are no beginning of a prefix.
const PAIR: u64 = 125;
const TIMED: u64 = 126;
const TIMED_PAIR: u64 = 127;

/// The bit of a level that says IPv6.
const V6: u32 = 7;

/// Where the rest of what tells nodes apart begins in a level: a length, or a protocol and a port.
const REST: u32 = 8;

/// How many bits a protocol takes there.
const PROTOCOL: u32 = 9;

/// In the place of a protocol's number: whichever.
pub const ANY_PROTOCOL: u32 = 256;

/// Where a member, or what is asked for, belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The bits before those of the node, the first one highest, zeros behind.
    pub prefix: [u64; 2],
    /// What kind of node it is, and what else is asked for: never 0.
    pub level: u64,
    /// The seven bits of the node.
    pub bits: u32,
}

impl Key {
    /// Where what is asked for belongs, on this level, or (among members with timeouts) with this length.
    #[inline(always)]
    #[must_use]
    pub(super) fn asked(asked: &impl Asks, level: u8, is_pair: bool, is_timed: bool) -> Self {
        let (facts, address) = (asked.facts(), &asked.address());
        let is_v6 = facts & facts::V6 != 0;
        if !is_pair {
            return if is_timed {
                Self::timed(address, is_v6, level)
            } else {
                Self::of(address, is_v6, level)
            };
        }
        let port = asked.port();
        let number = (facts >> facts::PROTOCOL_SHIFT) as u32 & 0xff;
        let protocol = if level == WITH_PROTOCOL {
            number
        } else {
            ANY_PROTOCOL
        };
        if is_timed {
            Self::timed_pair(address, is_v6, protocol, port)
        } else {
            Self::pair(address, is_v6, protocol, port)
        }
    }

    /// Where an address belongs among prefixes of a level: one more than the bit where nodes
    /// [`begin`](super::begin). The words are its bytes in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn of(address: &[u64; 2], is_v6: bool, level: u8) -> Self {
        let [high, low] = [u64::from_be(address[0]), u64::from_be(address[1])];
        let begin = (level as u32).wrapping_sub(1) & 0x7f;
        let within = begin & 63;
        let mask = !(u64::MAX >> within);
        // Shifts by less than 64 only: by 64 is not defined.
        let (prefix, rest) = if begin < 64 {
            ([high & mask, 0], high << within | low >> 1 >> (63 - within))
        } else {
            ([high, low & mask], low << within)
        };
        Self {
            prefix,
            level: level as u64 & 0x7f | (is_v6 as u64) << V6,
            bits: (rest >> (64 - STRIDE)) as u32,
        }
    }

    /// The same of an IPv4 address, the first word.
    #[inline(always)]
    #[must_use]
    pub(super) const fn of_v4(address: u64, level: u8) -> Self {
        // Nodes begin at bit 25 at the latest.
        Self::of(&[address, 0], false, level & 0x1f)
    }

    /// Where an address belongs among prefixes with timeouts, of this length and one more.
    #[inline(always)]
    #[must_use]
    pub const fn timed(address: &[u64; 2], is_v6: bool, length: u8) -> Self {
        let [high, low] = [u64::from_be(address[0]), u64::from_be(address[1])];
        let length = (length as u32).wrapping_sub(1) & 0xff;
        let mask = !(u64::MAX >> (length & 63));
        let prefix = if length >= 128 {
            [high, low]
        } else if length >= 64 {
            [high, low & mask]
        } else {
            [high & mask, 0]
        };
        Self {
            prefix,
            level: TIMED | (is_v6 as u64) << V6 | (length as u64) << REST,
            bits: 0,
        }
    }

    /// Where an address with a port belongs. The protocol is a number, or [`ANY_PROTOCOL`].
    #[inline(always)]
    #[must_use]
    pub const fn pair(address: &[u64; 2], is_v6: bool, protocol: u32, port: u32) -> Self {
        Self {
            prefix: [u64::from_be(address[0]), u64::from_be(address[1])],
            level: PAIR | paired(is_v6, protocol, port as u16 >> STRIDE),
            bits: port & 0x7f,
        }
    }

    /// Where an address with a port and a timeout belongs.
    #[inline(always)]
    #[must_use]
    pub const fn timed_pair(address: &[u64; 2], is_v6: bool, protocol: u32, port: u32) -> Self {
        Self {
            prefix: [u64::from_be(address[0]), u64::from_be(address[1])],
            level: TIMED_PAIR | paired(is_v6, protocol, port as u16),
            bits: 0,
        }
    }

    /// The hash: its low half chooses the bucket, its high 16 bits the tag.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        // Multiplications that carry every bit to the top, and folds that bring it down again.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [high, low] = self.prefix;
        // Such that no two keys are alike to every seed.
        let seed = seed.wrapping_add(self.level).wrapping_mul(ODD);
        let mut hash = (high ^ seed).wrapping_mul(ODD);
        hash ^= hash >> 32;
        hash = (hash ^ low).wrapping_mul(ODD);
        hash ^= hash >> 29;
        hash.wrapping_mul(ODD) ^ hash >> 32
    }

    /// The tag of a hash: never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(hash: u64) -> u64 {
        hash >> 48 | 1
    }

    /// What stands in the place of a node's line where one prefix is alone, with [`ALONE`]: all of the key.
    /// Only for nodes of IPv4 prefixes; of others something without that bit.
    #[inline(always)]
    #[must_use]
    pub const fn alone(&self) -> u32 {
        // Of IPv4, nodes begin at bit 25 at the latest.
        let (prefix, level) = ((self.prefix[0] >> 39) as u32, self.level as u32 & 0x1f);
        let is_v4 = self.level <= 32;
        (is_v4 as u32 * ALONE) | prefix << 5 | level
    }

    /// The key of which this is [`Self::alone`].
    #[must_use]
    pub const fn of_alone(alone: u32) -> Self {
        Self {
            prefix: [((alone & !ALONE) as u64 >> 5) << 39, 0],
            level: alone as u64 & 0x1f,
            bits: 0,
        }
    }

    /// Whether a node is this key's.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, node: &Line) -> bool {
        node[0] == self.prefix[0] && node[1] == self.prefix[1] && node[LEVEL] == self.level
    }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Prefixes that end within seven bits from here on.
    Prefixes {
        /// The first bit.
        begin: u32,
    },
    /// 128 ports of an address.
    Pairs {
        /// The protocol, or [`ANY_PROTOCOL`].
        protocol: u32,
        /// The first port.
        port: u16,
    },
    /// A prefix with a timeout.
    Timed {
        /// Its length.
        length: u32,
    },
    /// An address with a port and a timeout.
    TimedPair {
        /// The protocol, or [`ANY_PROTOCOL`].
        protocol: u32,
        /// The port.
        port: u16,
    },
}

impl Key {
    /// Whether a level is of IPv6, and what the node is for.
    #[must_use]
    pub const fn what(level: u64) -> (bool, What) {
        let rest = level >> REST;
        let protocol = (rest & ((1 << PROTOCOL) - 1)) as u32;
        let port = (rest >> PROTOCOL) as u16;
        let what = match level & 0x7f {
            PAIR => What::Pairs {
                protocol,
                port: port << STRIDE,
            },
            TIMED => What::Timed {
                length: rest as u32 & 0xff,
            },
            TIMED_PAIR => What::TimedPair { protocol, port },
            level => What::Prefixes {
                begin: (level as u32).saturating_sub(1),
            },
        };
        (level >> V6 & 1 != 0, what)
    }
}

/// What tells nodes of addresses with ports apart, but for the address.
#[inline(always)]
const fn paired(is_v6: bool, protocol: u32, port: u16) -> u64 {
    let protocol = (protocol & ((1 << PROTOCOL) - 1)) as u64;
    (is_v6 as u64) << V6 | protocol << REST | (port as u64) << (REST + PROTOCOL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_bits_in_front_of_its_node() {
        let address = [
            0x0123_4567_89ab_cdefu64.to_be(),
            0xfedc_ba98_7654_3210u64.to_be(),
        ];
        let key = |begin: u8| Key::of(&address, true, begin + 1);
        assert_eq!((key(0).prefix, key(0).bits), ([0, 0], 0));
        assert_eq!(key(9).prefix, [0x0100_0000_0000_0000, 0]);
        assert_eq!(key(9).bits, 0x23);
        let last = key(121);
        assert_eq!(last.prefix, [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3200]);
        assert_eq!(last.bits, 0x10);
        let timed = Key::timed(&address, true, 65);
        assert_eq!(timed.prefix, [0x0123_4567_89ab_cdef, 0]);
        let timed = Key::timed(&address, true, 129);
        assert_eq!(timed.prefix[1], 0xfedc_ba98_7654_3210);
    }

    #[test]
    fn a_key_of_ipv4_is_one_number() {
        let address = [0xffa5_5a81_0000_0000u64.to_be(), 0];
        for level in [1, 5, 12, 19, 26] {
            let key = Key::of(&address, false, level);
            assert_eq!(key.alone() & ALONE, ALONE);
            let again = Key::of_alone(key.alone());
            assert_eq!((again.prefix, again.level), (key.prefix, key.level));
            assert_eq!(Key::of(&address, true, level).alone() & ALONE, 0);
        }
        assert_eq!(Key::pair(&address, false, 6, 80).alone() & ALONE, 0);
        assert_eq!(Key::timed(&address, false, 33).alone() & ALONE, 0);
    }

    #[test]
    fn what_differs_has_different_keys() {
        let all = [
            Key::pair(&[1, 0], false, 6, 80),
            Key::pair(&[1, 0], true, 6, 80),
            Key::pair(&[1, 0], false, ANY_PROTOCOL, 80),
            Key::pair(&[1, 0], false, 17, 80),
            Key::pair(&[1, 0], false, 6, 65535),
            Key::timed_pair(&[1, 0], false, 6, 80),
            Key::timed_pair(&[1, 0], false, 6, 81),
            Key::timed_pair(&[1, 0], false, 6, 65535),
            Key::timed(&[1, 0], false, 33),
            Key::timed(&[1, 0], true, 33),
            Key::of(&[1, 0], false, 26),
        ];
        for (nth, one) in all.iter().enumerate() {
            for other in &all[nth + 1..] {
                assert_ne!((one.prefix, one.level), (other.prefix, other.level));
            }
        }
    }
}
