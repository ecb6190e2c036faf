//! All /24, two bits each, and behind them the addresses of those that are in the set by half.
//!
//! ```text
//! 4 MiB         what is known of each block, 32 a word, in the order of their addresses
//! 2 MiB         for each of these words the number of the first leaf of its blocks: they lie one behind the other
//! 32 bytes each the leaves: a bit for each address of a block
//! ```
//!
//! Which blocks have a leaf is fixed when they are laid out. One that is in the set by half only since an edit has none: only
//! the set can tell.

use std::{io, net::Ipv4Addr, sync::atomic::AtomicU64};

use nke_ebpf::{
    abi::facts,
    set::{Answer, Asked},
};

use super::{
    super::{Mapped, Member, Set, member::words as words_of},
    get, half, put, put_half, zeros,
};
use crate::filter::rule::Prefix;

/// How many blocks there are.
const BLOCKS: usize = 1 << 24;
/// The longest prefix that has whole blocks.
const LONGEST: u8 = 24;
/// How many blocks there are in a word.
const IN_WORD: usize = 32;
/// Words of what is known of them.
const WORDS: usize = BLOCKS / IN_WORD;
/// Words of a leaf.
const LEAF_WORDS: usize = 256 / 64;
/// Where the leaves begin.
const FIRST_LEAF: usize = WORDS + WORDS / 2;

/// None of its addresses is in the set.
pub(in crate::filter) const OUT: u64 = 0;
/// All of them are.
pub(in crate::filter) const IN: u64 = 1;
/// Its leaf tells.
pub(in crate::filter) const LEAF: u64 = 2;
/// Only the set can tell.
const ASK: u64 = 3;

/// A network that goes, or comes, is followed if it has no more leaves than that.
const MOST_LEAVES: usize = 1 << 10;

/// The table of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filter) struct Blocks {
    /// How many leaves there are, one at least.
    pub(in crate::filter) leaves: u32,
}

impl Blocks {
    pub(super) fn to_word(self) -> u64 {
        self.leaves.into()
    }

    pub(super) const fn from_word(word: u64) -> Self {
        let leaves = word as u32;
        Self { leaves }
    }

    /// Where the numbers of leaves begin, in bytes.
    pub(in crate::filter) const fn first_number() -> usize {
        WORDS * 8
    }

    /// Where the leaves begin, in bytes.
    pub(in crate::filter) const fn first_leaf() -> usize {
        FIRST_LEAF * 8
    }

    pub(super) const fn bytes(self) -> usize {
        (FIRST_LEAF + self.leaves as usize * LEAF_WORDS) * 8
    }

    /// Lays out members.
    pub(super) fn lay(members: &[Prefix<Ipv4Addr>]) -> (Self, Vec<u64>) {
        let words = zeros(FIRST_LEAF);
        let networks = members.iter().filter(|it| it.length() <= LONGEST);
        for block in networks.flat_map(|it| blocks_of(*it)) {
            put_state(&words, block, IN);
        }
        let parts = || members.iter().filter(|it| it.length() > LONGEST);
        for block in parts().flat_map(|it| blocks_of(*it)) {
            if state(&words, block) == OUT {
                put_state(&words, block, LEAF);
            }
        }
        let mut leaves = 0;
        for (nth, word) in words[..WORDS].iter().enumerate() {
            put_half(&words[WORDS..], nth, leaves);
            leaves += leaves_in(get(word)).count_ones();
        }
        // A program that asks for one must find it inside.
        let blocks = Self {
            leaves: leaves.max(1),
        };
        let mut words = words;
        words.extend(zeros(blocks.leaves as usize * LEAF_WORDS));
        for part in parts() {
            let first = part.address().to_bits();
            if let Some(leaf) = leaf(&words, first as usize >> 8) {
                let addresses = first..=first | !part.mask().to_bits();
                addresses.for_each(|address| put_bit(leaf, address, true));
            }
        }
        let words = words.into_iter().map(AtomicU64::into_inner);
        (blocks, words.collect())
    }

    /// Follows an edit. Whether it can.
    pub(super) fn follow(
        self,
        words: &[AtomicU64],
        set: &Set<Mapped>,
        prefix: Prefix<Ipv4Addr>,
    ) -> io::Result<bool> {
        let is_in = |address: u32| {
            let asked = Asked {
                facts: facts::V4,
                address: words_of(Ipv4Addr::from_bits(address).into()),
                port: 0,
            };
            set.ask(&asked, 0) == Answer::In
        };
        let place = Member::V4(prefix).place();
        let has_come = place.map(|place| set.has_bit(&place)).transpose()?;
        Ok(follow(words, prefix, has_come == Some(true), is_in))
    }
}

/// Has all blocks of a prefix that has come or gone say what is in the set now. Whether it can.
fn follow(
    words: &[AtomicU64],
    prefix: Prefix<Ipv4Addr>,
    has_come: bool,
    is_in: impl Fn(u32) -> bool,
) -> bool {
    let is_network = prefix.length() <= LONGEST;
    let mut leaves = 0;
    for block in blocks_of(prefix) {
        let was = state(words, block);
        if was != LEAF {
            let is = match (is_network, has_come) {
                (true, true) => IN,
                // Another network may have it, or parts of it be in.
                (true, false) if was == IN => ASK,
                (false, true) if was == OUT => ASK,
                _ => was,
            };
            put_state(words, block, is);
            continue;
        }
        let Some(leaf) = leaf(words, block) else {
            return false;
        };
        leaves += 1;
        if leaves > MOST_LEAVES {
            return false;
        }
        let first = prefix.address().to_bits().max((block as u32) << 8);
        let last = (prefix.address().to_bits() | !prefix.mask().to_bits()).min(first | 0xff);
        for address in first..=last {
            put_bit(leaf, address, is_in(address));
        }
    }
    true
}

/// The blocks that have addresses of a prefix.
fn blocks_of(prefix: Prefix<Ipv4Addr>) -> std::ops::RangeInclusive<usize> {
    let first = prefix.address().to_bits();
    let last = first | !prefix.mask().to_bits();
    (first >> 8) as usize..=(last >> 8) as usize
}

/// What is known of a block.
fn state(words: &[AtomicU64], block: usize) -> u64 {
    get(&words[block / IN_WORD]) >> (block % IN_WORD * 2) & 3
}

fn put_state(words: &[AtomicU64], block: usize, state: u64) {
    let (word, shift) = (&words[block / IN_WORD], block % IN_WORD * 2);
    put(word, get(word) & !(3 << shift) | state << shift);
}

/// A bit for each block of a word that has a leaf: the lower one of its two.
const fn leaves_in(word: u64) -> u64 {
    word >> 1 & !word & (u64::MAX / 3)
}

/// The leaf of a block that has one.
fn leaf(words: &[AtomicU64], block: usize) -> Option<&[AtomicU64]> {
    let word = block / IN_WORD;
    let in_front = leaves_in(get(&words[word])) & ((1 << (block % IN_WORD * 2)) - 1);
    let nth = half(&words[WORDS..], word) as usize + in_front.count_ones() as usize;
    let has = state(words, block) == LEAF;
    let leaf = words.get(FIRST_LEAF + nth * LEAF_WORDS..);
    leaf.and_then(|words| words.get(..LEAF_WORDS))
        .filter(|_| has)
}

/// Says in a leaf whether an address of its block is in the set.
fn put_bit(leaf: &[AtomicU64], address: u32, is_in: bool) {
    let word = &leaf[address as usize / 64 % LEAF_WORDS];
    let bit = 1 << (address % 64);
    let others = get(word) & !bit;
    put(word, if is_in { others | bit } else { others });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::shapes::Dice;

    /// What a fast path finds: nothing where only the set can tell.
    fn ask(words: &[AtomicU64], address: u32) -> Option<bool> {
        let block = address as usize >> 8;
        match state(words, block) {
            OUT => Some(false),
            IN => Some(true),
            LEAF => {
                let word = &leaf(words, block).unwrap()[address as usize / 64 % LEAF_WORDS];
                Some(get(word) >> (address % 64) & 1 != 0)
            }
            _ => None,
        }
    }

    fn draw(dice: &mut Dice) -> Prefix<Ipv4Addr> {
        let length = 8 + dice.below(25) as u8;
        let bits = 0x0a00_0000 | dice.roll() as u32 & 0x0003_ffff;
        let bits = bits & (u32::MAX << (32 - length));
        Prefix::<Ipv4Addr>::new(bits.into(), length).unwrap()
    }

    #[test]
    fn they_say_what_members_say_and_follow_them() {
        for seed in 0..6 {
            let mut dice = Dice::new(seed);
            let mut members: Vec<_> = (0..40).map(|_| draw(&mut dice)).collect();
            // So that not all is in.
            members.retain(|it| it.length() > 20);
            let (_, words) = Blocks::lay(&members);
            let words: Vec<_> = words.into_iter().map(AtomicU64::new).collect();
            let check = |members: &[Prefix<Ipv4Addr>], dice: &mut Dice, exact: bool| {
                for _ in 0..2_000 {
                    let address = 0x0a00_0000 | dice.roll() as u32 & 0x0003_ffff;
                    let expected = members.iter().any(|it| it.contains(address.into()));
                    let found = ask(&words, address);
                    assert!(
                        found == Some(expected) || !exact && found.is_none(),
                        "{address:#x}"
                    );
                }
            };
            check(&members, &mut dice, true);
            for _ in 0..30 {
                let goes = dice.percent(50) && !members.is_empty();
                let edited = if goes {
                    let at = dice.below(members.len() as u64) as usize;
                    let gone = members[at];
                    members.retain(|it| *it != gone);
                    gone
                } else {
                    let new = draw(&mut dice);
                    members.push(new);
                    new
                };
                let is_in = |address: u32| members.iter().any(|it| it.contains(address.into()));
                assert!(follow(&words, edited, !goes, is_in));
                check(&members, &mut dice, false);
            }
        }
    }

    #[test]
    fn a_network_of_many_leaves_is_not_followed() {
        let member = |nth: u32| Prefix::<Ipv4Addr>::new((nth << 8 | 1).into(), 32).unwrap();
        let members: Vec<_> = (0..2_000).map(member).collect();
        let (blocks, words) = Blocks::lay(&members);
        assert_eq!(blocks.leaves, 2_000);
        let words: Vec<_> = words.into_iter().map(AtomicU64::new).collect();
        let wide = Prefix::<Ipv4Addr>::new(Ipv4Addr::UNSPECIFIED, 8).unwrap();
        assert!(!follow(&words, wide, true, |_| true));
        assert!(follow(&words, member(7), true, |_| true));
    }
}
