//! A tree over rules: tables, until few rules are left.

use nke_ebpf::abi::{MOST_BITS, RUN, Rule};

use super::pack::words_of;
use super::spans::Spans;
use super::split::{self, Split};

/// So many rules need no table: it costs about as much as comparing them.
const FEW: usize = 2;

/// How deep a tree gets.
const DEPTH: usize = 9;

/// A tree over rules, by their indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// Rules that are compared one after the other.
    Run(Vec<u32>),
    /// A table.
    Table {
        split: Split,
        /// For each entry, which of the trees behind it.
        entries: Vec<usize>,
        next: Vec<Self>,
        /// How many words of a page all of it takes.
        words: usize,
    },
}

impl Tree {
    /// How many words of a page it takes, if no run lies there yet.
    pub(super) fn words(&self, all: &[Rule]) -> usize {
        match self {
            Self::Run(rules) => words_of(rules, all),
            Self::Table { words, .. } => *words,
        }
    }

    /// What its dearest packet costs, in nanoseconds or so; nothing if a run is too long to be
    /// searched.
    pub(super) fn worst(&self) -> Option<usize> {
        match self {
            Self::Run(rules) => (rules.len() <= RUN).then_some(rules.len() * 3),
            Self::Table { next, .. } => {
                let mut worst = 0;
                for next in next {
                    worst = next.worst()?.max(worst);
                }
                Some(worst + 4)
            }
        }
    }
}

/// How large a tree gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// How many bits a table asks for at most.
    pub(super) most_bits: u32,
    /// Whether few rules have as few copies as many have.
    few_copies: bool,
}

impl Size {
    /// With few copies.
    pub(super) const FEW_COPIES: Self = Self {
        most_bits: MOST_BITS,
        few_copies: true,
    };

    /// With tables that ask for so many bits at most.
    pub(super) const fn of_tables(most_bits: u32) -> Self {
        let few_copies = false;
        Self {
            most_bits,
            few_copies,
        }
    }

    /// How many copies of rules a tree of so many may have: such that few trees are enough, and of many rules three
    /// each.
    const fn copies(self, rules: usize) -> usize {
        if self.few_copies || rules > MANY {
            rules * 3 + 256
        } else {
            rules * 12 + 2000
        }
    }
}

/// Of more rules than this, a tree is grown with fewer copies: it takes time, and memory.
const MANY: usize = 2000;

/// What trees are grown of.
pub(super) struct Grower<'a> {
    pub(super) rules: &'a [Rule],
    /// Their spans.
    pub(super) all: &'a [Spans],
    /// The fields that tables can ask for.
    pub(super) fields: &'a [usize],
    pub(super) size: Size,
}

impl Grower<'_> {
    /// The tree of these rules, which stand in order.
    pub(super) fn grow(&self, rules: Vec<u32>) -> Tree {
        let copies = self.size.copies(rules.len());
        self.subtree(rules, copies, DEPTH)
    }

    fn subtree(&self, rules: Vec<u32>, copies: usize, depth: usize) -> Tree {
        if rules.len() <= FEW || depth == 0 {
            return Tree::Run(rules);
        }
        let Some(split) = split::best(&rules, self, copies) else {
            return Tree::Run(rules);
        };
        let (entries, lists) = lists(&rules, self.all, &split);
        let sum: usize = lists.iter().map(Vec::len).sum();
        if sum > copies.saturating_mul(2) {
            return Tree::Run(rules);
        }
        let part = |inside: Vec<u32>| {
            let most = copies * inside.len() / sum.max(1);
            self.subtree(inside, most, depth - 1)
        };
        let next: Vec<Tree> = lists.into_iter().map(part).collect();
        let words = split.len() + next.iter().map(|it| it.words(self.rules)).sum::<usize>();
        Tree::Table {
            split,
            entries,
            next,
            words,
        }
    }
}

/// The rules of each entry, and which entry has which of these lists: neighbours that have the same
/// share one.
fn lists(rules: &[u32], all: &[Spans], split: &Split) -> (Vec<usize>, Vec<Vec<u32>>) {
    let of = |rule: &u32| split.entries(all[*rule as usize][split.field]);
    let mut own = vec![false; split.len()];
    let some = rules.iter().map(of).filter(Option::is_some);
    some.flat_map(|it| split.each(it))
        .for_each(|entry| own[entry] = true);
    // The first list is that of entries with no rule of their own.
    let mut lists = vec![Vec::new()];
    let mut entries = vec![0; split.len()];
    for (entry, _) in own.iter().enumerate().filter(|(_, own)| **own) {
        entries[entry] = lists.len();
        lists.push(Vec::new());
    }
    for rule in rules {
        match of(rule) {
            None => lists.iter_mut().for_each(|list| list.push(*rule)),
            some => split
                .each(some)
                .for_each(|entry| lists[entries[entry]].push(*rule)),
        }
    }
    // Neighbours share.
    let mut kept: Vec<Vec<u32>> = Vec::with_capacity(lists.len());
    let mut moved = Vec::with_capacity(lists.len());
    for list in lists {
        if kept.last() != Some(&list) {
            kept.push(list);
        }
        moved.push(kept.len() - 1);
    }
    let entries = entries.iter().map(|entry| moved[*entry]).collect();
    (entries, kept)
}
