//! Where the parts of a rule set lie behind its trees.

use std::ops::Range;

use nke_ebpf::abi::{COUNT_WORDS, LINE_WORDS, PAGE_WORDS, RULE_WORDS};

use crate::filter::edit::MOST;

/// So many words of room are for the trees of rules that come later, and more where the trees that are there are large.
const ROOM: usize = 8192;

/// Where all else fits into one page, so many are enough.
pub(super) const LEAST_ROOM: usize = ROOM / 2;

/// How many words parts of a set take, with those for rules that come later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// How many counts a processor has.
    pub(super) row: usize,
    /// The counts of all processors.
    pub(super) counts: usize,
    /// The list of all rules.
    pub(super) list: usize,
    /// Their tests.
    pub(super) tests: usize,
    /// Counts that old rule sets have left.
    pub(super) carried: usize,
}

impl Parts {
    /// Of so many rules, with so many tests.
    pub(super) fn of(rules: usize, tests: usize, cpus: u32) -> Option<Self> {
        let row = (rules + MOST + 3).next_multiple_of(LINE_WORDS / COUNT_WORDS);
        let carried = row * COUNT_WORDS;
        Some(Self {
            row,
            counts: carried.checked_mul(cpus as usize)?,
            list: row * RULE_WORDS,
            tests: (tests + MOST) * LINE_WORDS,
            carried,
        })
    }

    /// Whether all of them fit into these words, and room for later trees.
    pub(super) const fn fit(&self, left: &Range<usize>) -> bool {
        let Self {
            row: _,
            counts,
            list,
            tests,
            carried,
        } = *self;
        let left = left.end - left.start.next_multiple_of(RULE_WORDS);
        counts + list + tests + carried + LEAST_ROOM + RULE_WORDS <= left
    }
}

/// Which words are free.
#[derive(Debug)]
pub(super) struct Layout {
    /// The first one in what trees have left of the first page.
    in_first: usize,
    /// The first one behind all pages of trees.
    behind: usize,
    /// How many the pages of trees have.
    trees: usize,
}

impl Layout {
    /// Of so many words of trees, which have left those of the first page from this one on.
    pub(super) const fn new(trees: usize, in_first: usize) -> Self {
        Self {
            in_first,
            behind: trees,
            trees,
        }
    }

    /// Takes so many words of the first page, from a multiple of a number on; nothing if they do not fit.
    pub(super) fn take_in_first(&mut self, words: usize, unit: usize) -> Option<usize> {
        let from = self.in_first.next_multiple_of(unit);
        let end = from.checked_add(words).filter(|end| *end <= PAGE_WORDS)?;
        self.in_first = end;
        Some(from)
    }

    /// Takes them behind all pages of trees.
    pub(super) const fn take_behind(&mut self, words: usize, unit: usize) -> usize {
        let from = self.behind.next_multiple_of(unit);
        self.behind = from + words;
        from
    }

    /// Takes them in the first page, or behind all.
    pub(super) fn take(&mut self, words: usize, unit: usize) -> usize {
        let in_first = self.take_in_first(words, unit);
        in_first.unwrap_or_else(|| self.take_behind(words, unit))
    }

    /// Takes room for later trees: what is left of the first page, or between the trees of another, if that is enough; or words
    /// behind all.
    pub(super) fn take_room(&mut self, between: Range<usize>) -> Range<usize> {
        let wanted = ROOM + self.trees / 32;
        let left = whole_rules(self.in_first..PAGE_WORDS);
        let between = whole_rules(between);
        let is_all = self.behind == PAGE_WORDS && left.len() >= LEAST_ROOM;
        if is_all || left.len() >= wanted {
            self.in_first = left.end;
            return left;
        }
        if between.len() >= wanted {
            return between;
        }
        let from = self.take_behind(wanted, RULE_WORDS);
        // Nothing else would be in what is left of the last page.
        self.behind = self.end();
        from..self.behind
    }

    /// How many words there are, in whole pages.
    pub(super) const fn end(&self) -> usize {
        self.behind.next_multiple_of(PAGE_WORDS)
    }
}

/// The words of these that whole rules can lie in.
const fn whole_rules(words: Range<usize>) -> Range<usize> {
    words.start.next_multiple_of(RULE_WORDS)..words.end
}
