//! Which rules share a tree.
//!
//! A rule that says nothing of the sender is in every box that the sender's address is cut into, and one that says
//! nothing of the receiver alike. Where there are many of both, one tree copies either the ones or the others, or
//! cuts by neither; trees of their own need no copies, and cost a packet a walk each. Several ways are
//! tried, and the one is taken whose dearest packet is cheapest.

use nke_ebpf::abi::{Field, RUN, TREES};

use super::grow::{Tree, grow};
use super::spans::{Family, Spans};

/// What the walk of one more tree costs, in comparisons of a rule.
const WALK: usize = 4;

/// A span is wide from here on: a prefix of eight bits.
const WIDE: u32 = (1 << 24) - 1;

/// The trees of these rules; nothing if too many of them cannot be told apart.
pub(super) fn trees(rules: &[u32], all: &[Spans], family: Family) -> Option<Vec<Tree>> {
    let one = vec![grow(rules, all, family)];
    if one[0].worst() <= 2 * WALK {
        return Some(one);
    }
    let wide = |rule: u32, field: u32| {
        let (first, last) = all[rule as usize][field as usize];
        last - first >= WIDE
    };
    let source = |rule: u32| usize::from(wide(rule, Field::SOURCE));
    let destination = |rule: u32| usize::from(wide(rule, Field::DESTINATION));
    let ways: [&dyn Fn(u32) -> usize; 4] = [
        &source,
        &destination,
        &|rule| source(rule) * (1 + destination(rule)),
        &|rule| source(rule) * 2 + destination(rule),
    ];
    let grouped = ways.iter().map(|group| {
        let mut groups = vec![Vec::new(); TREES];
        for rule in rules {
            groups[group(*rule)].push(*rule);
        }
        groups.retain(|group| !group.is_empty());
        groups
            .iter()
            .map(|group| grow(group, all, family))
            .collect::<Vec<_>>()
    });
    let cost = |trees: &Vec<Tree>| trees.iter().map(|tree| tree.worst() + WALK).sum::<usize>();
    let fitting = [one].into_iter().chain(grouped);
    let best = fitting
        .filter(|trees| trees.iter().all(Tree::fits))
        .min_by_key(cost);
    best.or_else(|| in_order(rules))
}

/// Runs of as many rules as fit, in order.
fn in_order(rules: &[u32]) -> Option<Vec<Tree>> {
    let runs = rules.chunks(RUN).map(|run| Tree::Run(run.to_vec()));
    (rules.len() <= RUN * TREES).then(|| runs.collect())
}
