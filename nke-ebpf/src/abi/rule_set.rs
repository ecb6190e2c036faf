//! How a rule set lies in memory: pages of trees, whose leaves are runs of rules.
//!
//! A rule set is an array of [`Page`]s, of as many as it needs:
//!
//! ```text
//! page 0        which header is in force, the headers, then a word for each limit, then tables, and behind them
//!               rules with their tests, if all trees fit in here
//! pages 1..     else: tables from the front, and rules with their tests from the back
//! then          counts of each CPU
//!               all rules by their numbers: the list that the user side reads back
//!               the tests of all rules, a line each, and counts that old rule sets have left, by number
//!               a page of expressions, if there are any
//!               the sources of limits per source, if there are any: see `sources`
//!               room for the trees of rules that come later
//! ```
//!
//! What comes behind the trees lies in what they leave of page 0, as far as it fits there, and else behind the last page. Each part
//! says where it begins in its own unit (a rule, a test, a count), from the beginning of page 0 on, and may go on in the next page; none
//! of these lies across the end of a page. So a small set is one page.
//!
//! A search begins at a root of the header. A place ([`At`]) is a table, or a run: rules that lie one
//! behind the other, in order. What follows from a table is its entry by a few bits of one [`Field`] of the
//! flow. Only the tables of page 0 lead to other pages, so that a walk meets two pages at most.
//!
//! ```
//! use nke_ebpf::abi::{At, Field};
//!
//! let at = At::run(3, 500, 2);
//! assert_eq!((at.page(), at.rule(), at.count(), at.is_table()), (3, 500, 2, false));
//! let table = At::table(0, 64, Field::SOURCE, 20, 4);
//! assert_eq!(table.entry(0x00a0_0000), 64 + 10);
//! ```
//!
//! **Once packets are judged by it, a rule set grows and never changes.** An edit writes what is new where
//! no search comes by yet: rules, their trees, a header with another [`Header::edition`]. Rules that go
//! are told from which edition on they are gone ([`Rule::until`]). Then one word, [`Front::current`],
//! puts all of it in force at once: a packet reads that word once.

use super::{Count, RULE_WORDS, Rule, join, split};

/// What a page holds, in words of eight bytes: 256 KiB. So all trees of a hundred rules fit into one.
pub const PAGE_WORDS: usize = 1 << 15;

/// How many words a line of a processor's cache has.
pub const LINE_WORDS: usize = 8;

/// How many lines a page has.
pub const PAGE_LINES: usize = PAGE_WORDS / LINE_WORDS;

/// How many rules a page has room for.
pub const RULES_IN_PAGE: usize = PAGE_WORDS * 8 / size_of::<Rule>();

/// How many words a count has.
pub const COUNT_WORDS: usize = size_of::<Count>() / 8;

/// How many counts a page has room for.
pub const COUNTS_IN_PAGE: usize = PAGE_WORDS / COUNT_WORDS;

/// How many pages of trees there can be.
pub const PAGES: usize = 1 << 17;

/// How many trees a family has at most. A search goes through all of them.
pub const TREES: usize = 4;

/// How many roots a family has: one more, for rules that have come later.
pub const ROOTS: usize = TREES + 1;

/// How many rules a run has at most.
pub const RUN: usize = 128;

/// How many bits a table asks for at most.
pub const MOST_BITS: u32 = 10;

/// The words that a header takes.
pub const HEADER_WORDS: usize = 64;

/// How many headers a rule set has, one for each edition: so often it can be edited.
pub const HEADERS: usize = 32;

/// The words in front of the trees of page 0: [`Front`], and the headers.
pub const FRONT_WORDS: usize = HEADER_WORDS * (HEADERS + 1);

/// The word of page 0 that says which header is in force for fast paths, which know a rule set by its address: its place, or
/// 0, so that they leave every packet to who finds the rule set in force.
pub const FAST_WORD: usize = 1;

/// The word of a header that says where the tree of IPv4 is that has come later: an [`At`], of no rules if there is none.
pub const LATER_WORD: usize = SAID;

/// How many rules are few: so many are compared one after the other, without a tree. They lie in place of the second
/// header, and the test that each may have in place of the third, for such a set is not edited in place.
pub const FEW: usize = 4;

/// The line of page 0 with the test of the first of few rules.
pub const FEW_TESTS_AT: usize = 3 * HEADER_WORDS / LINE_WORDS;

/// The index in page 0 of the first of few rules.
pub const FEW_AT: usize = 2 * HEADER_WORDS / RULE_WORDS;

const _: () = assert!(FEW * RULE_WORDS <= HEADER_WORDS && FEW * LINE_WORDS <= HEADER_WORDS);

/// The number of this layout.
pub const FORMAT: u16 = 6;

/// A part of a rule set, and the value of its map.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub struct Page {
    /// What it holds.
    pub words: [u64; PAGE_WORDS],
}

/// The first word of page 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Front {
    /// [`FORMAT`].
    pub format: u16,
    /// How many rules there are, where they are few ([`FEW`]) and none has tests; else 0. The header is the first
    /// one then.
    pub few: u8,
    /// The same where some have a test, and none has more than one.
    pub few_tested: u8,
    /// The place of the header in force, from 1. The only number of all that changes.
    pub current: u32,
}

impl Front {
    /// Whether rules are few, tested or not.
    #[must_use]
    pub const fn has_few(self) -> bool {
        self.few | self.few_tested != 0
    }

    /// The word that this is in memory.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let Self {
            format,
            few,
            few_tested,
            current,
        } = self;
        let few = (few as u32) << 16 | (few_tested as u32) << 24;
        join(few | format as u32, current)
    }

    /// What a word says.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let (first, current) = split(word);
        Self {
            format: first as u16,
            few: (first >> 16) as u8,
            few_tested: (first >> 24) as u8,
            current,
        }
    }
}

/// A tree, of which one family has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// Where it begins.
    pub at: At,
    /// The [`Rule::order`] of the first rule in it; `u32::MAX` behind the last tree.
    pub first: u32,
    /// What it is of: rules that were there when the set was written (0), that have come later (1), or that must be asked
    /// in the order of the list (2), behind all other trees. User space's alone.
    pub kind: u32,
}

impl Root {
    /// No tree.
    pub const NONE: Self = Self {
        at: At::NOTHING,
        first: u32::MAX,
        kind: 0,
    };

    /// The tree of rules that were there when the set was written, of which the first has this order.
    #[must_use]
    pub const fn built(at: At, first: u32) -> Self {
        let kind = 0;
        Self { at, first, kind }
    }

    /// The tree of rules that have come later.
    #[must_use]
    pub const fn later(at: At, first: u32) -> Self {
        let kind = 1;
        Self { at, first, kind }
    }

    /// The tree of rules that must be asked in order.
    #[must_use]
    pub const fn ordered(at: At, first: u32) -> Self {
        let kind = 2;
        Self { at, first, kind }
    }

    /// Whether it is of rules that have come later.
    #[must_use]
    pub const fn is_later(&self) -> bool {
        self.kind == 1
    }

    /// Whether it is of rules that must be asked in order.
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        self.kind == 2
    }
}

/// What a rule set is at one edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// How many edits there have been. A rule is gone from [`Rule::until`] on.
    pub edition: u32,
    /// How many numbers rules have, those that are gone among them.
    pub length: u32,
    /// What happens to a packet that none of them matches: [`Rule::DROP`] or 0; and
    /// [`Rule::ASKS_MORE`], [`Rule::ASKS_TESTS`].
    pub default: u32,
    /// How many counts a CPU has, or those that are carried: of the default, of each rule by its
    /// number, of packets of known flows that no rule of these made, and last of packets that could not be judged, and were
    /// dropped for it.
    pub row: u32,
    /// Where the list of all rules begins, in rules from the beginning of the first page on.
    pub list: u32,
    /// Where counts that old rule sets have left begin, in counts.
    pub carried: u32,
    /// Where the counts of the first CPU begin, in counts.
    pub counts: u32,
    /// Where room for later trees begins, in rules. User space's alone, as what follows.
    pub room: u32,
    /// How many words of that are taken.
    pub taken: u32,
    /// How many rules there were when the trees were built.
    pub built: u32,
    /// Where the tests of all rules begin, in lines. Behind them, and room for some more, are the counts that are carried.
    pub tests: u32,
    /// How many tests there are.
    pub tested: u32,
    /// The page of expressions: see [`super::classic::Place`]; 0 if there are none.
    pub expressions: u32,
    /// A number that no other rule set has: the kernel's of its map. By it answers of expressions and the table of
    /// flows know the rules.
    pub stamp: u32,
    /// Where the [table of sources](super::sources) begins, in lines; 0 if there is none.
    pub sources: u32,
    /// Where room for later trees ends, in rules.
    pub room_end: u32,
    /// The trees by family: of what is not IP, of IPv4, of IPv6, and none. A search goes through them in this order.
    /// Rules that do something even where they do not decide ([`Rule::GO_ON`], [`Test::LIMIT`](super::Test::LIMIT)), and
    /// those that may see it, have trees of their own, which come last: what the other trees have says
    /// how far down the list they are asked.
    pub roots: [[Root; ROOTS]; 4],
    /// Nothing yet.
    pub rest: [u64; 16],
}

/// Where a search goes on: at nothing, a table, or a run of rules.
//
// From the low end: 15 bits of the word in the page, 17 of the page, 9 of how many rules (or `TABLE`); of a
// table, 4 of the field, 5 of how far it is shifted, 13 of which bits count then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct At(pub u64);

impl At {
    /// A run of no rules.
    pub const NOTHING: Self = Self(0);

    const WORD: u64 = PAGE_WORDS as u64 - 1;
    /// The lowest bit of the page's number.
    pub const PAGE_SHIFT: u32 = PAGE_WORDS.trailing_zeros();
    const PAGE: u64 = PAGES as u64 - 1;
    /// The lowest bit of how many rules there are.
    pub const COUNT_SHIFT: u32 = 32;
    /// What stands there for a table: all bits that there are.
    pub const TABLE: u64 = 511;
    /// The lowest bit of a table's field.
    pub const FIELD_SHIFT: u32 = 41;
    const FIELD: u64 = Field::COUNT as u64 - 1;
    /// The lowest bit of how far a table shifts its field.
    pub const BITS_SHIFT: u32 = 45;
    const BITS: u64 = 31;
    /// The lowest bit of which bits count then.
    pub const MASK_SHIFT: u32 = 50;

    /// A table that asks for bits of a field: so many, from this one on.
    #[must_use]
    pub const fn table(page: u32, word: u32, field: u32, shift: u32, bits: u32) -> Self {
        let place = (page as u64) << Self::PAGE_SHIFT | word as u64;
        let mask = (1u64 << bits) - 1;
        let what = (field as u64) << Self::FIELD_SHIFT | (shift as u64) << Self::BITS_SHIFT;
        Self(place | Self::TABLE << Self::COUNT_SHIFT | what | mask << Self::MASK_SHIFT)
    }

    /// A run of rules, from the rule at an index of the page.
    #[must_use]
    pub const fn run(page: u32, rule: u32, count: u32) -> Self {
        let word = rule as u64 * RULE_WORDS as u64;
        Self((page as u64) << Self::PAGE_SHIFT | word | (count as u64) << Self::COUNT_SHIFT)
    }

    /// The page where it lies.
    #[inline(always)]
    #[must_use]
    pub const fn page(self) -> u32 {
        (self.0 >> Self::PAGE_SHIFT & Self::PAGE) as u32
    }

    /// The word of the page where it begins.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> usize {
        (self.0 & Self::WORD) as usize
    }

    /// The index in the page of the run's first rule.
    #[inline(always)]
    #[must_use]
    pub const fn rule(self) -> usize {
        self.word() / RULE_WORDS
    }

    /// How many rules the run has.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.0 >> Self::COUNT_SHIFT & Self::TABLE) as u32
    }

    /// Whether it is a table.
    #[inline(always)]
    #[must_use]
    pub const fn is_table(self) -> bool {
        self.count() == Self::TABLE as u32
    }

    /// Which [`Field`] the table asks for.
    #[inline(always)]
    #[must_use]
    pub const fn field(self) -> usize {
        (self.0 >> Self::FIELD_SHIFT & Self::FIELD) as usize
    }

    /// From which bit of the field on the table asks.
    #[must_use]
    pub const fn shift(self) -> u32 {
        (self.0 >> Self::BITS_SHIFT & Self::BITS) as u32
    }

    /// How many bits of the field the table asks for.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.0 >> Self::MASK_SHIFT).count_ones()
    }

    /// The word of the page where the table's entry for a number lies.
    #[inline(always)]
    #[must_use]
    pub const fn entry(self, number: u32) -> usize {
        let bits = number as u64 >> (self.0 >> Self::BITS_SHIFT & Self::BITS);
        ((self.0 & Self::WORD) + (bits & self.0 >> Self::MASK_SHIFT)) as usize
    }
}

/// What a table asks of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field(pub u32);

impl Field {
    /// How many there are, and room for more.
    pub const COUNT: usize = 16;
    /// The first of the four words of the sender's address, first bytes highest. An IPv4 address is
    /// the first alone.
    pub const SOURCE: u32 = 0;
    /// The first of the four words of the receiver's address.
    pub const DESTINATION: u32 = 4;
    /// The receiver's port; 0 where it is not known.
    pub const DESTINATION_PORT: u32 = 8;
    /// The sender's port; 0 where it is not known.
    pub const SOURCE_PORT: u32 = 9;
    /// The protocol's number; [`Self::NO_PROTOCOL`] where it is not known.
    pub const PROTOCOL: u32 = 10;
    /// What stands for an unknown protocol.
    pub const NO_PROTOCOL: u32 = 256;
}

const _: () = assert!(size_of::<Page>() == PAGE_WORDS * 8);
const _: () = assert!(PAGE_WORDS * PAGES == 1 << 32);
const _: () = assert!(size_of::<Header>() == HEADER_WORDS * 8);

/// How many words of a header say something.
const SAID: usize = 8 + 4 * ROOTS * 2;

impl Header {
    /// The words that this header is in memory.
    #[must_use]
    pub fn to_words(&self) -> [u64; HEADER_WORDS] {
        let mut words = [0; HEADER_WORDS];
        words[0] = join(self.edition, self.length);
        words[1] = join(self.default, self.row);
        words[2] = join(self.list, self.carried);
        words[3] = join(self.counts, self.room);
        words[4] = join(self.taken, self.built);
        words[5] = join(self.tests, self.tested);
        words[6] = join(self.expressions, self.stamp);
        words[7] = join(self.sources, self.room_end);
        let roots = self.roots.as_flattened();
        for (two, root) in words[8..SAID].chunks_exact_mut(2).zip(roots) {
            two.copy_from_slice(&[root.at.0, join(root.first, root.kind)]);
        }
        let [_, v4, ..] = &self.roots;
        let later = v4.iter().find(|root| root.is_later());
        words[LATER_WORD] = later.map_or(At::NOTHING, |root| root.at).0;
        words
    }

    /// The header that these words are in memory.
    #[must_use]
    pub fn from_words(words: &[u64; HEADER_WORDS]) -> Self {
        let (edition, length) = split(words[0]);
        let (default, row) = split(words[1]);
        let (list, carried) = split(words[2]);
        let (counts, room) = split(words[3]);
        let (taken, built) = split(words[4]);
        let (tests, tested) = split(words[5]);
        let (expressions, stamp) = split(words[6]);
        let (sources, room_end) = split(words[7]);
        let mut roots = [[Root::NONE; ROOTS]; 4];
        let pairs = words[8..SAID].chunks_exact(2);
        for (root, two) in roots.as_flattened_mut().iter_mut().zip(pairs) {
            let (first, kind) = split(two[1]);
            *root = Root {
                at: At(two[0]),
                first,
                kind,
            };
        }
        Self {
            edition,
            length,
            default,
            row,
            list,
            carried,
            counts,
            room,
            taken,
            built,
            tests,
            tested,
            expressions,
            stamp,
            sources,
            room_end,
            roots,
            rest: [0; 16],
        }
    }
}
