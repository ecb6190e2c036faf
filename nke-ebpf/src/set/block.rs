//! Networks of IPv4 in a set: what is known of each /24 without a search.
//!
//! Two bits say it, 32 blocks a word, in the order of their addresses. What they say of a block need not be all that is
//! known: [`Block::Search`] is never wrong.

use core::borrow::Borrow;

use super::{BUCKETS, HAS_BLOCKS, LINE_WORDS, Lines};
use crate::branchless::below;

/// How many bits a block takes.
const BITS: u32 = 2;

/// How many blocks there are in a word.
pub const BLOCKS_IN_WORD: u32 = u64::BITS / BITS;

/// How many blocks there are in a line.
const IN_LINE: u32 = BLOCKS_IN_WORD * LINE_WORDS as u32;

/// How many lines the table has: one block for each /24.
pub const BLOCK_LINES: u32 = (1 << 24) / IN_LINE;

/// What is known of a /24, of members without a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Block {
    /// None of its addresses is in the set.
    Out = 0,
    /// All of them are, by a member of /24 or shorter.
    In = 1,
    /// The set must be searched.
    Search = 2,
}

impl Block {
    /// A word all of whose blocks are [`Block::In`]: a block's number times this is a word full of it.
    pub const IN_ALL: u64 = u64::MAX / 3;

    /// Where a block is: its line, its word there, and by how much it is shifted in that. It is the first three bytes
    /// of an address, as a number; word 0 of line 0 says how many buckets lie in front.
    #[inline(always)]
    #[must_use]
    pub fn place(first: u64, block: u32) -> (u32, usize, u32) {
        let line = BUCKETS
            .wrapping_add(first as u32)
            .wrapping_add(1)
            .wrapping_add(block / IN_LINE);
        let word = below::<LINE_WORDS>((block / BLOCKS_IN_WORD) as usize % LINE_WORDS);
        (line, word, block % BLOCKS_IN_WORD * BITS)
    }

    /// What these bits say.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Out,
            1 => Self::In,
            _ => Self::Search,
        }
    }

    /// What the table says of the block of an IPv4 address, the first word, if there is one.
    #[inline(always)]
    pub(super) fn of(lines: &(impl Lines + ?Sized), first: u64, address: u64) -> Self {
        if first & HAS_BLOCKS == 0 {
            return Self::Search;
        }
        let block = (u64::from_be(address) >> 40) as u32;
        let (line, word, shift) = Self::place(first, block);
        match lines.line(line) {
            Some(line) => Self::from_bits(lines.read(&line.borrow()[word]) >> shift),
            None => Self::Search,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_two_bits_to_itself() {
        let place = |block| Block::place(7 | HAS_BLOCKS, block);
        assert_eq!(place(0), (10, 0, 0));
        assert_eq!(place(31), (10, 0, 62));
        assert_eq!(place(32), (10, 1, 0));
        assert_eq!(place(256), (11, 0, 0));
        assert_eq!(place((1 << 24) - 1), (10 + BLOCK_LINES - 1, 7, 62));
    }
}
