//! A tree over rules: boxes cut into boxes, until few rules are left in each.

use nke_ebpf::abi::{RUN, Rule};

use super::pack::tests_of;
use super::spans::{Family, Spans};
use super::split;

/// How many rules need no further cut: a step costs about as much as comparing two.
const FEW: usize = 4;

/// How deep a tree gets.
const DEPTH: usize = 14;

/// A tree over rules, by their indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// Rules that are compared one after the other.
    Run(Vec<u32>),
    /// A choice of ways by a field.
    Node {
        field: usize,
        /// The last number of each way but the last one.
        last: Vec<u32>,
        next: Vec<Self>,
    },
}

impl Tree {
    /// How many lines of a page it takes.
    pub(super) fn lines(&self, all: &[Rule]) -> usize {
        let lines = |rule: &u32| 2 + tests_of(&all[*rule as usize]);
        match self {
            Self::Run(rules) => rules.iter().map(lines).sum(),
            Self::Node { next, .. } => 1 + next.iter().map(|it| it.lines(all)).sum::<usize>(),
        }
    }

    /// What its dearest packet costs, in comparisons of a rule.
    pub(super) fn worst(&self) -> usize {
        match self {
            Self::Run(rules) => rules.len(),
            Self::Node { next, .. } => 2 + next.iter().map(Self::worst).max().unwrap_or(0),
        }
    }

    /// Whether every run is short enough to be searched.
    pub(super) fn fits(&self) -> bool {
        match self {
            Self::Run(rules) => rules.len() <= RUN,
            Self::Node { next, .. } => next.iter().all(Self::fits),
        }
    }
}

/// The tree of these rules, which stand in order.
pub(super) fn grow(rules: &[u32], all: &[Spans], family: Family) -> Tree {
    let whole = super::spans::spans(&Rule::ANY);
    let copies = rules.len() * 3 + 64;
    subtree(rules.to_vec(), all, whole, family.fields(), copies, DEPTH)
}

fn subtree(
    rules: Vec<u32>,
    all: &[Spans],
    region: Spans,
    fields: &[usize],
    copies: usize,
    depth: usize,
) -> Tree {
    if rules.len() <= FEW || depth == 0 {
        return Tree::Run(rules);
    }
    let Some(split) = split::best(&rules, all, &region, fields, copies) else {
        return Tree::Run(rules);
    };
    let (field, (mut low, end)) = (split.field, region[split.field]);
    let next = split.last.iter().copied().chain([end]).map(|high| {
        let mut inner = region;
        inner[field] = (low, high);
        let meets = |rule: &u32| {
            let (first, last) = all[*rule as usize][field];
            first <= high && low <= last
        };
        let inside: Vec<u32> = rules.iter().copied().filter(meets).collect();
        low = high.saturating_add(1);
        let share = copies * inside.len() / split.copies;
        subtree(inside, all, inner, fields, share, depth - 1)
    });
    let next = next.collect();
    Tree::Node {
        field,
        last: split.last,
        next,
    }
}
