//! How a rule set remembers the sources of limits `per source`: a table of buckets.
//!
//! A source of a limit is known by one number, a keyed hash of both (see [`crate::sources`]). It lies in one of the
//! [`PLACES`] of one bucket, which is a line of a processor's cache:
//!
//! ```
//! use nke_ebpf::abi::sources::{self, BUCKETS, PLACES, Bucket};
//!
//! assert_eq!(size_of::<Bucket>(), 64);
//! assert_eq!(BUCKETS * PLACES, 65_536);
//! assert!(sources::bucket(u64::MAX) < BUCKETS);
//! ```
//!
//! Nothing here may have padding, or a meaning that depends on who reads it.

use crate::Word;

/// How many buckets the table has, a power of two: 1 MiB.
pub const BUCKETS: usize = 1 << 14;

/// How many sources a bucket has.
pub const PLACES: usize = 4;

/// The word of a rule set's first page in which programs count the sources that went for want of room, though not all of what
/// had come by of them had come by at the rate: each has its burst again. It lies in front of the headers, and not in the line of
/// the word that each packet reads.
pub const EVICTED: usize = 32;

/// The word with those that were counted in the sets before. User space's alone.
pub const EVICTED_BEFORE: usize = EVICTED + 1;

/// Some sources.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bucket {
    /// In no order.
    pub places: [Place; PLACES],
}

/// One source, or none.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Place {
    /// What it is known by; 0 if there is none.
    pub key: Word,
    /// The time of the kernel's monotonic clock, in nanoseconds, at which what has come by of it had come by at the rate.
    pub time: Word,
}

const _: () = assert!(BUCKETS.is_power_of_two());
const _: () = assert!(EVICTED >= super::LINE_WORDS && EVICTED_BEFORE < super::HEADER_WORDS);
const _: () = assert!(size_of::<Bucket>() == super::LINE_WORDS * 8);

/// The bucket of a key, by its number from the table's first.
#[inline(always)]
#[must_use]
pub const fn bucket(key: u64) -> usize {
    (key >> 32) as usize & (BUCKETS - 1)
}
