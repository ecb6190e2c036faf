//! Trees for rules that come later, and where the rules lie that go.

use std::ops::Range;

use nke_ebpf::abi::{At, MOST_BITS, PAGE_WORDS, ROOTS, RULE_WORDS, Root, Rule, Test};

use super::grow::{Grower, Size, Tree};
use super::pack::Pages;
use super::spans::{self, Family};
use super::split::Split;

/// Trees, and where they lie.
pub(in crate::filter) struct Later {
    /// The word of the set where they begin.
    pub(in crate::filter) from: usize,
    pub(in crate::filter) words: Vec<u64>,
    /// How much of the room is taken with them, in words.
    pub(in crate::filter) taken: u32,
    /// One for each family that has rules.
    pub(in crate::filter) roots: Vec<(usize, Root)>,
}

/// The trees of these rules, which stand in order, with tests among these: in the room that begins at this word, behind what is
/// taken of it, and ends at another; nothing if there is not enough.
pub(in crate::filter) fn later(
    (rules, tests): (&[Rule], &[Test]),
    room: Range<usize>,
    taken: u32,
) -> Option<Later> {
    let all: Vec<_> = rules.iter().map(spans::spans).collect();
    let mut trees: Vec<(Family, &Rule, Tree)> = Vec::new();
    for family in Family::ALL {
        let mine = (0u32..).zip(rules).filter(|(_, rule)| family.has(rule));
        let mine: Vec<u32> = mine.map(|(index, _)| index).collect();
        let Some(first) = mine.first() else {
            continue;
        };
        let first = &rules[*first as usize];
        let grower = Grower {
            rules,
            all: &all,
            fields: family.fields(),
            size: Size::of_tables(MOST_BITS / 2),
        };
        trees.push((family, first, grower.grow(mine)));
    }
    let words: usize = trees.iter().map(|(_, _, tree)| tree.words(rules)).sum();
    let words = words.next_multiple_of(RULE_WORDS);
    let mut from = room.start + taken as usize;
    if from % PAGE_WORDS + words > PAGE_WORDS {
        from = from.next_multiple_of(PAGE_WORDS);
    }
    let end = from + words;
    if end > room.end || words > PAGE_WORDS {
        return None;
    }
    let (page, word) = (from / PAGE_WORDS, from % PAGE_WORDS);
    let mut laid = Pages::within((rules, tests), page, word..word + words);
    let mut roots = Vec::new();
    for (family, first, tree) in &trees {
        let at = laid.lay(tree, 0)?;
        roots.push((*family as usize, Root::later(at, first.order)));
    }
    Some(Later {
        from,
        words: laid.words.get(word..word + words)?.to_vec(),
        taken: u32::try_from(end - room.start).ok()?,
        roots,
    })
}

/// Where copies of a rule begin that has been there since its trees were built, in a set of so many words.
pub(in crate::filter) fn copies(
    rule: &Rule,
    roots: &[[Root; ROOTS]; 4],
    (words, word): (usize, &dyn Fn(usize) -> Option<u64>),
) -> Vec<usize> {
    /// The word of a rule that ends with its number.
    const NUMBER: usize = 12;
    let spans = spans::spans(rule);
    let families = Family::ALL.into_iter().filter(|family| family.has(rule));
    let roots = families.flat_map(|family| &roots[family as usize]);
    let mut left: Vec<At> = roots
        .filter(|root| !root.is_later())
        .map(|root| root.at)
        .collect();
    // A bit for each word: a rule that leaves much open is in many thousand places.
    let mut seen = vec![0_u64; words.div_ceil(64)];
    let mut copies = Vec::new();
    while let Some(at) = left.pop() {
        let page = at.page() as usize * PAGE_WORDS;
        // Entries share what lies behind them, and what is read here might lead in circles.
        if !is_first(&mut seen, page + at.word()) {
            continue;
        }
        if at.is_table() {
            let split = Split::of(at);
            let span = spans.get(split.field).copied();
            let entries = span.and_then(|span| split.entries(span));
            let each = split.each(entries).map(|entry| page + at.word() + entry);
            left.extend(each.filter_map(word).map(At));
        } else {
            let begin = |index| page + at.word() + index * RULE_WORDS;
            let places = (0..at.count() as usize).map(begin);
            let is_copy = |place: &usize| {
                let found = word(place + NUMBER).map(nke_ebpf::abi::split);
                found.is_some_and(|(_, number)| number == rule.number)
            };
            copies.extend(places.filter(is_copy));
        }
    }
    copies
}

/// Whether a bit was not set until now; it is from now on. One that is not there never was.
fn is_first(bits: &mut [u64], bit: usize) -> bool {
    let Some(word) = bits.get_mut(bit / 64) else {
        return false;
    };
    let mask = 1 << (bit % 64);
    let is_first = *word & mask == 0;
    *word |= mask;
    is_first
}
