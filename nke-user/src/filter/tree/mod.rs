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
mod later;
mod pack;
mod spans;
mod split;

#[cfg(test)]
mod tests;

use nke_ebpf::abi::{
    COUNTS_IN_PAGE, FORMAT, Front, HEADER_WORDS, Header, LINE_WORDS, MOST_BITS, PAGE_WORDS, ROOTS,
    RULES_IN_PAGE, Root, Rule, Test,
};

pub(super) use later::{copies, later};
use pack::Pages;
use spans::{Family, Spans};

/// Where trees begin, by family.
type Roots = [[Root; ROOTS]; 4];

/// A rule set in memory: the pages that have something to say, and how many there are with those
/// that are zero at first.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) header: Header,
    pub(super) words: Vec<u64>,
    pub(super) pages: u32,
}

impl Built {
    /// Adds the page of expressions, by this stamp.
    pub(super) fn add_expressions(&mut self, page: &[u64], stamp: u32) {
        let header = &mut self.header;
        header.expressions = header.room;
        header.stamp = stamp;
        header.room += 1;
        self.pages += 1;
        self.words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&header.to_words());
        let from = header.expressions as usize * PAGE_WORDS;
        self.words.resize(from + PAGE_WORDS, 0);
        self.words[from..][..page.len()].copy_from_slice(page);
    }
}

/// Builds a rule set; nothing if it does not fit. Each rule has its place as its number, and says where
/// its tests are among these. Here they get their orders.
pub(super) fn build(rules: &mut [Rule], tests: &[Test], default: u32, cpus: u32) -> Option<Built> {
    let length = u32::try_from(rules.len()).ok()?;
    // As far apart as may be, for those that come between them.
    let step = ((u32::MAX / 2) / (length + 1)).clamp(1, 1 << 16);
    for (place, rule) in (1..=length).zip(&mut *rules) {
        rule.order = place.checked_mul(step)?;
        rule.place = [place; 2];
    }
    let rules = &*rules;
    let all: Vec<_> = rules.iter().map(spans::spans).collect();
    // Where large tables do not fit into the first page, smaller ones do.
    let (mut pages, few, roots) = (1..=MOST_BITS)
        .rev()
        .step_by(3)
        .find_map(|most_bits| trees((rules, tests), &all, most_bits))?;

    // Rules that come later find room in the list and among the counts.
    let more = u32::try_from(super::edit::MOST).ok()?;
    let row = length.checked_add(more + 2)?.next_multiple_of(4);
    let of_cpus = u64::from(row) * u64::from(cpus);
    let in_first = pages.place_of_counts(of_cpus);

    let mut words = pages.words;
    let page = |words: usize| u32::try_from(words / PAGE_WORDS).ok();
    let list = page(words.len())?;
    words.extend(rules.iter().flat_map(Rule::to_words));
    let listed = (row as usize).div_ceil(RULES_IN_PAGE) * PAGE_WORDS;
    words.resize(list as usize * PAGE_WORDS + listed, 0);
    let tests_page = page(words.len())?;
    if !tests.is_empty() {
        words.extend(tests.iter().flat_map(Test::to_words));
        let all = words.len() + super::edit::MOST * LINE_WORDS;
        words.resize(all.next_multiple_of(PAGE_WORDS), 0);
    }
    let pages_of = |counts: u64| u32::try_from(counts.div_ceil(COUNTS_IN_PAGE as u64)).ok();
    let carried = page(words.len())?;
    let behind = carried + pages_of(row.into())?;
    let (counts, room) = match in_first {
        Some(counts) => (counts, behind),
        None => (
            behind.checked_mul(u32::try_from(COUNTS_IN_PAGE).ok()?)?,
            behind + pages_of(of_cpus)?,
        ),
    };
    let header = Header {
        edition: 0,
        length,
        default,
        row,
        list,
        carried,
        counts,
        room,
        taken: 0,
        built: length,
        tests: tests_page,
        tested: u32::try_from(tests.len()).ok()?,
        expressions: 0,
        stamp: 0,
        spare: [0; 2],
        roots,
        rest: [0; 16],
    };
    let front = Front {
        format: FORMAT,
        few,
        current: 1,
    };
    words[0] = front.to_word();
    words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&header.to_words());
    Some(Built {
        header,
        words,
        pages: room + 1 + list / 32,
    })
}

/// The trees of rules, in pages, and where they begin; nothing if they do not fit.
fn trees<'a>(
    (rules, tests): (&'a [Rule], &'a [Test]),
    all: &[Spans],
    most_bits: u32,
) -> Option<(Pages<'a>, u16, Roots)> {
    let mut trees = Vec::new();
    for family in Family::ALL {
        let mine = (0u32..).zip(rules).filter(|(_, rule)| family.has(rule));
        let mine: Vec<u32> = mine.map(|(index, _)| index).collect();
        for tree in group::trees(&mine, (rules, all), family, most_bits)? {
            if let Some(first) = first(&tree) {
                trees.push((family, rules[first as usize].order, tree));
            }
        }
    }
    // The search stops at a tree that can no more have the first match.
    trees.sort_by_key(|(_, first, _)| *first);
    let mut pages = Pages::new(rules, tests);
    let few = pages.lay_few();
    let at = pages.lay_all(&trees.iter().map(|(_, _, tree)| tree).collect::<Vec<_>>())?;
    let mut roots = [[Root::NONE; ROOTS]; 4];
    for ((family, first, _), at) in trees.iter().zip(at) {
        let mut mine = roots[*family as usize].iter_mut();
        *mine.find(|root| **root == Root::NONE)? = Root::built(at, *first);
    }
    Some((pages, few, roots))
}

/// The first rule of a tree.
fn first(tree: &grow::Tree) -> Option<u32> {
    match tree {
        grow::Tree::Run(rules) => rules.first().copied(),
        grow::Tree::Table { next, .. } => next.iter().filter_map(first).min(),
    }
}

/// The tests of a rule of the list among those of all; nothing if they are not there.
pub(super) fn tests_of<'a>(rule: &Rule, tests: &'a [Test]) -> Option<&'a [Test]> {
    let from = rule.listed as usize;
    tests.get(from..from.checked_add(pack::tests_of(rule))?)
}
