//! Trees laid out in pages.

use std::collections::HashMap;

use nke_ebpf::abi::{
    At, Count, FEW, HEADER_LINES, LINE_WORDS, Node, PAGE_LINES, PAGE_WORDS, PAGES, RULE_WORDS,
    RULES_IN_PAGE, Rule, Test, WAYS,
};
use nke_ebpf::rules::TOP_DEPTH;

use super::grow::Tree;

const COUNTS_IN_LINE: u64 = (LINE_WORDS * 8 / size_of::<Count>()) as u64;

/// Pages that are being filled: nodes and tests from the front, rules from the back.
pub(super) struct Pages<'a> {
    rules: &'a [Rule],
    tests: &'a [Test],
    pub(super) words: Vec<u64>,
    pages: Vec<Filled>,
}

/// How far a page is filled.
struct Filled {
    /// The first line that is free.
    line: usize,
    /// The first rule that is there.
    rule: usize,
    /// Runs that lie here, by their rules.
    runs: HashMap<Vec<u32>, At>,
}

impl Filled {
    const fn free(&self) -> usize {
        self.rule * 2 - self.line
    }
}

impl<'a> Pages<'a> {
    /// One page with room for the header.
    pub(super) fn new(rules: &'a [Rule], tests: &'a [Test]) -> Self {
        let mut pages = Self {
            rules,
            tests,
            words: Vec::new(),
            pages: Vec::new(),
        };
        pages.add();
        pages.pages[0].line = HEADER_LINES;
        pages
    }

    fn add(&mut self) -> usize {
        self.words.resize(self.words.len() + PAGE_WORDS, 0);
        self.pages.push(Filled {
            line: 0,
            rule: RULES_IN_PAGE,
            runs: HashMap::new(),
        });
        self.pages.len() - 1
    }

    /// Lays out all trees, and says where each begins; nothing if there is no room.
    pub(super) fn lay_all(&mut self, trees: &[&Tree]) -> Option<Vec<At>> {
        let lines: usize = trees.iter().map(|tree| tree.lines(self.rules)).sum();
        if lines <= self.pages[0].free() {
            return trees.iter().map(|tree| self.lay(tree, 0)).collect();
        }
        trees
            .iter()
            .map(|tree| self.spread(tree, TOP_DEPTH))
            .collect()
    }

    /// Lays out all rules as one run of the first page, if they are few, without tests, and there is
    /// room.
    pub(super) fn lay_few(&mut self) -> Option<At> {
        let plain = self.rules.iter().all(|rule| tests_of(rule) == 0);
        if !plain || self.rules.len() > FEW || self.rules.len() * 2 > self.pages[0].free() {
            return None;
        }
        let all: Vec<u32> = (0..u32::try_from(self.rules.len()).ok()?).collect();
        self.put_run(0, &all)
    }

    /// Where so many counts begin if they are in the first page, behind its nodes; nothing if they do
    /// not fit.
    pub(super) fn line_of_counts(&mut self, counts: u64) -> Option<u32> {
        let filled = &mut self.pages[0];
        let lines = usize::try_from(counts.div_ceil(COUNTS_IN_LINE)).ok()?;
        if lines > filled.free() {
            return None;
        }
        let line = u64::try_from(filled.line).ok()?;
        filled.line += lines;
        u32::try_from(line * COUNTS_IN_LINE).ok()
    }

    /// Lays out a tree that need not fit into one page.
    fn spread(&mut self, tree: &Tree, depth: usize) -> Option<At> {
        let lines = tree.lines(self.rules);
        let Tree::Node { field, last, next } = tree else {
            let page = self.page_for(lines)?;
            return self.lay(tree, page);
        };
        if lines <= PAGE_LINES {
            let page = self.page_for(lines)?;
            return self.lay(tree, page);
        }
        let line = self.line_of(0)?;
        if depth == 0 {
            return None;
        }
        let next = next
            .iter()
            .map(|next| self.spread(next, depth - 1))
            .collect::<Option<Vec<At>>>()?;
        self.put_node(0, line, *field, last, &next)
    }

    /// A page that has so many lines free, not the first.
    fn page_for(&mut self, lines: usize) -> Option<usize> {
        // What has been left long ago is full.
        let from = self.pages.len().saturating_sub(8).max(1);
        let found = (from..self.pages.len()).find(|page| self.pages[*page].free() >= lines);
        let page = found.unwrap_or_else(|| self.add());
        (page < PAGES).then_some(page)
    }

    /// Lays out a tree in a page that has room for it.
    fn lay(&mut self, tree: &Tree, page: usize) -> Option<At> {
        match tree {
            Tree::Run(rules) => self.put_run(page, rules),
            Tree::Node { field, last, next } => {
                let line = self.line_of(page)?;
                let next = next
                    .iter()
                    .map(|next| self.lay(next, page))
                    .collect::<Option<Vec<At>>>()?;
                self.put_node(page, line, *field, last, &next)
            }
        }
    }

    fn line_of(&mut self, page: usize) -> Option<usize> {
        let filled = &mut self.pages[page];
        let line = filled.line;
        filled.line += 1;
        (filled.line <= filled.rule * 2).then_some(line)
    }

    fn put_node(
        &mut self,
        page: usize,
        line: usize,
        field: usize,
        last: &[u32],
        next: &[At],
    ) -> Option<At> {
        let mut node = Node {
            last: [u32::MAX; WAYS - 1],
            field: u32::try_from(field).ok()?,
            next: [At::NOTHING; WAYS],
        };
        node.last[..last.len()].copy_from_slice(last);
        node.next[..next.len()].copy_from_slice(next);
        let at = page * PAGE_WORDS + line * LINE_WORDS;
        self.words[at..at + LINE_WORDS].copy_from_slice(&node.to_words());
        Some(At::node(
            u32::try_from(page).ok()?,
            u32::try_from(line).ok()?,
        ))
    }

    fn put_run(&mut self, page: usize, rules: &[u32]) -> Option<At> {
        if rules.is_empty() {
            return Some(At::NOTHING);
        }
        let filled = &mut self.pages[page];
        if let Some(at) = filled.runs.get(rules) {
            return Some(*at);
        }
        filled.rule = filled.rule.checked_sub(rules.len())?;
        let (first, mut line) = (filled.rule, filled.line);
        filled.line += rules
            .iter()
            .map(|rule| tests_of(&self.rules[*rule as usize]))
            .sum::<usize>();
        if filled.rule * 2 < filled.line {
            return None;
        }
        for (index, rule) in (first..).zip(rules) {
            let mut rule = self.rules[*rule as usize];
            let (listed, count) = (rule.listed as usize, tests_of(&rule));
            for (line, test) in (line..).zip(&self.tests[listed..listed + count]) {
                let at = page * PAGE_WORDS + line * LINE_WORDS;
                self.words[at..at + LINE_WORDS].copy_from_slice(&test.to_words());
            }
            rule.extra |= u32::try_from(if count == 0 { 0 } else { line }).ok()?;
            line += count;
            let at = page * PAGE_WORDS + index * RULE_WORDS;
            self.words[at..at + RULE_WORDS].copy_from_slice(&rule.to_words());
        }
        let [page, first, count] = [page, first, rules.len()].map(u32::try_from);
        let at = At::run(page.ok()?, first.ok()?, count.ok()?);
        filled.runs.insert(rules.to_vec(), at);
        Some(at)
    }
}

/// How many tests a rule has.
pub(super) fn tests_of(rule: &Rule) -> usize {
    let (_, count) = Test::place(rule.extra);
    count as usize
}
