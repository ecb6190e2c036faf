//! A rule set as the kernel searches it: trees of boxes, in pages.
//!
//! What lies where is [`nke_ebpf::abi::Page`]'s to say, and the search is [`nke_ebpf::rules::decide`]; here
//! rules become that. Which rules share a tree is chosen in `group`, where a tree cuts in
//! `split`, and `pack` lays trees out.
//!
//! ```ignore
//! let built = tree::build(&rules, Rule::DROP, 2)?;
//! assert_eq!(built.words.len() % PAGE_WORDS, 0);
//! ```
//!
//! Nothing here does I/O. It never takes more memory than a fixed number of copies of each rule.

mod group;
mod grow;
mod pack;
mod spans;
mod split;

#[cfg(test)]
mod tests;

use nke_ebpf::abi::{
    At, COUNTS_IN_PAGE, FORMAT, Header, LINE_WORDS, PAGE_LINES, PAGE_WORDS, RULE_WORDS,
    RULES_IN_PAGE, Root, Rule, TREES, Test,
};

use pack::Pages;
use spans::Family;

/// A rule set in memory: the pages that have something to say, and how many there are with those
/// that are zero at first.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) header: Header,
    pub(super) words: Vec<u64>,
    pub(super) pages: u32,
}

/// Builds a rule set; nothing if it does not fit. Each rule has its place as its number, and says where
/// its tests are among these.
pub(super) fn build(rules: &[Rule], tests: &[Test], default: u32, cpus: u32) -> Option<Built> {
    let length = u32::try_from(rules.len()).ok()?;
    let all: Vec<_> = rules.iter().map(spans::spans).collect();
    let mut trees = Vec::new();
    for family in Family::ALL {
        let has = (0..length).filter(|rule| family.has(&rules[*rule as usize]));
        let mine: Vec<u32> = has.collect();
        for tree in group::trees(&mine, &all, family)? {
            if let Some(first) = first(&tree) {
                trees.push((family, first + 1, tree));
            }
        }
    }
    // The search stops at a tree that can no more have the first match.
    trees.sort_by_key(|(_, first, _)| *first);
    let mut pages = Pages::new(rules, tests);
    let at = pages.lay_all(&trees.iter().map(|(_, _, tree)| tree).collect::<Vec<_>>())?;
    let mut roots = [[Root::NONE; TREES]; 4];
    for ((family, first, _), at) in trees.iter().zip(at) {
        let free = roots[*family as usize]
            .iter_mut()
            .find(|root| **root == Root::NONE)?;
        *free = Root { first: *first, at };
    }
    let few = pages.lay_few().unwrap_or(At::NOTHING);
    let row = length.checked_add(2)?.next_multiple_of(4);
    let of_cpus = u64::from(row) * u64::from(cpus);
    let in_first = pages.line_of_counts(of_cpus);

    let mut words = pages.words;
    let page = |words: usize| u32::try_from(words / PAGE_WORDS).ok();
    let list = page(words.len())?;
    for rules in rules.chunks(RULES_IN_PAGE) {
        let from = words.len();
        words.extend(rules.iter().flat_map(|rule| rule.to_words()));
        words.resize(from + PAGE_WORDS, 0);
    }
    let tests_page = page(words.len())?;
    for tests in tests.chunks(PAGE_LINES) {
        let from = words.len();
        words.extend(tests.iter().flat_map(Test::to_words));
        words.resize(from + PAGE_WORDS, 0);
    }
    let pages_of = |counts: u64| u32::try_from(counts.div_ceil(COUNTS_IN_PAGE as u64)).ok();
    let carried = page(words.len())?;
    let behind = carried + pages_of(row.into())?;
    let (counts, pages) = match in_first {
        Some(counts) => (counts, behind),
        None => (
            behind.checked_mul(u32::try_from(COUNTS_IN_PAGE).ok()?)?,
            behind + pages_of(of_cpus)?,
        ),
    };
    let header = Header {
        format: FORMAT,
        length,
        default,
        list,
        carried,
        counts,
        row,
        tests: tests_page,
        few,
        spare: [0; 7],
        roots,
    };
    let head = header.to_words();
    words[..head.len()].copy_from_slice(&head);
    Some(Built {
        header,
        words,
        pages,
    })
}

/// The first rule of a tree.
fn first(tree: &grow::Tree) -> Option<u32> {
    match tree {
        grow::Tree::Run(rules) => rules.first().copied(),
        grow::Tree::Node { next, .. } => next.iter().filter_map(first).min(),
    }
}

/// The tests of a rule of the list among those of all; nothing if they are not there.
pub(super) fn tests_of<'a>(rule: &Rule, tests: &'a [Test]) -> Option<&'a [Test]> {
    let from = rule.listed as usize;
    tests.get(from..from + pack::tests_of(rule))
}

/// The tests that lie in these words.
pub(super) fn tests_in(words: &[u64]) -> impl Iterator<Item = Test> {
    let (tests, _) = words.as_chunks::<LINE_WORDS>();
    tests.iter().map(Test::from_words)
}

/// The rules of a list that lies in these words.
pub(super) fn list(words: &[u64]) -> impl Iterator<Item = Rule> {
    let (rules, _) = words.as_chunks::<RULE_WORDS>();
    rules.iter().map(Rule::from_words)
}
