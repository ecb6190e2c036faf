//! The seven bits of a node, and the tags of a bucket: what is asked without a branch.

use super::{BITS, LINE_WORDS, Line};
use crate::branchless::below;

/// How many bits a node of prefixes covers.
pub(super) const STRIDE: u32 = 7;

/// The bit at which the node of a prefix of this length begins.
#[must_use]
pub const fn begin(is_v6: bool, length: u32) -> u32 {
    // 32 and 128 less multiples of seven; the first nodes have what is left over.
    let spare = if is_v6 { 5 } else { 3 };
    let step = (length + spare).saturating_sub(1) / STRIDE;
    (step * STRIDE).saturating_sub(spare)
}

/// The bit of a prefix in its node, of which these are the seven bits, by how much of its length is
/// behind the node's beginning.
#[must_use]
pub const fn bit(bits: u32, own: u32) -> u32 {
    (bits | 1 << STRIDE) >> (STRIDE - own)
}

/// Where a prefix ends that is alone in its node: of eight bits its own ones in front, then a 1. Never 0.
#[must_use]
pub const fn end(bit: u32) -> u8 {
    let own = (bit | 1).ilog2();
    (((bit << 1 | 1) << STRIDE.saturating_sub(own)) & 0xff) as u8
}

/// The bit of a prefix of which this is the [`end`], if it is one.
#[must_use]
pub const fn ended(end: u8) -> Option<u32> {
    if end == 0 {
        return None;
    }
    Some((end as u32 | 1 << 8) >> (end.trailing_zeros() + 1))
}

/// Whether these seven bits are in the prefix that ends so.
#[inline(always)]
pub(super) const fn has_end(end: u8, bits: u32) -> bool {
    let end = end as u32;
    // The lowest 1, and all below.
    let behind = end ^ end.wrapping_sub(1);
    end != 0 && (bits << 1 ^ end) & !behind & 0xff == 0
}

/// The highest bit of the lowest of four half words that is 0, else 0.
#[inline(always)]
pub(super) const fn lowest(halves: u64) -> u64 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let zeros = halves.wrapping_sub(ONES) & !halves & ONES << 15;
    // Above a half word of 0, one of 1 looks like it: the lowest is right.
    zeros & zeros.wrapping_neg()
}

/// Whether the node has one of the eight prefixes that these seven bits are in.
#[inline(always)]
pub(super) fn has_prefix(node: &Line, bits: u32) -> bool {
    let longest = bits & 0x7f | 1 << 7;
    let mut found = node[below::<LINE_WORDS>(BITS + (longest >> 6) as usize)] >> (longest & 63);
    let next = longest >> 1;
    found |= node[below::<LINE_WORDS>(BITS + (next >> 6) as usize)] >> (next & 63);
    // The others are in the first word.
    let first = node[BITS];
    found |= first >> (next >> 1) | first >> (next >> 2) | first >> (next >> 3);
    found |= first >> (next >> 4) | first >> (next >> 5) | first >> (next >> 6);
    found & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::{super::Key, *};

    #[test]
    fn every_length_has_its_node_and_its_bit() {
        for (is_v6, longest) in [(false, 32), (true, 128)] {
            for length in 0..=longest {
                let begin = begin(is_v6, length);
                assert!(begin <= length && length <= begin + STRIDE, "/{length}");
                let level = u8::try_from(begin + 1).unwrap();
                let key = Key::of(&[0, 0], is_v6, level);
                let own = length - begin;
                assert_eq!(bit(key.bits, own), 1 << own, "/{length}");
            }
        }
        assert_eq!((begin(false, 32), begin(true, 128)), (25, 121));
        assert_eq!((begin(false, 0), begin(true, 0)), (0, 0));
    }

    #[test]
    fn a_prefix_alone_has_what_it_has_in_a_node() {
        for number in 1..=255u32 {
            let one = end(number);
            assert_eq!(ended(one), Some(number));
            let mut node = [0; 8];
            node[BITS + number as usize / 64] = 1 << (number % 64);
            for bits in 0..128 {
                assert_eq!(
                    has_end(one, bits),
                    has_prefix(&node, bits),
                    "{number} {bits}"
                );
            }
        }
        assert_eq!(ended(0), None);
        assert!((0..128).all(|bits| !has_end(0, bits)));
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
