//! Addresses of IPv4 that are alone in their nodes, where a set has many: three bytes for each.
//!
//! All that tells a node that begins at bit 25 from its like is 25 bits. They are mixed by a permutation; the highest choose
//! a line, and the lowest are then enough to tell who it is. What finds no place in its line goes to the next one, and
//! has in its tag by how many, at most [`REACH`] of them in a row.
//!
//! | words of a line | what |
//! |---|---|
//! | 0 to 4 | 20 tags of 16 bits, 0 where nobody is |
//! | 5, 6, and half of 7 | 20 bytes: where each prefix ends, see [`end`](super::end), or 0 where it is gone |
//! | the rest of 7 | not 0 if somebody found no place here, ever |

use core::borrow::Borrow;

use super::{
    Key, LINE_WORDS, Line, Lines, REACH, SEED, behind_blocks,
    bits::{has_end, lowest},
};
use crate::branchless::below;

/// In word 0 of line 0: how many lines of singles there are stands above.
pub const SINGLES_SHIFT: u32 = 41;

/// So many lines at least, that the bits of a tag are enough.
pub const LEAST_SINGLES: u32 = 1 << (BITS - TAG_BITS);

/// How many places a line has.
pub const SINGLES: usize = 20;

/// The level of the nodes whose prefixes can be here.
pub const SINGLES_LEVEL: u64 = 26;

/// How many bits tell nodes of that level apart.
const BITS: u32 = 25;
const ALL: u32 = (1 << BITS) - 1;

/// How many of them are in a tag.
const TAG_BITS: u32 = 13;

/// In a tag: somebody.
const TAKEN: u32 = 1 << 15;

/// Factors of the permutation.
const FACTORS: [u32; 2] = [0x9e_3779, 0x1c_a3d5];

/// Half of the bits, and one more.
const FOLD: u32 = 13;

/// Where the node of a single belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// The node's bits, mixed.
    mixed: u32,
    /// How many lines there are.
    lines: u32,
    /// The first of them.
    first: u32,
}

impl Single {
    /// Where the node of level [`SINGLES_LEVEL`] of an IPv4 address belongs, the first word; nothing where a set has no table
    /// of singles.
    #[inline(always)]
    #[must_use]
    pub fn of(header: &Line, address: u64) -> Option<Self> {
        let lines = (header[0] >> SINGLES_SHIFT) as u32;
        let node = (u64::from_be(address) >> (64 - BITS)) as u32;
        (lines != 0).then_some(Self {
            mixed: mix(node, header[SEED]),
            lines,
            first: behind_blocks(header[0]),
        })
    }

    /// The line that is so many behind the one it belongs to.
    #[inline(always)]
    #[must_use]
    pub fn line(&self, step: u32) -> u32 {
        let home = (u64::from(self.mixed) * u64::from(self.lines)) >> BITS;
        let nth = home as u32 + step;
        let nth = if nth >= self.lines {
            nth - self.lines
        } else {
            nth
        };
        self.first.wrapping_add(nth)
    }

    /// Its tag there.
    #[inline(always)]
    #[must_use]
    pub fn tag(&self, step: u32) -> u32 {
        TAKEN | step << TAG_BITS | self.mixed & ((1 << TAG_BITS) - 1)
    }

    /// Where the byte of a place lies in its line, that says where the prefix ends: the word, and by how much it is shifted.
    #[inline(always)]
    #[must_use]
    pub fn end(place: usize) -> (usize, usize) {
        (below::<LINE_WORDS>(5 + place / 8), place % 8 * 8)
    }

    /// The bit of a line's last word that says that it was full.
    pub const FULL: u64 = 1 << 63;

    /// Whether a prefix that is alone has this address.
    #[inline(always)]
    pub(super) fn has(lines: &(impl Lines + ?Sized), header: &Line, address: u64) -> bool {
        for step in 0..REACH {
            // Each time anew, rather than on the stack.
            let address = lines.read(&address);
            let Some(single) = Self::of(header, address) else {
                return false;
            };
            let Some(line) = lines.line(single.line(step)) else {
                return false;
            };
            let line = line.borrow();
            if let Some(place) = place_of(line, single.tag(step)) {
                let (word, shift) = Self::end(place);
                let bits = Key::of_v4(address, SINGLES_LEVEL as u8).bits;
                return has_end((lines.read(&line[word]) >> shift) as u8, bits);
            }
            if line[LINE_WORDS - 1] & Self::FULL == 0 {
                return false;
            }
        }
        false
    }

    /// The node that has this tag in a line, the `nth` of so many: the first word of an address. There must be a line.
    #[must_use]
    pub fn node(tag: u32, nth: u32, lines: u32, seed: u64) -> u64 {
        let step = tag >> TAG_BITS & (REACH - 1);
        let home = if nth < step {
            nth.wrapping_add(lines)
        } else {
            nth
        }
        .wrapping_sub(step);
        // The first that belongs there, and from there on the one that ends so.
        let first = (u64::from(home) << BITS).div_ceil(u64::from(lines)) as u32;
        let more = tag.wrapping_sub(first) & ((1 << TAG_BITS) - 1);
        (u64::from(unmix(first.wrapping_add(more) & ALL, seed)) << (64 - BITS)).to_be()
    }
}

/// The place of a line that has this tag. No tag is there twice.
//
// Without a branch for each word, which a processor cannot foresee.
#[inline(always)]
fn place_of(line: &Line, tag: u32) -> Option<usize> {
    let tags = u64::from(tag) * 0x0001_0001_0001_0001;
    // The highest bit of a half word, in each word one further down: one of 20.
    let mut mark = lowest(line[0] ^ tags);
    mark |= lowest(line[1] ^ tags) >> 1;
    mark |= lowest(line[2] ^ tags) >> 2;
    mark |= lowest(line[3] ^ tags) >> 3;
    mark |= lowest(line[4] ^ tags) >> 4;
    if mark == 0 {
        return None;
    }
    let in_any = mark | mark >> 16 | mark >> 32 | mark >> 48;
    let word = (in_any >> 14 & 1)
        + 2 * (in_any >> 13 & 1)
        + 3 * (in_any >> 12 & 1)
        + 4 * (in_any >> 11 & 1);
    let of_any = mark | mark << 1 | mark << 2 | mark << 3 | mark << 4;
    let half = (of_any >> 31 & 1) + 2 * (of_any >> 47 & 1) + 3 * (of_any >> 63);
    Some((word * 4 + half) as usize)
}

/// A permutation of the bits, another one for each seed.
#[inline(always)]
const fn mix(node: u32, seed: u64) -> u32 {
    let mut mixed = (node ^ seed as u32) & ALL;
    mixed = mixed.wrapping_mul(FACTORS[0]) & ALL;
    mixed ^= mixed >> FOLD;
    mixed = mixed
        .wrapping_mul(FACTORS[1])
        .wrapping_add((seed >> 32) as u32)
        & ALL;
    mixed ^= mixed >> FOLD;
    mixed.wrapping_mul(FACTORS[0]) & ALL
}

/// The same back.
const fn unmix(mixed: u32, seed: u64) -> u32 {
    let back = [inverse(FACTORS[0]), inverse(FACTORS[1])];
    let mut node = mixed.wrapping_mul(back[0]) & ALL;
    // A fold by more than half of the bits is its own inverse.
    node ^= node >> FOLD;
    node = node.wrapping_sub((seed >> 32) as u32).wrapping_mul(back[1]) & ALL;
    node ^= node >> FOLD;
    node = node.wrapping_mul(back[0]);
    (node ^ seed as u32) & ALL
}

/// What an odd factor is multiplied by to be 1, in 32 bits: each step makes twice as many bits right (Newton).
const fn inverse(factor: u32) -> u32 {
    let mut inverse = factor;
    let mut bits = 3;
    while bits < 32 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(factor.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::{Kind, header};

    #[test]
    fn a_node_is_known_by_its_line_and_its_tag() {
        for (lines, seed) in [(LEAST_SINGLES, 7), (5_000, u64::MAX), (102_273, 1 << 40)] {
            let mut header = header(Kind::Addresses, 63, seed);
            header[0] |= u64::from(lines) << SINGLES_SHIFT;
            for node in (0..1u64 << BITS).step_by(977) {
                let single = Single::of(&header, (node << (64 - BITS)).to_be()).unwrap();
                for step in 0..REACH {
                    let nth = single.line(step) - behind_blocks(header[0]);
                    assert!(nth < lines);
                    let back = Single::node(single.tag(step), nth, lines, seed);
                    assert_eq!(u64::from_be(back) >> (64 - BITS), node, "{lines} {step}");
                }
            }
        }
    }

    #[test]
    fn mixing_is_undone() {
        for seed in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            for node in 0..1 << BITS {
                assert_eq!(unmix(mix(node, seed), seed), node);
            }
        }
    }

    #[test]
    fn each_place_is_found() {
        for place in 0..SINGLES {
            let mut line: Line = [0xffff_8000_0001_8001; 8];
            let shift = place % 4 * 16;
            line[place / 4] = line[place / 4] & !(0xffff << shift) | 0x9234 << shift;
            assert_eq!(place_of(&line, 0x9234), Some(place));
            assert_eq!(place_of(&line, 0x9235), None);
            assert_eq!(Single::end(place), (5 + place / 8, place % 8 * 8));
        }
    }
}
