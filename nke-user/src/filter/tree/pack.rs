//! Trees laid out in pages.

use std::collections::HashMap;
use std::ops::Range;

use nke_ebpf::abi::{At, FRONT_WORDS, PAGE_WORDS, PAGES, RULE_WORDS, Rule};
use nke_ebpf::rules::TOP_DEPTH;

use super::grow::Tree;
use super::split::Split;

/// Pages that are being filled: tables from the front, rules from the back.
pub(super) struct Pages<'a> {
    rules: &'a [Rule],
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
    /// One page with room for the headers.
    pub(super) fn new(rules: &'a [Rule]) -> Self {
        let mut pages = Self {
            rules,
            words: Vec::new(),
            pages: Vec::new(),
            first: 0,
        };
        pages.add();
        pages.pages[0].front = FRONT_WORDS;
        pages
    }

    /// One page of this number, of which these words are free.
    pub(super) fn within(rules: &'a [Rule], page: usize, free: Range<usize>) -> Self {
        let mut pages = Self::new(rules);
        pages.first = page;
        pages.pages[0].front = free.start;
        pages.pages[0].back = free.end;
        pages
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
        let words: usize = trees.iter().map(|tree| tree.words()).sum();
        if words <= self.pages[0].free() {
            return trees.iter().map(|tree| self.lay(tree, 0)).collect();
        }
        trees
            .iter()
            .map(|tree| self.spread(tree, TOP_DEPTH))
            .collect()
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
            let page = self.page_for(tree.words())?;
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
        // Rules lie at multiples of their length, as the back does at first.
        filled.back = filled.back.checked_sub(rules.len() * RULE_WORDS)?;
        if filled.back < filled.front {
            return None;
        }
        let first = page * PAGE_WORDS + filled.back;
        let (places, _) = self.words[first..].as_chunks_mut::<RULE_WORDS>();
        for (words, rule) in places.iter_mut().zip(rules) {
            *words = self.rules[*rule as usize].to_words();
        }
        let first = filled.back / RULE_WORDS;
        let number = self.first + page;
        let [number, first, count] = [number, first, rules.len()].map(u32::try_from);
        let at = At::run(number.ok()?, first.ok()?, count.ok()?);
        filled.runs.insert(rules.to_vec(), at);
        Some(at)
    }
}
