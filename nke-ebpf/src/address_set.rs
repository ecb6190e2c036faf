//! Sets of addresses and prefixes, of any size: is an address in one?
//!
//! A set is an array of lines of 64 bytes, each a line of a processor's cache. The user side writes
//! it (`nke::filter::AddressSet`), extensions search it; both go by what stands here.
//!
//! ```
//! use nke_ebpf::address_set::{self, Address, Line};
//!
//! let lines: [Line; 2] = [address_set::header(0, 0, 0), [0; 8]]; // an empty set
//! let address = Address::V4([192, 0, 2, 1]);
//! assert!(!address_set::contains(&lines[..], &address.words(), false));
//! ```
//!
//! # How it is laid out
//!
//! | line | what |
//! |---|---|
//! | 0 | the header: [`header`] |
//! | 1 to the number of buckets | buckets: what is found by hash |
//! | all others | nodes |
//!
//! A *node* stands for all prefixes that agree up to some bit and end within the next seven: those are
//! 254, one bit each, numbered like a heap (the prefix of `n` more bits `b` is bit `2^n + b`). So a
//! prefix is one bit of one node, found without a walk, and written by one write. Which bits nodes begin
//! at is fixed: such that single addresses, /24 of IPv4 and /64 of IPv6 share a node with their
//! nearest kin. An address is looked for once for each beginning that occurs in the set: once
//! where all members are single addresses, at most 5 times for IPv4, 19 for IPv6.
//!
//! A *bucket* has eight places: the tag of a node's hash (16 bits, 0: nobody) and the node's line.
//! No tag occurs twice in a bucket, so that one comparison of all eight tells which node it can be.
//! What finds no place in its bucket goes to the next one, at most [`REACH`] of them in a row.
//!
//! A search never reads beyond [`REACH`] buckets for a beginning, whatever the lines hold, and never
//! believes a tag: the node itself has the last word.

/// What the processor fetches at once, as words.
pub type Line = [u64; 8];

/// How many buckets are looked at, the first one included.
pub const REACH: u32 = 4;

/// How many places a bucket has.
pub const PLACES: usize = 8;

/// In a bucket: the word behind the tags, where two lines of nodes share each word.
pub const NODES: usize = 2;

/// In a bucket: the word that is not 0 if a node found no place in it, ever.
pub const FULL: usize = 6;

/// In a node: the word with the level.
pub const LEVEL: usize = 2;

/// In a node: the first of the words with a bit for each prefix.
pub const BITS: usize = 4;

/// The level of the shortest prefixes of IPv4; the others follow.
const FIRST_V4: u32 = 1;

/// The level of the longest prefixes of IPv4.
const LAST_V4: u32 = 5;

/// The level of the shortest prefixes of IPv6; the others follow.
const FIRST_V6: u32 = 8;

/// The level of the longest prefixes of IPv6.
const LAST_V6: u32 = 26;

/// How many bits a node covers.
const STRIDE: u32 = 7;

/// Where the lines of a set are.
pub trait Lines {
    /// The line of this number, if there is one.
    fn line(&self, number: u32) -> Option<&Line>;
}

impl Lines for [Line] {
    fn line(&self, number: u32) -> Option<&Line> {
        self.get(number as usize)
    }
}

/// An address of either family, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Address {
    /// Sixteen bytes as two words in memory order, as in a [`crate::Flow`]; IPv4 fills the first four.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        match *self {
            Self::V4([a, b, c, d]) => [u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0],
            Self::V6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]) => [
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            ],
        }
    }
}

/// The header of a set: how many buckets it has (a power of two), less one; bits of the levels that
/// occur; and what its hashes begin with.
#[must_use]
pub const fn header(bucket_mask: u32, levels: u32, seed: u64) -> Line {
    [bucket_mask as u64, levels as u64, seed, 0, 0, 0, 0, 0]
}

/// Where a prefix, or an address, belongs on one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The bits before those of the node, the first one highest, zeros behind.
    pub prefix: [u64; 2],
    /// The level.
    pub level: u32,
    /// The seven bits of the node.
    pub bits: u32,
}

impl Key {
    /// Where an address belongs on a level. The words are its bytes in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn of(address: &[u64; 2], level: u32) -> Self {
        let [high, low] = [u64::from_be(address[0]), u64::from_be(address[1])];
        let begin = begin(level);
        // Shifts by less than 64 only: by 64 is not defined.
        let (prefix, rest) = if begin == 0 {
            ([0, 0], high)
        } else if begin < 64 {
            let rest = high << begin | low >> (64 - begin);
            ([high & !(u64::MAX >> begin), 0], rest)
        } else {
            let within = begin & 63;
            let kept = if within == 0 {
                0
            } else {
                !(u64::MAX >> within)
            };
            ([high, low & kept], low << within)
        };
        Self {
            prefix,
            level,
            bits: (rest >> (64 - STRIDE)) as u32,
        }
    }

    /// The hash: its low half chooses the bucket, its high 16 bits the tag.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        // Multiplications that carry every bit to the top, and folds that bring it down again.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [high, low] = self.prefix;
        let mut hash = (high ^ seed).wrapping_mul(ODD);
        hash ^= hash >> 32;
        hash = (hash ^ low ^ self.level as u64).wrapping_mul(ODD);
        hash ^= hash >> 29;
        hash.wrapping_mul(ODD) ^ hash >> 32
    }

    /// The tag of a hash: never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(hash: u64) -> u64 {
        hash >> 48 | 1
    }
}

/// At which bit the nodes of a level begin.
#[inline(always)]
#[must_use]
pub const fn begin(level: u32) -> u32 {
    // 32 and 128 less multiples of seven; the first level has what is left over.
    if level <= FIRST_V4 || level == FIRST_V6 {
        0
    } else if level <= LAST_V4 {
        (level - FIRST_V4) * STRIDE - 3
    } else {
        (level - FIRST_V6) * STRIDE - 5
    }
}

/// The level of prefixes of this length.
#[must_use]
pub const fn level(is_v6: bool, length: u32) -> u32 {
    let (first, spare) = if is_v6 { (FIRST_V6, 5) } else { (FIRST_V4, 3) };
    first + (length + spare).saturating_sub(1) / STRIDE
}

/// The bit of a prefix in its node: its key is that of its first address.
#[must_use]
pub const fn bit(key: &Key, length: u32) -> u32 {
    let own = length - begin(key.level);
    (key.bits | 1 << STRIDE) >> (STRIDE - own)
}

/// Whether the address is in the set, alone or in a prefix. The words are its bytes in memory order.
#[inline(always)]
#[must_use]
pub fn contains(lines: &(impl Lines + ?Sized), address: &[u64; 2], is_v6: bool) -> bool {
    let Some(&[mask, levels, seed, ..]) = lines.line(0) else {
        return false;
    };
    let (mut level, count) = if is_v6 {
        (LAST_V6, LAST_V6 - FIRST_V6 + 1)
    } else {
        (LAST_V4, LAST_V4 - FIRST_V4 + 1)
    };
    for _ in 0..count {
        if levels >> (level & 31) & 1 != 0 && is_on(lines, address, level, mask as u32, seed) {
            return true;
        }
        level -= 1;
    }
    false
}

/// Whether a prefix of this level has the address.
#[inline(always)]
fn is_on(
    lines: &(impl Lines + ?Sized),
    address: &[u64; 2],
    level: u32,
    mask: u32,
    seed: u64,
) -> bool {
    let key = Key::of(address, level);
    let hash = key.hash(seed);
    let tags = Key::tag(hash) * 0x0001_0001_0001_0001;
    let mut bucket = hash as u32;
    for _ in 0..REACH {
        let Some(places) = lines.line(1 + (bucket & mask)) else {
            return false;
        };
        let (first, second) = (lowest(places[0] ^ tags), lowest(places[1] ^ tags));
        if first | second != 0 {
            // A match in the second word alone is one of the last four places.
            let half = (first == 0) as usize;
            let mark = if first == 0 { second } else { first };
            let pair = mark >> 47 & 1 | mark >> 63;
            let odd = mark >> 31 & 1 | mark >> 63;
            let nodes = places[(NODES + half * 2 + pair as usize) & 7];
            let node = (nodes >> (odd * 32)) as u32;
            if lines.line(node).is_some_and(|node| is_in(node, &key)) {
                return true;
            }
        }
        if places[FULL] == 0 {
            return false;
        }
        bucket = bucket.wrapping_add(1);
    }
    false
}

/// The highest bit of the lowest of four half words that is 0, else 0.
#[inline(always)]
const fn lowest(halves: u64) -> u64 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let zeros = halves.wrapping_sub(ONES) & !halves & ONES << 15;
    // Above a half word of 0, one of 1 looks like it: the lowest is right.
    zeros & zeros.wrapping_neg()
}

/// Whether the node is the key's, and has one of the eight prefixes that the address is in.
#[inline(always)]
fn is_in(node: &Line, key: &Key) -> bool {
    if node[0] != key.prefix[0] || node[1] != key.prefix[1] || node[LEVEL] as u32 != key.level {
        return false;
    }
    let longest = key.bits & 0x7f | 1 << STRIDE;
    let mut found = node[(BITS + (longest >> 6) as usize) & 7] >> (longest & 63);
    let next = longest >> 1;
    found |= node[(BITS + (next >> 6) as usize) & 7] >> (next & 63);
    // The others are in the first word.
    let first = node[BITS];
    found |= first >> (next >> 1) | first >> (next >> 2) | first >> (next >> 3);
    found |= first >> (next >> 4) | first >> (next >> 5) | first >> (next >> 6);
    found & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_level_and_its_bit() {
        for (is_v6, longest) in [(false, 32), (true, 128)] {
            for length in 0..=longest {
                let level = level(is_v6, length);
                let begin = begin(level);
                assert!(begin <= length && length <= begin + STRIDE, "/{length}");
                let key = Key::of(&[0, 0], level);
                assert_eq!(bit(&key, length), 1 << (length - begin), "/{length}");
            }
        }
        assert_eq!((level(false, 32), level(true, 128)), (LAST_V4, LAST_V6));
        assert_eq!((level(false, 0), level(true, 0)), (FIRST_V4, FIRST_V6));
    }

    #[test]
    fn the_lowest_empty_half_word_is_found() {
        for place in 0..4 {
            let halves = !(0xffffu64 << (16 * place));
            assert_eq!(lowest(halves), 1 << (16 * place + 15));
        }
        assert_eq!(lowest(0x0001_0000_0001_8000), 1 << 47);
        assert_eq!(lowest(0x0001_0001_0001_0001), 0);
    }
}
