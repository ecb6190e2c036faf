//! How a rule set lies in memory: pages of trees, whose leaves are runs of rules.
//!
//! A rule set is an array of [`Page`]s, of as many as it needs. The first begins with a
//! [`Header`]. What a page holds beside it, it holds in lines of 64 bytes, each one line of a
//! processor's cache:
//!
//! ```text
//! page 0        header, then nodes and tests from the front and rules from the back
//! pages 1..     nodes and tests from the front and rules from the back
//! then          all rules, in order: the list that the user side reads back
//! then          the tests of all rules, in order, a line each
//! then          counts that old rule sets have left, by number; then those of each CPU, unless
//!               there is room for them in page 0
//! ```
//!
//! A search begins at a root of the header, goes from node to node by one [`Field`] of the flow each, and
//! ends at a run: rules that lie one behind the other, in order. Only the nodes of page 0 lead to
//! other pages, so that a walk meets two pages at most.
//!
//! ```
//! use nke_ebpf::abi::At;
//!
//! let at = At::run(3, 500, 2);
//! assert_eq!((at.page(), at.line() / 2, at.count(), at.is_node()), (3, 500, 2, false));
//! ```
//!
//! A rule set is never changed once packets are judged by it, but for its counts.

use super::{Count, Rule, join};

/// What a page holds, in words of eight bytes: 64 KiB.
pub const PAGE_WORDS: usize = 8192;

/// How many words a line has.
pub const LINE_WORDS: usize = 8;

/// How many lines a page has.
pub const PAGE_LINES: usize = PAGE_WORDS / LINE_WORDS;

/// How many rules a page has room for.
pub const RULES_IN_PAGE: usize = PAGE_WORDS * 8 / size_of::<Rule>();

/// How many counts a page has room for.
pub const COUNTS_IN_PAGE: usize = PAGE_WORDS * 8 / size_of::<Count>();

/// How many pages of trees there can be.
pub const PAGES: usize = 1 << 13;

/// How many trees a family has at most. A search goes through all of them.
pub const TREES: usize = 4;

/// How many rules a run has at most.
pub const RUN: usize = 256;

/// How many ways lead on from a node.
pub const WAYS: usize = 8;

/// The lines of the header.
pub const HEADER_LINES: usize = 3;

/// How many rules are few: so many are compared one after the other, without a tree.
pub const FEW: usize = 4;

/// The number of this layout.
pub const FORMAT: u32 = 2;

/// A part of a rule set, and the value of its map.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub struct Page {
    /// What it holds.
    pub words: [u64; PAGE_WORDS],
}

/// A tree, of which one family has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// The number of the first rule in it; `u32::MAX` behind the last tree.
    pub first: u32,
    /// Where it begins.
    pub at: At,
}

impl Root {
    /// No tree.
    pub const NONE: Self = Self {
        first: u32::MAX,
        at: At::NOTHING,
    };
}

/// The beginning of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// How many rules there are.
    pub length: u32,
    /// What happens to a packet that none of them matches: [`Rule::DROP`] or 0.
    pub default: u32,
    /// The page where the list of all rules begins.
    pub list: u32,
    /// The page where counts that old rule sets have left begin.
    pub carried: u32,
    /// Where the counts of the first CPU begin, in counts from the beginning of the first page on.
    pub counts: u32,
    /// How many counts a CPU has, or those that are carried: of the default, of each rule by its
    /// number, and last of packets that could not be judged, and were dropped for it.
    pub row: u32,
    /// The page where the tests of all rules begin. Behind them are the counts that are carried.
    pub tests: u32,
    /// All rules in one run of the first page, where they are few ([`FEW`]) and none has tests; else
    /// nothing.
    pub few: At,
    /// Nothing yet.
    pub spare: [u32; 7],
    /// The trees by family: of what is not IP, of IPv4, of IPv6, and none.
    pub roots: [[Root; TREES]; 4],
}

/// Where a search goes on: at nothing, a node, or a run of rules.
//
// From the low end: 10 bits of the line, 9 of how many rules (or `NODE`), 13 of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct At(pub u32);

impl At {
    /// A run of no rules.
    pub const NOTHING: Self = Self(0);

    const COUNT_SHIFT: u32 = 10;
    const PAGE_SHIFT: u32 = 19;
    const NODE: u32 = 511;

    /// A node.
    #[must_use]
    pub const fn node(page: u32, line: u32) -> Self {
        Self(page << Self::PAGE_SHIFT | Self::NODE << Self::COUNT_SHIFT | line)
    }

    /// A run of rules, from the rule at an index of the page.
    #[must_use]
    pub const fn run(page: u32, rule: u32, count: u32) -> Self {
        Self(page << Self::PAGE_SHIFT | count << Self::COUNT_SHIFT | (rule * 2))
    }

    /// The page where it lies.
    #[inline(always)]
    #[must_use]
    pub const fn page(self) -> u32 {
        self.0 >> Self::PAGE_SHIFT
    }

    /// The line of the page where it begins.
    #[inline(always)]
    #[must_use]
    pub const fn line(self) -> usize {
        (self.0 & ((1 << Self::COUNT_SHIFT) - 1)) as usize
    }

    /// How many rules the run has.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0 >> Self::COUNT_SHIFT & Self::NODE
    }

    /// Whether it is a node.
    #[inline(always)]
    #[must_use]
    pub const fn is_node(self) -> bool {
        self.count() == Self::NODE
    }
}

/// What a node asks of a flow.
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

/// A node: the way whose `last` is the first that is not below the flow's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Node {
    /// The highest number of each way, in order; the last way has none.
    pub last: [u32; WAYS - 1],
    /// Which [`Field`] is compared.
    pub field: u32,
    /// Where each way leads.
    pub next: [At; WAYS],
}

const _: () = assert!(size_of::<Page>() == PAGE_WORDS * 8);
const _: () = assert!(size_of::<Header>() == HEADER_LINES * LINE_WORDS * 8);
const _: () = assert!(size_of::<Node>() == LINE_WORDS * 8);

impl Node {
    /// The words that this node is in memory.
    #[must_use]
    pub const fn to_words(&self) -> [u64; LINE_WORDS] {
        let Self { last, field, next } = self;
        [
            join(last[0], last[1]),
            join(last[2], last[3]),
            join(last[4], last[5]),
            join(last[6], *field),
            join(next[0].0, next[1].0),
            join(next[2].0, next[3].0),
            join(next[4].0, next[5].0),
            join(next[6].0, next[7].0),
        ]
    }
}

impl Header {
    /// The words that this header is in memory.
    #[must_use]
    pub fn to_words(&self) -> [u64; HEADER_LINES * LINE_WORDS] {
        let mut words = [0; HEADER_LINES * LINE_WORDS];
        words[0] = join(self.format, self.length);
        words[1] = join(self.default, self.list);
        words[2] = join(self.carried, self.counts);
        words[3] = join(self.row, self.tests);
        words[4] = join(self.few.0, 0);
        for (word, root) in words[LINE_WORDS..]
            .iter_mut()
            .zip(self.roots.as_flattened())
        {
            *word = join(root.first, root.at.0);
        }
        words
    }

    /// The header that these words are in memory.
    #[must_use]
    pub fn from_words(words: &[u64; HEADER_LINES * LINE_WORDS]) -> Self {
        let (format, length) = super::split(words[0]);
        let (default, list) = super::split(words[1]);
        let (carried, counts) = super::split(words[2]);
        let (row, tests) = super::split(words[3]);
        let (few, _) = super::split(words[4]);
        let mut roots = [[Root::NONE; TREES]; 4];
        for (root, word) in roots
            .as_flattened_mut()
            .iter_mut()
            .zip(&words[LINE_WORDS..])
        {
            let (first, at) = super::split(*word);
            *root = Root { first, at: At(at) };
        }
        Self {
            format,
            length,
            default,
            list,
            carried,
            counts,
            row,
            tests,
            few: At(few),
            spare: [0; 7],
            roots,
        }
    }
}
