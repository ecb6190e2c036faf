//! What a rule asks beside its own fields: tests, each a line of the page where the rule lies.
//!
//! A test compares what is known of the packet, the [`Subject`]'s words, with its own. A rule matches
//! if all of its fields do, and then all of its tests hold:
//!
//! ```
//! use nke_ebpf::abi::{Test, field};
//!
//! // Not 40 to 80 bytes long.
//! let test = Test { not: 1, ..Test::range(field::LENGTH, 40, 80) };
//! assert_eq!(Test::from_words(&test.to_words()), test);
//! assert_eq!(Test::place(Test::extra(700, 3)), (700, 3));
//! ```
//!
//! Nothing here may have padding, or a meaning that depends on who reads it.

use super::{LINE_WORDS, join, split};

/// How many tests a rule has at most.
pub const TESTS: usize = 32;

/// How many words there are to test.
pub const SUBJECT_WORDS: usize = 12;

/// What is known of a packet, as words that rules and their tests compare: see [`field`]. As halves of words, the first
/// ones are what tables ask for: [`super::Field`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Subject {
    /// Each word at the index that is its field.
    pub words: [u64; SUBJECT_WORDS],
}

/// The indices of a [`Subject`]'s words.
pub mod field {
    /// The sender's address, two words.
    pub const SOURCE: u16 = 0;
    /// The receiver's address, two words.
    pub const DESTINATION: u16 = 2;
    /// The ports with their bytes turned round: see [`super::super::ports`]. No test asks for it.
    pub const PORTS: u16 = 4;
    /// The protocol's number, or [`super::super::Field::NO_PROTOCOL`], first byte highest in the first half. No
    /// test asks for that half.
    pub const PROTOCOL: u16 = 5;
    /// The facts: see [`super::super::facts`].
    pub const FACTS: u16 = 6;
    /// In the low half, how many bytes the packet has behind its link header and tags.
    pub const LENGTH: u16 = 7;
    /// In the high half, the mark that the kernel keeps with the packet; 0 where there is none.
    pub const MARK: u16 = 7;
    /// Where the frame comes from, first byte highest; 0 where there is no frame.
    pub const ETHER_FROM: u16 = 8;
    /// Where the frame goes, alike.
    pub const ETHER_TO: u16 = 9;
    /// What each expression says of the packet, a bit each: see [`super::super::classic`].
    pub const EXPRESSIONS: u16 = 10;
    /// In the second half, the index of the interface that the packet comes in by, or goes out by if it only goes
    /// out. A test of it has the interface's name in the first two words of `more`.
    pub const INTERFACE: u16 = PROTOCOL;
    /// Where the protocol's own header begins in the packet; 0 if it is not there. No test asks for it.
    pub const TRANSPORT: u16 = 11;
}

/// One thing that is asked of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Test {
    /// How it is compared: [`Test::MASKED`], [`Test::RANGE`], [`Test::IN`], [`Test::LIMIT`],
    /// [`Test::LIMIT_PER_SOURCE`]. Or it is none, stands first, and says what follows from a match: [`Test::NOTHING`], [`Test::SET_MARK`], [`Test::SAMPLE`],
    /// [`Test::REDIRECT`].
    pub kind: u16,
    /// Which word of the subject, or which two: see [`field`].
    pub field: u16,
    /// 1 if the test holds where the comparison fails, else 0.
    pub not: u16,
    /// The slot of a named set, if it is about one. Of a [`Test::LIMIT_PER_SOURCE`], how many bits of an address make a
    /// source: of IPv4 in the high byte, of IPv6 in the low one.
    pub slot: u16,
    /// The values of two words; or the lowest that a word may have, and its bits that are compared.
    pub first: [u64; 2],
    /// The bits of two words that are compared; or the highest value that a word may have.
    pub second: [u64; 2],
    /// What other kinds need.
    pub more: [u64; 3],
}

/// Where a [`Test::LIMIT`], or a [`Test::LIMIT_PER_SOURCE`], has its words.
pub mod limit {
    /// In [`super::Test::first`]: what one packet or byte costs, in nanoseconds times 2^16.
    pub const COST: usize = 0;
    /// In [`super::Test::first`]: 1 if bytes are counted, else 0.
    pub const BYTES: usize = 1;
    /// In [`super::Test::second`]: how far ahead of its time a packet may be, in nanoseconds.
    pub const AHEAD: usize = 0;
    /// In [`super::Test::second`]: the burst, as it was said.
    pub const BURST: usize = 1;
    /// In [`super::Test::more`]: how many, as it was said.
    pub const RATE: usize = 0;
    /// In [`super::Test::more`]: in how many seconds, as it was said.
    pub const PERIOD: usize = 1;
    /// In [`super::Test::more`]: the word of page 0 that is the time of the kernel's clock at which what
    /// has come by so far had come by at the rate. Nobody but packets changes it. Of a limit per source, the key
    /// that its sources are hashed with.
    pub const WORD: usize = 2;
}

const _: () = assert!(size_of::<Test>() == LINE_WORDS * 8);

impl Test {
    /// Two words are as they are here, where the mask has ones.
    pub const MASKED: u16 = 1;
    /// Some bits of a word are not below a number and not above another.
    pub const RANGE: u16 = 2;
    /// The named set in the slot has the address of this side, the port, or both. `first` and `second`
    /// are the set's name; the first of `more` says whether the port is meant.
    pub const IN: u16 = 3;
    /// No more comes by than at a rate: see [`limit`]. It is the last of a rule's tests, and looked at
    /// where all others hold.
    pub const LIMIT: u16 = 4;
    /// The same for each source of packets, whose times lie in the rule set's [table](super::sources).
    pub const LIMIT_PER_SOURCE: u16 = 5;
    /// No test: nothing follows from a match, but that it is counted.
    pub const NOTHING: u16 = 16;
    /// No test: these bits of the packet's mark are set, where the mask has ones.
    pub const SET_MARK: u16 = 17;
    /// No test: one of so many packets is logged, the first of `first`.
    pub const SAMPLE: u16 = 18;
    /// No test: the packet leaves by the interface whose index is the second of `first`, and whose name is the first two
    /// words of `more`. One of so many is logged, the first of `first`.
    pub const REDIRECT: u16 = 19;

    /// That two words have these values where the masks have ones.
    #[must_use]
    pub const fn masked(field: u16, value: [u64; 2], mask: [u64; 2]) -> Self {
        Self {
            kind: Self::MASKED,
            field,
            not: 0,
            slot: 0,
            first: value,
            second: mask,
            more: [0; 3],
        }
    }

    /// That the low half of a word lies between two numbers, both included.
    #[must_use]
    pub const fn range(field: u16, first: u32, last: u32) -> Self {
        Self {
            kind: Self::RANGE,
            field,
            not: 0,
            slot: 0,
            first: [first as u64, u32::MAX as u64],
            second: [last as u64, 0],
            more: [0; 3],
        }
    }

    /// That a side of a packet, [`field::SOURCE`] or [`field::DESTINATION`], is in the set of this name:
    /// its port, or its address (with its port, if that is what the set has).
    #[must_use]
    pub const fn member(field: u16, name: [u64; 4], port: bool) -> Self {
        let [a, b, c, d] = name;
        Self {
            kind: Self::IN,
            field,
            not: 0,
            slot: 0,
            first: [a, b],
            second: [c, d],
            more: [port as u64, 0, 0],
        }
    }

    /// Whether it is a limit, of either kind.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        matches!(self.kind, Self::LIMIT | Self::LIMIT_PER_SOURCE)
    }

    /// [`super::Rule::extra`] of a rule that has so many tests, from this line of its page on.
    #[inline(always)]
    #[must_use]
    pub const fn extra(line: u32, count: u32) -> u32 {
        count << 16 | line
    }

    /// The line and the number of tests that [`super::Rule::extra`] says.
    #[inline(always)]
    #[must_use]
    pub const fn place(extra: u32) -> (u32, u32) {
        (extra & 0xffff, extra >> 16)
    }

    /// The words that this test is in memory.
    #[must_use]
    pub const fn to_words(&self) -> [u64; LINE_WORDS] {
        let Self {
            kind,
            field,
            not,
            slot,
            first,
            second,
            more,
        } = *self;
        let head = join(pair(kind, field), pair(not, slot));
        let ([a, b], [c, d], [e, f, g]) = (first, second, more);
        [head, a, b, c, d, e, f, g]
    }

    /// The test that these words are in memory.
    #[must_use]
    pub const fn from_words(words: &[u64; LINE_WORDS]) -> Self {
        let [head, a, b, c, d, e, f, g] = *words;
        let (front, back) = split(head);
        let ((kind, field), (not, slot)) = (halves(front), halves(back));
        Self {
            kind,
            field,
            not,
            slot,
            first: [a, b],
            second: [c, d],
            more: [e, f, g],
        }
    }
}

const fn pair(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

const fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_ne_bytes();
    (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
}
