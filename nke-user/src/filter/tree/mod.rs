//! A rule set as the kernel searches it: trees of boxes, in pages.
//!
//! What lies where is [`nke_ebpf::abi::Page`]'s to say, and the search is [`nke_ebpf::rules::decide`]; here
//! rules become that. Which rules share a tree is chosen in `group`, where a tree cuts in
//! `split`, and `pack` lays trees out.
//!
//! ```ignore
//! let built = tree::build(&rules, Rule::DROP, 2)?;
//! assert!(built.words.len() <= built.pages as usize * PAGE_WORDS);
//! ```
//!
//! Nothing here does I/O. It never takes more memory than a fixed number of copies of each rule.

mod group;
mod grow;
mod later;
mod layout;
mod pack;
mod spans;
mod split;

#[cfg(test)]
pub(super) mod tests;

use nke_ebpf::abi::{
    At, COUNT_WORDS, FORMAT, FRONT_WORDS, Front, HEADER_WORDS, Header, LINE_WORDS, MOST_BITS,
    PAGE_WORDS, ROOTS, RULE_WORDS, Root, Rule, Test, classic, field, limit, sources::BUCKETS,
};

use grow::Size;
pub(super) use later::{copies, later};
use layout::{Layout, Parts};
use pack::Pages;
use spans::{Family, Spans};

/// A rule set in memory: the words that have something to say, and how many pages there are with those
/// that are zero at first.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) header: Header,
    pub(super) words: Vec<u64>,
    pub(super) pages: u32,
    layout: Layout,
}

impl Built {
    /// Adds the page of expressions; nothing if there is no room.
    pub(super) fn add_expressions(&mut self, page: &[u64]) -> Option<()> {
        let at = self.layout.take_behind(classic::WORDS, PAGE_WORDS);
        self.header.expressions = place(at, PAGE_WORDS)?;
        put(&mut self.words, at, page.iter().copied());
        self.put_header()
    }

    /// Adds the table for sources of limits per source, alike.
    pub(super) fn add_sources(&mut self) -> Option<()> {
        let at = self.layout.take_behind(BUCKETS * LINE_WORDS, LINE_WORDS);
        self.header.sources = place(at, LINE_WORDS)?;
        self.put_header()
    }

    fn put_header(&mut self) -> Option<()> {
        self.pages = place(self.layout.end(), PAGE_WORDS)?;
        self.words[HEADER_WORDS..2 * HEADER_WORDS].copy_from_slice(&self.header.to_words());
        Some(())
    }
}

/// A word's place as a header has it, in units of so many words.
fn place(word: usize, unit: usize) -> Option<u32> {
    u32::try_from(word / unit).ok()
}

/// Writes words from this place on.
fn put(words: &mut Vec<u64>, at: usize, new: impl IntoIterator<Item = u64>) {
    words.resize(words.len().max(at), 0);
    let mut new = new.into_iter();
    for (word, new) in words[at..].iter_mut().zip(&mut new) {
        *word = new;
    }
    words.extend(new);
}

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
    let parts = Parts::of(rules.len(), tests.len(), cpus)?;
    let Grown {
        pages,
        front,
        roots,
    } = grown((rules, tests), limits, &all, &parts)?;

    let mut layout = Layout::new(pages.words.len(), pages.left_of_first().start);
    // A processor's own lines, and where no page is to be looked up for them if that may be.
    let in_first = layout.take_in_first(parts.counts, LINE_WORDS);
    let list = layout.take(parts.list, RULE_WORDS);
    let tests_at = layout.take(parts.tests + parts.carried, LINE_WORDS);
    let counts = in_first.unwrap_or_else(|| layout.take_behind(parts.counts, LINE_WORDS));
    let room = layout.take_room(pages.left_behind());
    let header = Header {
        edition: 0,
        length,
        default,
        row: u32::try_from(parts.row).ok()?,
        list: place(list, RULE_WORDS)?,
        carried: place(tests_at + parts.tests, COUNT_WORDS)?,
        counts: place(counts, COUNT_WORDS)?,
        room: place(room.start, RULE_WORDS)?,
        taken: 0,
        built: length,
        tests: place(tests_at, LINE_WORDS)?,
        tested: u32::try_from(tests.len()).ok()?,
        expressions: 0,
        stamp: 0,
        sources: 0,
        room_end: place(room.end, RULE_WORDS)?,
        roots,
        rest: [0; 16],
    };
    let mut words = pages.words;
    words[0] = front.to_word();
    put(&mut words, list, rules.iter().flat_map(Rule::to_words));
    put(&mut words, tests_at, tests.iter().flat_map(Test::to_words));
    let mut built = Built {
        header,
        words,
        pages: 0,
        layout,
    };
    built.put_header()?;
    Some(built)
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

/// A set of so many rules is small: it is worth the time to fit all of it into one page.
const SMALL: usize = 256;

/// The trees of a set.
struct Grown<'a> {
    pages: Pages<'a>,
    front: Front,
    /// Where they begin, by family.
    roots: [[Root; ROOTS]; 4],
}

/// The trees of rules, beside which there are these parts; nothing if they do not fit.
fn grown<'a>(
    set: (&'a [Rule], &'a [Test]),
    limits: usize,
    all: &[Spans],
    parts: &Parts,
) -> Option<Grown<'a>> {
    let of_size = |size| trees(set, limits, all, size);
    // Where large tables do not fit into the first page, smaller ones do.
    let mut sizes = (1..=MOST_BITS).rev().step_by(3).map(Size::of_tables);
    let found = sizes.find_map(of_size)?;
    let is_one_page = |found: &Grown<'_>| {
        found.pages.words.len() == PAGE_WORDS && parts.fit(&found.pages.left_of_first())
    };
    if set.0.len() > SMALL || is_one_page(&found) {
        return Some(found);
    }
    let smaller = of_size(Size::FEW_COPIES).filter(is_one_page);
    Some(smaller.unwrap_or(found))
}

/// The same, of this size.
fn trees<'a>(
    (rules, tests): (&'a [Rule], &'a [Test]),
    limits: usize,
    all: &[Spans],
    size: Size,
) -> Option<Grown<'a>> {
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
            size,
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
    Some(Grown {
        pages,
        front,
        roots,
    })
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
pub(super) const LIMITS: usize = 4096;

/// How many words of the first page the limits among tests take.
pub(super) fn limits(tests: &[Test]) -> usize {
    let is_limit = |test: &&Test| test.kind == Test::LIMIT;
    tests.iter().filter(is_limit).count()
}

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
