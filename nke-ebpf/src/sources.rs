//! Limits `per source`: each source of packets has a rate of its own.
//!
//! What has come by of a source is a time, as it is of a plain [limit](crate::abi::limit). The times lie in a
//! table of fixed size ([`abi::sources`](crate::abi::sources)), in which a source is found by a keyed hash. The key is
//! a random number that the user side gives to each limit: who does not know it cannot choose sources that fall upon
//! each other.
//!
//! A source that is not in its bucket takes the place whose time is least: of who has rested for longest, or is
//! furthest within the limit, and so loses least. So memory is bounded, and a flood of made-up sources can do no more
//! than have limits forget what has come by of others. Who is far over a limit is forgotten last. Who is forgotten before
//! all that came by of it had come by at the rate is counted.
//!
//! ```
//! use nke_ebpf::{Word, abi::{Test, limit, sources::Bucket}, sources::takes};
//!
//! let mut two_a_second = Test::masked(0, [500_000_000 << 16, 0], [1_000_000_000, 2]);
//! two_a_second.kind = Test::LIMIT_PER_SOURCE;
//! let (bucket, evicted) = (Bucket::default(), Word::default());
//! let takes = |key| takes(&bucket, &evicted, key, &two_a_second, 60, 1 << 40);
//! assert_eq!([7, 7, 7, 9].map(takes), [true, true, false, true]);
//! assert_eq!(evicted.get(), 0, "there is room");
//! ```
//!
//! Nothing is locked. Processors that look at the same moment may each let one packet more by, and where two sources take
//! one place at once, one of them is forgotten. Nothing here waits.

use crate::{
    Word,
    abi::{
        Subject, Test, facts, field,
        sources::{Bucket, PLACES},
    },
    branchless::{below, forget},
    rate,
};

/// What the source of a packet is known by where this limit is asked: never 0. What has no address is one source.
#[inline(always)]
#[must_use]
pub fn key(subject: &Subject, limit: &Test) -> u64 {
    let [v4, v6] = limit.slot.to_be_bytes();
    let family = subject.word(field::FACTS) & (facts::V4 | facts::V6);
    let length = if family == facts::V4 { v4 } else { v6 };
    let [first, second] = subject.source();
    // Whatever the length is, this is gone through once from here.
    let length = forget(u64::from(length), first) as u32;
    let first = first & forget(mask(length), second);
    let second = second & forget(mask(length.saturating_sub(64)), first);
    hash(limit.more[crate::abi::limit::WORD], family, [first, second]) | 1
}

/// The first bits of eight bytes, as they lie in memory: so many, or all.
#[inline(always)]
const fn mask(bits: u32) -> u64 {
    let bits = if bits > 64 { 64 } else { bits };
    // In two steps: by 64 nothing is shifted.
    let half = bits / 2;
    (!(u64::MAX >> half >> (bits - half))).to_be()
}

/// SipHash-1-3 of two words.
#[inline(always)]
fn hash(key: u64, family: u64, words: [u64; 2]) -> u64 {
    let mut state = [
        key ^ 0x736f_6d65_7073_6575,
        family ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        family ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        state[3] ^= word;
        state = round(state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        state = round(state);
    }
    let [a, b, c, d] = state;
    a ^ b ^ c ^ d
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// Whether a packet of so many bytes, of the source with this key, is within a limit now. If it is, it takes its share. A
/// source that has to go for it, and has not rested for long enough to have its whole burst, is counted as evicted.
#[inline(always)]
#[must_use]
pub fn takes(
    bucket: &Bucket,
    evicted: &Word,
    key: u64,
    limit: &Test,
    bytes: u32,
    now: u64,
) -> bool {
    let place = |index: usize| &bucket.places[below::<PLACES>(index)];
    let mut found = PLACES;
    for index in 0..PLACES {
        if place(index).key.get() == key {
            found = index;
            break;
        }
    }
    // Wherever it was found, this is gone through once.
    let found = forget(found as u64, key) as usize;
    if found < PLACES {
        return rate::takes(&place(found).time, limit, bytes, now);
    }
    let (mut least, mut idle) = (u64::MAX, 0u64);
    for index in 0..PLACES {
        let time = place(index).time.get();
        if time < least {
            (least, idle) = (time, index as u64);
        }
        (least, idle) = (forget(least, key), forget(idle, key));
    }
    let share = rate::share(limit, bytes);
    if !rate::fits(limit, share) {
        return false;
    }
    if least > now {
        evicted.add(1);
    }
    // The time first: till the key is there, it is nobody's who would be over the limit by it.
    let place = place(idle as usize);
    place.time.set(now.wrapping_add(share));
    place.key.set(key);
    true
}

#[cfg(feature = "bpf")]
mod kernel {
    #![expect(unsafe_code, reason = "a map's value is reached through a pointer")]

    use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

    use super::{key, takes};
    use crate::{
        RuleSets, Word,
        abi::{
            PAGE_LINES, Page, Subject, Test,
            sources::{self, Bucket},
        },
    };

    /// Whether a packet is within a limit per source, of the rule set that begins with this page. Where the table is not
    /// there, it is over. If another set is in force by now, whose table is not this one's, it is within.
    ///
    /// # Safety
    ///
    /// The pointers must be null or valid.
    #[inline(always)]
    #[must_use]
    pub unsafe fn within_per_source(
        sets: &RuleSets,
        first: *const Page,
        limit: *const Test,
        subject: *const Subject,
    ) -> bool {
        let words = first.cast::<Word>();
        // SAFETY: promised by the caller.
        let (Some(first), Some(limit), Some(subject)) =
            (unsafe { (first.as_ref(), limit.as_ref(), subject.as_ref()) })
        else {
            return false;
        };
        let header = first.header();
        if header.sources == 0 {
            return false;
        }
        let Some(set) = sets.get(0) else {
            return true;
        };
        let stamp = set.get(0).map(|first| first.header().stamp);
        if stamp != Some(header.stamp) {
            return true;
        }
        let key = key(subject, limit);
        let place = header.sources as usize + sources::bucket(key);
        let Some(page) = set.get_ptr_mut((place / PAGE_LINES) as u32) else {
            return false;
        };
        // SAFETY: the bucket lies within the page, and any words are one.
        let bucket = unsafe { &*page.cast::<Bucket>().add(place & (PAGE_LINES - 1)) };
        // SAFETY: the helper takes nothing and cannot fail.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: the word lies within the first page, which is there, and any number is one.
        let evicted = unsafe { &*words.add(sources::EVICTED) };
        takes(bucket, evicted, key, limit, subject.length(), now)
    }
}

#[cfg(feature = "bpf")]
#[doc(hidden)]
pub use kernel::within_per_source;

#[cfg(test)]
mod tests;
