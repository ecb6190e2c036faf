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
pub(super) mod tests;

use nke_ebpf::abi::{
    self, At, COUNTS_IN_PAGE, FORMAT, FRONT_WORDS, Front, HEADER_WORDS, Header, LINE_WORDS,
    MOST_BITS, PAGE_WORDS, ROOTS, RULES_IN_PAGE, Root, Rule, Test, field, limit,
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
    /// Adds the page of expressions.
    pub(super) fn add_expressions(&mut self, page: &[u64]) {
        let header = &mut self.header;
        header.expressions = header.room;
        header.room += 1;
        self.pages += 1;
        self.words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&header.to_words());
        let from = header.expressions as usize * PAGE_WORDS;
        self.words.resize(from + PAGE_WORDS, 0);
        self.words[from..][..page.len()].copy_from_slice(page);
    }

    /// Adds room for the sources of limits per source, behind all that says something.
    pub(super) fn add_sources(&mut self) {
        let header = &mut self.header;
        header.sources = header.room;
        header.room += SOURCES;
        self.pages += SOURCES;
        self.words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&header.to_words());
    }
}

/// How many pages sources have.
const SOURCES: u32 = abi::sources::PAGES as u32;

/// Builds a rule set; nothing if it does not fit. Each rule has its place as its number, and says where
/// its tests are among these. Here they get their orders, and limits their words.
pub(super) fn build(
    rules: &mut [Rule],
    tests: &mut [Test],
    default: u32,
    cpus: u32,
) -> Option<Built> {
    let limits = place_limits(tests)?;
    let tests = &*tests;
    let length = u32::try_from(rules.len()).ok()?;
    put_in_order(rules, length)?;
    let rules = &*rules;
    let all: Vec<_> = rules.iter().map(spans::spans).collect();
    // Where large tables do not fit into the first page, smaller ones do.
    let (mut pages, front, roots) = (1..=MOST_BITS)
        .rev()
        .step_by(3)
        .find_map(|most_bits| trees((rules, tests), limits, &all, most_bits))?;

    // Rules that come later find room in the list and among the counts.
    let more = u32::try_from(super::edit::MOST).ok()?;
    let row = length.checked_add(more + 3)?.next_multiple_of(4);
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
        sources: 0,
        spare: 0,
        roots,
        rest: [0; 16],
    };
    words[0] = front.to_word();
    words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&header.to_words());
    Some(Built {
        header,
        words,
        pages: room + 1 + list / 32,
    })
}

/// Gives so many rules their places, and orders as far apart as may be, for those that come between them.
fn put_in_order(rules: &mut [Rule], length: u32) -> Option<()> {
    let step = ((u32::MAX / 2) / (length + 1)).clamp(1, 1 << 16);
    for (place, rule) in (1..=length).zip(rules) {
        rule.order = place.checked_mul(step)?;
        rule.place = [place; 2];
    }
    Some(())
}

/// The trees of rules, in pages, and where they begin; nothing if they do not fit.
fn trees<'a>(
    (rules, tests): (&'a [Rule], &'a [Test]),
    limits: usize,
    all: &[Spans],
    most_bits: u32,
) -> Option<(Pages<'a>, Front, Roots)> {
    let mut trees = Vec::new();
    let marks = sets_marks(tests);
    for family in Family::ALL {
        let mine = (0u32..).zip(rules).filter(|(_, rule)| family.has(rule));
        let (ordered, free) = mine.partition::<Vec<_>, _>(|(_, rule)| {
            let own = tests_of(rule, tests).unwrap_or_default();
            asks_for_order(rule, own, marks)
        });
        let indices = |rules: Vec<(u32, &Rule)>| rules.iter().map(|it| it.0).collect::<Vec<_>>();
        let found = group::trees(
            &indices(free),
            &indices(ordered),
            (rules, all),
            family,
            most_bits,
        )?;
        let free = found.free.into_iter().map(|tree| (false, tree));
        let ordered = found.ordered.into_iter().map(|tree| (true, tree));
        for (is_ordered, tree) in free.chain(ordered) {
            if let Some(first) = first(&tree) {
                let first = rules[first as usize].order;
                let root = if is_ordered {
                    Root::ordered
                } else {
                    Root::built
                };
                trees.push((family, root(At::NOTHING, first), tree));
            }
        }
    }
    trees.sort_by_key(|(_, root, _)| place_of(root));
    let mut pages = Pages::new(rules, tests, limits);
    let mut front = Front {
        format: FORMAT,
        few: 0,
        few_tested: 0,
        current: 1,
    };
    pages.lay_few(&mut front);
    let at = pages.lay_all(&trees.iter().map(|(_, _, tree)| tree).collect::<Vec<_>>())?;
    let mut roots = [[Root::NONE; ROOTS]; 4];
    for ((family, root, _), at) in trees.iter().zip(at) {
        let mut mine = roots[*family as usize].iter_mut();
        *mine.find(|root| **root == Root::NONE)? = Root { at, ..*root };
    }
    Some((pages, front, roots))
}

/// Where a tree stands among those of a family: what is of the first rules is searched first, but for trees of rules that
/// must be asked in order.
pub(super) fn place_of(root: &Root) -> (bool, u32) {
    (root.is_ordered(), root.first)
}

/// Whether some rule of these tests sets marks.
pub(super) fn sets_marks(tests: &[Test]) -> bool {
    tests.iter().any(|test| test.kind == Test::SET_MARK)
}

/// Whether a rule with these tests must be asked in the order of the list: it does something where it does not
/// decide, or may see what others do then.
pub(super) fn asks_for_order(rule: &Rule, own: &[Test], marks: bool) -> bool {
    let sees = |test: &Test| {
        let mark = test.kind == Test::MASKED && test.field == field::MARK;
        test.is_limit() || mark && marks && test.second[0] >> 32 != 0
    };
    rule.outcome & Rule::GO_ON != 0 || own.iter().any(sees)
}

/// So many words of the first page are for limits at most.
pub(super) const LIMITS: usize = PAGE_WORDS / 2;

/// Gives each limit among tests its word of the first page, and says how many words they take; nothing if they do
/// not fit.
fn place_limits(tests: &mut [Test]) -> Option<usize> {
    let mut count = 0;
    for test in tests.iter_mut().filter(|test| test.kind == Test::LIMIT) {
        test.more[limit::WORD] = u64::try_from(FRONT_WORDS + count).ok()?;
        count += 1;
    }
    (count <= LIMITS).then_some(count)
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

/// The same, to be changed.
pub(super) fn tests_of_mut<'a>(rule: &Rule, tests: &'a mut [Test]) -> Option<&'a mut [Test]> {
    let from = rule.listed as usize;
    tests.get_mut(from..from.checked_add(pack::tests_of(rule))?)
}
