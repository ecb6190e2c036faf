//! Which rules share a tree.
//!
//! A rule that says nothing of the sender is in every entry of a table that asks for the sender's address, and
//! one that says nothing of the receiver alike. Where there are many of both, one tree copies either the
//! ones or the others, or asks for neither; trees of their own need no copies, and cost a packet a walk
//! each. Several ways are tried, and the one is taken whose dearest packet is cheapest.

use nke_ebpf::abi::{Field, ROOTS, RUN, Rule, TREES};

use super::grow::{Grower, Size, Tree};
use super::spans::{Family, Spans};

/// What the walk of one more tree costs: see [`Tree::worst`].
const WALK: usize = 10;

/// A tree that is no dearer need not be parted.
const CHEAP: usize = 25;

/// A span is wide from here on: a prefix of eight bits.
const WIDE: u32 = (1 << 24) - 1;

/// Of more rules than this, only those are put together of which one part is small: to grow a tree takes
/// time.
const MANY: usize = 2000;
const SMALL: usize = 32;

/// Ways to put groups of rules together, each tree a set of them: of those that name both ends, the
/// sender alone (1 << 1), the receiver alone (1 << 2), and neither (1 << 3).
const WAYS: [&[usize]; 6] = [
    &[0b0001, 0b0010, 0b0100, 0b1000],
    &[0b0011, 0b0100, 0b1000],
    &[0b0101, 0b0010, 0b1000],
    &[0b0011, 0b1100],
    &[0b0101, 0b1010],
    &[0b1111],
];

/// The trees of a family.
pub(super) struct Trees {
    pub(super) free: Vec<Tree>,
    /// Those of rules that must be asked in order, in order.
    pub(super) ordered: Vec<Tree>,
}

/// The trees of these rules, and of others that must be asked in order; nothing if too many of them cannot be told
/// apart.
pub(super) fn trees(
    free: &[u32],
    ordered: &[u32],
    (encoded, all): (&[Rule], &[Spans]),
    family: Family,
    size: Size,
) -> Option<Trees> {
    let grower = Grower {
        rules: encoded,
        all,
        fields: family.fields(),
        size,
    };
    let ordered = match ordered {
        [] => Vec::new(),
        rules => {
            let tree = grower.grow(rules.to_vec());
            match tree.worst() {
                Some(_) => vec![tree],
                None => in_order(rules, ROOTS)?,
            }
        }
    };
    let free = free_trees(free, &grower, ROOTS - ordered.len())?;
    Some(Trees { free, ordered })
}

/// Trees of rules that can be asked in any order, so many at most.
fn free_trees(rules: &[u32], grower: &Grower<'_>, most: usize) -> Option<Vec<Tree>> {
    let all = grower.all;
    // The last root is for rules that come later.
    let parted = most.saturating_sub(ROOTS - TREES);
    let mut groups: [Vec<u32>; 4] = Default::default();
    for rule in rules {
        let wide = |field: u32| {
            let (first, last) = all[*rule as usize][field as usize];
            usize::from(last - first >= WIDE)
        };
        groups[wide(Field::SOURCE) * 2 + wide(Field::DESTINATION)].push(*rule);
    }
    let mut grown: [Option<Tree>; 16] = Default::default();
    let mut best: Option<(usize, &[usize])> = None;
    for way in WAYS.iter().rev() {
        if way.len() > parted || !way.iter().all(|set| is_tried(&groups, *set)) {
            continue;
        }
        let mut cost = 0;
        for set in *way {
            let tree = grown[*set].get_or_insert_with(|| grower.grow(together(&groups, *set)));
            match tree.worst() {
                Some(0) => {}
                Some(worst) => cost += worst + WALK,
                None => cost = usize::MAX / 2,
            }
        }
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, way));
        }
        if cost <= CHEAP {
            break;
        }
    }
    match best {
        Some((cost, way)) if cost < usize::MAX / 2 => {
            Some(way.iter().filter_map(|set| grown[*set].take()).collect())
        }
        Some(_) | None => in_order(rules, most),
    }
}

/// Whether it is worth the time to grow a tree of these groups.
fn is_tried(groups: &[Vec<u32>; 4], set: usize) -> bool {
    let lengths = (0..4).filter(|group| set >> group & 1 != 0);
    let lengths: Vec<usize> = lengths.map(|group| groups[group].len()).collect();
    let sum: usize = lengths.iter().sum();
    let largest = lengths.iter().copied().max().unwrap_or(0);
    sum <= MANY || (sum - largest) * SMALL <= sum
}

/// The rules of several groups, in order.
fn together(groups: &[Vec<u32>; 4], set: usize) -> Vec<u32> {
    let chosen = (0..4).filter(|group| set >> group & 1 != 0);
    let mut rules: Vec<u32> = chosen
        .flat_map(|group| groups[group].iter().copied())
        .collect();
    rules.sort_unstable();
    rules
}

/// Runs of as many rules as fit, in order, so many at most. They may take the root of later rules as well, so that what came in
/// place can always be written anew.
fn in_order(rules: &[u32], most: usize) -> Option<Vec<Tree>> {
    let runs = rules.chunks(RUN).map(|run| Tree::Run(run.to_vec()));
    (rules.len() <= RUN * most).then(|| runs.collect())
}
