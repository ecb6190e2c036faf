//! Single addresses in buckets, by their hash.
//!
//! A bucket is half of a cache line: the hashes of seven addresses, and whether there are more of its own, in the next bucket
//! or nowhere. The hash is a permutation, so that no two addresses have the same.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::Ipv4Addr,
    sync::atomic::AtomicU64,
};

use super::{
    super::{Mapped, Member, Set},
    half, put_half, zeros,
};
use crate::filter::rule::Prefix;

/// Bytes of a bucket.
pub(in crate::filter) const BUCKET: usize = 32;
/// Its numbers of four bytes each.
const NUMBERS: usize = BUCKET / 4;
/// How many hashes there are in one; 0 is none. Behind them are the flags.
pub(in crate::filter) const HASHES: usize = NUMBERS - 1;
/// How many members a bucket is made for: of addresses at random, one of 350 is nowhere then.
const FILL: usize = 4;

/// A flag: some of its own are in the next one.
const IN_NEXT: u32 = 1;
/// A flag: some are nowhere. Only the set can tell.
pub(in crate::filter) const NOWHERE: u32 = 2;

/// How often they are laid out, each time by another hash.
const ATTEMPTS: u64 = 4;

/// All buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filter) struct Buckets {
    /// How many addresses belong to; there is one more for the last.
    pub(in crate::filter) count: u32,
    /// What an address, as a number, is multiplied by to be its hash. Odd.
    pub(in crate::filter) multiplier: u32,
    /// Whether there are no other members of IPv4.
    pub(in crate::filter) are_all: bool,
}

impl Buckets {
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.count) | u64::from(self.multiplier) << 32 | u64::from(self.are_all) << 31
    }

    pub(super) const fn from_word(word: u64) -> Self {
        let low = word as u32;
        Self {
            count: low & i32::MAX.cast_unsigned(),
            multiplier: (word >> 32) as u32,
            are_all: low & !i32::MAX.cast_unsigned() != 0,
        }
    }

    pub(super) const fn bytes(self) -> usize {
        (self.count as usize + 1) * BUCKET
    }

    /// Lays out those of these members that are single addresses.
    pub(super) fn lay(members: &[Prefix<Ipv4Addr>], are_all: bool) -> (Self, Vec<u64>) {
        let single = members.iter().filter(|it| it.length() == 32);
        let addresses: Vec<_> = single.map(|it| it.address().to_bits()).collect();
        let count = u32::try_from(addresses.len() / FILL + 1).unwrap_or(u32::MAX);
        let mut attempt = 0;
        loop {
            let buckets = Self {
                count,
                multiplier: RandomState::new().hash_one(attempt) as u32 | 1,
                are_all,
            };
            let words = zeros(buckets.bytes() / 8);
            let lost = addresses.iter().filter(|it| !buckets.insert(&words, **it));
            attempt += 1;
            // Members can be alike in a way that a hash is bad for.
            if lost.count() <= addresses.len() / 16 || attempt == ATTEMPTS {
                let words = words.into_iter().map(AtomicU64::into_inner);
                return (buckets, words.collect());
            }
        }
    }

    /// Follows an edit. Whether it can.
    pub(super) fn follow(
        self,
        words: &[AtomicU64],
        set: &Set<Mapped>,
        prefix: Prefix<Ipv4Addr>,
    ) -> io::Result<bool> {
        if prefix.length() < 32 {
            return Ok(!self.are_all);
        }
        let address = prefix.address().to_bits();
        match Member::V4(prefix).place() {
            Some(place) if set.has_bit(&place)? => {
                // Where there is no room for it, its bucket says so.
                let _: bool = self.insert(words, address);
            }
            _ => self.remove(words, address),
        }
        Ok(true)
    }

    /// The hash of an address, and the two buckets where it can be. Of the address 0 it is 0, which is in none.
    fn places(self, address: u32) -> (u32, [usize; 2]) {
        let hash = address.wrapping_mul(self.multiplier);
        let home = (u64::from(hash) * u64::from(self.count)) >> 32;
        (hash, [home as usize, home as usize + 1])
    }

    /// Adds an address. Whether it is there now.
    fn insert(self, words: &[AtomicU64], address: u32) -> bool {
        let (hash, places) = self.places(address);
        let is_there = |bucket: &usize| find(words, *bucket, hash).is_some();
        if hash == 0 || places.iter().any(is_there) {
            return hash != 0;
        }
        let [home, _] = places;
        for (bucket, flag) in places.into_iter().zip([IN_NEXT, NOWHERE]) {
            if let Some(empty) = find(words, bucket, 0) {
                put_half(words, empty, hash);
                return true;
            }
            let flags = home * NUMBERS + HASHES;
            put_half(words, flags, half(words, flags) | flag);
        }
        false
    }

    /// Takes an address out, if it is there.
    fn remove(self, words: &[AtomicU64], address: u32) {
        let (hash, places) = self.places(address);
        for bucket in places {
            if let Some(there) = find(words, bucket, hash).filter(|_| hash != 0) {
                put_half(words, there, 0);
            }
        }
    }
}

/// Where a hash is in a bucket.
fn find(words: &[AtomicU64], bucket: usize, hash: u32) -> Option<usize> {
    let mut places = (bucket * NUMBERS..).take(HASHES);
    places.find(|nth| half(words, *nth) == hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::filter::shapes::Dice;

    fn buckets(count: u32, multiplier: u32) -> (Buckets, Vec<AtomicU64>) {
        let buckets = Buckets {
            count,
            multiplier,
            are_all: true,
        };
        (buckets, zeros(buckets.bytes() / 8))
    }

    /// What a fast path finds: nothing where only the set can tell.
    fn ask(buckets: Buckets, words: &[AtomicU64], address: u32) -> Option<bool> {
        let (hash, [home, next]) = buckets.places(address);
        let flags = half(words, home * NUMBERS + HASHES);
        let has = |bucket| find(words, bucket, hash).is_some();
        if hash == 0 {
            None
        } else if has(home) || flags != 0 && has(next) {
            Some(true)
        } else {
            (flags & NOWHERE == 0).then_some(false)
        }
    }

    #[test]
    fn they_are_their_word() {
        for are_all in [false, true] {
            let buckets = Buckets {
                are_all,
                ..buckets(7, 0x9e37_79b9).0
            };
            assert_eq!(Buckets::from_word(buckets.to_word()), buckets);
            assert_eq!(buckets.bytes(), 8 * 32);
        }
    }

    #[test]
    fn members_are_told_from_others_or_nothing_is_told() {
        let mut dice = Dice::new(7);
        for (count, wanted) in [(1, 3), (1, 40), (100, 400), (50_000, 200_000)] {
            let (buckets, words) = buckets(count, 0x9e37_79b9);
            let known: BTreeSet<_> = (0..wanted).map(|_| dice.roll() as u32).collect();
            let members: Vec<_> = known.iter().copied().collect();
            let lost = members.iter().filter(|it| !buckets.insert(&words, **it));
            let lost = lost.count();
            for member in &members {
                assert_ne!(ask(buckets, &words, *member), Some(false));
            }
            for _ in 0..10_000 {
                let address = dice.roll() as u32;
                if !known.contains(&address) {
                    assert_ne!(ask(buckets, &words, address), Some(true));
                }
            }
            let (gone, kept) = members.split_at(wanted / 2);
            gone.iter().for_each(|it| buckets.remove(&words, *it));
            let is = |address: &u32, answer| ask(buckets, &words, *address) == Some(answer);
            assert!(!kept.iter().any(|it| is(it, false)));
            assert!(!gone.iter().any(|it| is(it, true)));
            let most = if wanted == 40 { 40 } else { wanted / 100 };
            assert!(lost <= most, "{lost} of {wanted}");
        }
    }

    #[test]
    fn the_address_that_is_0_is_not_there() {
        let (buckets, words) = buckets(4, 5);
        assert!(!buckets.insert(&words, 0));
        buckets.remove(&words, 0);
        assert!(buckets.insert(&words, 1));
        assert_eq!(ask(buckets, &words, 0), None);
    }

    #[test]
    fn neighbours_are_spread() {
        // All addresses of some networks.
        for multiplier in [0x9e37_79b9, 0xab51_1947, 0x4186_ae77] {
            let (buckets, words) = buckets(256 * 16 / FILL as u32, multiplier);
            let addresses = (0..16u32).flat_map(|net| (1..=256).map(move |it| net << 20 | it));
            let lost = addresses.filter(|it| !buckets.insert(&words, *it)).count();
            assert!(lost < 8, "{multiplier:#x}: {lost}");
        }
    }
}
