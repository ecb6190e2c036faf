//! Trees laid out in pages.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use nke_ebpf::abi::{
    At, FEW, FEW_AT, FEW_TESTS_AT, FRONT_WORDS, Front, LINE_WORDS, PAGE_WORDS, PAGES, RULE_WORDS,
    Rule, Test,
};
use nke_ebpf::rules::TOP_DEPTH;

use super::grow::Tree;
use super::split::Split;

/// Pages that are being filled: tables from the front, rules with their tests from the back.
pub(super) struct Pages<'a> {
    rules: &'a [Rule],
    tests: &'a [Test],
    pub(super) words: Vec<u64>,
    pages: Vec<Filled>,
    /// The number of the first of them.
    first: usize,
}

/// How far a page is filled.
struct Filled {
    /// The first word that is free.
    front: usize,
    /// The first word of the rules.
    back: usize,
    /// Runs that lie here, by their rules.
    runs: HashMap<Vec<u32>, At>,
}

impl Filled {
    const fn free(&self) -> usize {
        self.back - self.front
    }
}

impl<'a> Pages<'a> {
    /// One page with room for the headers, and for the words of so many limits.
    pub(super) fn new(rules: &'a [Rule], tests: &'a [Test], limits: usize) -> Self {
        let front = FRONT_WORDS + limits.next_multiple_of(LINE_WORDS);
        Self::within((rules, tests), 0, front..PAGE_WORDS)
    }

    /// One page of this number, of which these words are free.
    pub(super) fn within(
        (rules, tests): (&'a [Rule], &'a [Test]),
        page: usize,
        free: Range<usize>,
    ) -> Self {
        let filled = Filled {
            front: free.start,
            back: free.end,
            runs: HashMap::new(),
        };
        Self {
            rules,
            tests,
            words: vec![0; PAGE_WORDS],
            pages: vec![filled],
            first: page,
        }
    }

    fn add(&mut self) -> usize {
        self.words.resize(self.words.len() + PAGE_WORDS, 0);
        self.pages.push(Filled {
            front: 0,
            back: PAGE_WORDS,
            runs: HashMap::new(),
        });
        self.pages.len() - 1
    }

    /// Lays out all trees, and says where each begins; nothing if there is no room.
    pub(super) fn lay_all(&mut self, trees: &[&Tree]) -> Option<Vec<At>> {
        let Some(words) = self.words_in_first(trees) else {
            return trees
                .iter()
                .map(|tree| self.spread(tree, TOP_DEPTH))
                .collect();
        };
        // Their rules come right behind their tables, so that what is left of the page is in one piece.
        let end = (self.pages[0].front + words).next_multiple_of(RULE_WORDS);
        self.pages[0].back = end;
        let at = trees.iter().map(|tree| self.lay(tree, 0)).collect();
        self.pages[0].front = end;
        self.pages[0].back = PAGE_WORDS;
        at
    }

    /// How many words of the first page these trees take; nothing if they do not fit.
    fn words_in_first(&self, trees: &[&Tree]) -> Option<usize> {
        let free = self.pages[0].free();
        let mut runs = HashSet::new();
        let mut words = 0;
        let mut left = trees.to_vec();
        while let Some(tree) = left.pop() {
            match tree {
                Tree::Run(rules) if runs.insert(rules) => words += words_of(rules, self.rules),
                Tree::Run(_) => {}
                Tree::Table { split, next, .. } => {
                    words += split.len();
                    left.extend(next);
                }
            }
            if words > free {
                return None;
            }
        }
        Some(words)
    }

    /// The words of the first page that nothing takes.
    pub(super) fn left_of_first(&self) -> Range<usize> {
        self.pages[0].front..self.pages[0].back
    }

    /// The most words in one piece that nothing takes in one of the other pages.
    pub(super) fn left_behind(&self) -> Range<usize> {
        let left = (0..).step_by(PAGE_WORDS).zip(&self.pages).skip(1);
        left.map(|(page, filled)| page + filled.front..page + filled.back)
            .max_by_key(Range::len)
            .unwrap_or_default()
    }

    /// Lays out all rules in their own place of the first page, and says in its front how many, if they are few and
    /// none has more than one test.
    pub(super) fn lay_few(&mut self, front: &mut Front) {
        let most = self.rules.iter().map(tests_of).max().unwrap_or(0);
        if self.rules.len() > FEW || most > 1 {
            return;
        }
        for (nth, rule) in self.rules.iter().enumerate() {
            let mut rule = *rule;
            if tests_of(&rule) != 0
                && let Some(test) = self.tests.get(rule.listed as usize)
            {
                let line = FEW_TESTS_AT + nth;
                rule.extra |= u32::try_from(line).unwrap_or(0);
                self.words[line * LINE_WORDS..][..LINE_WORDS].copy_from_slice(&test.to_words());
            }
            let at = (FEW_AT + nth) * RULE_WORDS;
            self.words[at..][..RULE_WORDS].copy_from_slice(&rule.to_words());
        }
        let count = u8::try_from(self.rules.len()).unwrap_or(0);
        if most == 0 {
            front.few = count;
        } else {
            front.few_tested = count;
        }
    }

    /// Lays out a tree that need not fit into one page.
    fn spread(&mut self, tree: &Tree, depth: usize) -> Option<At> {
        let Tree::Table {
            split,
            entries,
            next,
            words,
        } = tree
        else {
            let page = self.page_for(tree.words(self.rules))?;
            return self.lay(tree, page);
        };
        if *words <= PAGE_WORDS {
            let page = self.page_for(*words)?;
            return self.lay(tree, page);
        }
        if depth == 0 {
            return None;
        }
        let word = self.take(0, split.len())?;
        let next = next
            .iter()
            .map(|next| self.spread(next, depth - 1))
            .collect::<Option<Vec<At>>>()?;
        self.put_table(0, word, split, entries, &next)
    }

    /// A page that has so many words free, not the first.
    fn page_for(&mut self, words: usize) -> Option<usize> {
        // What has been left long ago is full.
        let from = self.pages.len().saturating_sub(8).max(1);
        let found = (from..self.pages.len()).find(|page| self.pages[*page].free() >= words);
        let page = found.unwrap_or_else(|| self.add());
        (page < PAGES).then_some(page)
    }

    /// Lays out a tree in a page that has room for it.
    pub(super) fn lay(&mut self, tree: &Tree, page: usize) -> Option<At> {
        match tree {
            Tree::Run(rules) => self.put_run(page, rules),
            Tree::Table {
                split,
                entries,
                next,
                words: _,
            } => {
                let word = self.take(page, split.len())?;
                let next = next
                    .iter()
                    .map(|next| self.lay(next, page))
                    .collect::<Option<Vec<At>>>()?;
                self.put_table(page, word, split, entries, &next)
            }
        }
    }

    /// The place of so many words from now on taken.
    fn take(&mut self, page: usize, words: usize) -> Option<usize> {
        let filled = &mut self.pages[page];
        let word = filled.front;
        filled.front += words;
        (filled.front <= filled.back).then_some(word)
    }

    fn put_table(
        &mut self,
        page: usize,
        word: usize,
        split: &Split,
        entries: &[usize],
        next: &[At],
    ) -> Option<At> {
        let from = page * PAGE_WORDS + word;
        let table = &mut self.words[from..from + entries.len()];
        for (word, entry) in table.iter_mut().zip(entries) {
            *word = next[*entry].0;
        }
        let page = self.first + page;
        let [page, word, field] = [page, word, split.field].map(u32::try_from);
        let Split { shift, bits, .. } = *split;
        Some(At::table(page.ok()?, word.ok()?, field.ok()?, shift, bits))
    }

    fn put_run(&mut self, page: usize, rules: &[u32]) -> Option<At> {
        let filled = &mut self.pages[page];
        if rules.is_empty() {
            return Some(At::NOTHING);
        }
        if let Some(at) = filled.runs.get(rules) {
            return Some(*at);
        }
        // Rules lie at multiples of their length, as the back does at first; their tests behind them.
        filled.back = filled.back.checked_sub(words_of(rules, self.rules))?;
        if filled.back < filled.front {
            return None;
        }
        let (base, first) = (page * PAGE_WORDS, filled.back);
        let mut test = first + rules.len() * RULE_WORDS;
        for (nth, rule) in rules.iter().enumerate() {
            let mut rule = self.rules[*rule as usize];
            let count = tests_of(&rule);
            if count > 0 {
                rule.extra |= u32::try_from(test / LINE_WORDS).ok()?;
            }
            let listed = rule.listed as usize;
            for it in self.tests.get(listed..listed + count)? {
                self.words[base + test..][..LINE_WORDS].copy_from_slice(&it.to_words());
                test += LINE_WORDS;
            }
            let at = base + first + nth * RULE_WORDS;
            self.words[at..at + RULE_WORDS].copy_from_slice(&rule.to_words());
        }
        let number = self.first + page;
        let [number, first, count] = [number, first / RULE_WORDS, rules.len()].map(u32::try_from);
        let at = At::run(number.ok()?, first.ok()?, count.ok()?);
        self.pages[page].runs.insert(rules.to_vec(), at);
        Some(at)
    }
}

/// How many tests a rule has.
pub(super) fn tests_of(rule: &Rule) -> usize {
    let (_, count) = Test::place(rule.extra);
    count as usize
}

/// How many words a run of these rules takes, with their tests.
pub(super) fn words_of(run: &[u32], all: &[Rule]) -> usize {
    let tests: usize = run.iter().map(|rule| tests_of(&all[*rule as usize])).sum();
    (run.len() * RULE_WORDS + tests * LINE_WORDS).next_multiple_of(RULE_WORDS)
}
