//! How the table of flows lies in memory: an array of buckets, and a header in front.
//!
//! A flow has [`PLACES`] places where it can lie: those of the bucket that its key's hash names.
//! What is asked of each place first, its mark, stands for all of them together in front:
//!
//! ```text
//! element 0      the header: format, seed of the hash, buckets; then what was counted
//! element 1..    buckets: 16 marks (two lines), 16 flows (two lines each)
//! ```
//!
//! ```
//! use nke_ebpf::abi::states::{BUCKET_WORDS, FLOW_WORDS, PLACES};
//!
//! assert_eq!(BUCKET_WORDS, PLACES + PLACES * FLOW_WORDS);
//! ```
//!
//! Nothing here is ever waited for: a place is taken and given by one write of its mark.

use crate::Word;

/// The number of this layout.
pub const FORMAT: u64 = 1;

/// How many places a bucket has.
pub const PLACES: usize = 16;

/// How many words a flow is made of.
pub const FLOW_WORDS: usize = 16;

/// How many words an element of the array has.
pub const BUCKET_WORDS: usize = PLACES + PLACES * FLOW_WORDS;

/// How many words a flow is known by.
pub const KEY_WORDS: usize = 5;

/// The map of an attachment's table: an array of one map, which is an array of [`Bucket`]. Where
/// there is none, no rule keeps state.
pub const MAP: &str = "STATES";

/// The map of one number beside it, which is not 0 from before there is a table on: what a program looks at that must
/// not look up the table.
pub const KEPT: &str = "KEPT";

/// Some flows; and the header, whose first marks are numbers: see [`header`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bucket {
    /// A [`crate::states::Mark`] for each place.
    pub marks: [Word; PLACES],
    /// What lies there.
    pub flows: [Entry; PLACES],
}

/// A flow that was let through.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// Which flow it is: [`crate::states::Key`].
    pub key: [Word; KEY_WORDS],
    /// The number of the rule that made it in the low half, the stamp of its rule set in the high one.
    pub rule: Word,
    /// When it was made, nanoseconds of the monotonic clock; the lowest bit is set if the first packet
    /// went out.
    pub begun: Word,
    /// The first number of sequence of TCP's other end.
    pub answer: Word,
    /// Packets from the end that began, and from the other one.
    pub packets: [Word; 2],
    /// Their bytes.
    pub bytes: [Word; 2],
    /// Nothing yet.
    pub spare: [Word; 4],
}

/// Words of the header, among its marks.
pub mod header {
    /// [`super::FORMAT`].
    pub const FORMAT: usize = 0;
    /// What hashes begin with: a number that nobody can know.
    pub const SEED: usize = 1;
    /// How many buckets there are, less one; a power of two less one.
    pub const MASK: usize = 2;
    /// The first of the counts.
    pub const COUNTS: usize = 8;
}

/// What is counted of a table. In the header each has a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counted {
    /// A flow was entered.
    Made = 0,
    /// A flow's time was over when its place was looked at.
    Expired = 1,
    /// A flow that was only opening, or over, went for want of room.
    Evicted = 2,
    /// A flow was passed, and not entered for want of room.
    Refused = 3,
}

impl Counted {
    /// How many there are.
    pub const COUNT: usize = 4;
}

const _: () = assert!(size_of::<Entry>() == FLOW_WORDS * 8);
const _: () = assert!(size_of::<Bucket>() == BUCKET_WORDS * 8);
