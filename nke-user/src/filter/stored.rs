//! One rule set in the kernel: a map of pages, which lie in this process's memory as well.
//!
//! What a map says is not believed: whatever is outside of it is not there.

use std::{
    cell::OnceCell,
    io,
    ops::Range,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use nke_ebpf::abi::{
    COUNT_WORDS, FAST_WORD, FORMAT, Front, HEADER_WORDS, HEADERS, Header, LINE_WORDS, PAGE_WORDS,
    RULE_WORDS, Rule, Test, classic, map,
};

use crate::sys::{
    self,
    map::{Memory, Shape},
};

/// `BPF_F_MMAPABLE`, so that pages are written as memory, and `BPF_F_INNER_MAP`, so that a set of any size can
/// take the place of another.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// How many bytes a page has.
const PAGE_BYTES: usize = PAGE_WORDS * 8;

/// The words of a map of pages. A page is mapped when it is first asked for: the kernel takes its time for each, and an
/// edit meets few.
struct Pages {
    map: OwnedFd,
    first: Memory,
    /// All pages; the first of them is never asked for here.
    all: Box<[OnceCell<Memory>]>,
}

impl Pages {
    fn of(map: OwnedFd, count: usize) -> io::Result<Self> {
        Ok(Self {
            first: Memory::of(&map, 0, PAGE_BYTES)?,
            all: (0..count).map(|_| OnceCell::new()).collect(),
            map,
        })
    }

    /// How many words there are.
    fn length(&self) -> usize {
        self.all.len() * PAGE_WORDS
    }

    /// The words of the first page.
    fn front(&self) -> &[AtomicU64] {
        self.first.words()
    }

    /// The words from this one on, up to the end of its page.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is not there; the kernel's if it has no room.
    fn from(&self, word: usize) -> io::Result<&[AtomicU64]> {
        let (page, word) = (word / PAGE_WORDS, word % PAGE_WORDS);
        let beyond = || io::Error::from(io::ErrorKind::InvalidInput);
        let cell = self.all.get(page).ok_or_else(beyond)?;
        let memory = match (page, cell.get()) {
            (0, _) => &self.first,
            (_, Some(memory)) => memory,
            (_, None) => {
                let memory = Memory::of(&self.map, page * PAGE_BYTES, PAGE_BYTES)?;
                cell.get_or_init(|| memory)
            }
        };
        memory.words().get(word..).ok_or_else(beyond)
    }
}

/// A rule set's own map.
pub(super) struct Set {
    pages: Pages,
    /// The header in force when it was opened.
    pub(super) header: Box<Header>,
    /// What said so.
    pub(super) front: Front,
}

impl Set {
    /// Makes the map of a new set, of so many pages, which begins with these words.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOMEM` and `E2BIG` if it is too large.
    pub(super) fn create(pages: u32, words: &[u64], mut header: Header) -> io::Result<Self> {
        let shape = Shape {
            flags: FLAGS,
            max_entries: pages,
            ..Shape::array(map::RULES, (PAGE_WORDS * 8) as u32)
        };
        let map = sys::map::create(shape)?;
        header.stamp = sys::map::describe(&map)?.id;
        let set = Self {
            pages: Pages::of(map, pages as usize)?,
            header: Box::new(header),
            front: Front::from_word(words.first().copied().unwrap_or_default()),
        };
        set.write(0, words)?;
        set.write(HEADER_WORDS, &set.header.to_words())?;
        set.hasten();
        Ok(set)
    }

    /// Opens the map of this number; nothing if it is none of a rule set of this version.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn open(id: u32) -> io::Result<Option<Self>> {
        let map = sys::map::open(id)?;
        let described = sys::map::describe(&map)?;
        if described.value_size as usize != PAGE_BYTES {
            return Ok(None);
        }
        let pages = Pages::of(map, described.max_entries as usize)?;
        Ok(Self::over(pages))
    }

    /// The set that lies in these pages.
    fn over(pages: Pages) -> Option<Self> {
        let words = pages.front();
        let front = Front::from_word(words.first()?.load(Ordering::Acquire));
        let place = front.current as usize;
        if front.format != FORMAT || !(1..=HEADERS).contains(&place) {
            return None;
        }
        let header = words.get(place * HEADER_WORDS..)?.first_chunk()?;
        let header = header.each_ref().map(|word| word.load(Ordering::Relaxed));
        Some(Self {
            pages,
            header: Box::new(Header::from_words(&header)),
            front,
        })
    }

    /// The same in a file of memory, as a kernel's map would be.
    #[cfg(test)]
    pub(super) fn in_memory(pages: u32, words: &[u64]) -> Self {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

        let file = memfd_create("set", MemfdFlags::CLOEXEC).expect("memory");
        let bytes = pages as usize * PAGE_BYTES;
        ftruncate(&file, bytes as u64).expect("memory");
        let pages = Pages::of(file, pages as usize).expect("memory");
        for (at, word) in words.iter().enumerate() {
            pages.from(at).expect("memory")[0].store(*word, Ordering::Relaxed);
        }
        Self::over(pages).expect("it is a set")
    }

    /// The same set as it is now.
    #[cfg(test)]
    pub(super) fn again(self) -> Self {
        Self::over(self.pages).expect("it is a set")
    }

    /// The descriptor's number, which puts the set into a map of maps.
    pub(super) fn key(&self) -> [u8; 4] {
        self.descriptor().to_ne_bytes()
    }

    /// The descriptor.
    pub(super) fn descriptor(&self) -> RawFd {
        self.pages.map.as_raw_fd()
    }

    /// How many words it has.
    pub(super) fn length(&self) -> usize {
        self.pages.length()
    }

    /// How many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.length() as u64 * 8
    }

    /// A word; nothing outside of the set.
    pub(super) fn word(&self, at: usize) -> Option<u64> {
        let word = self.pages.from(at).ok()?.first()?;
        Some(word.load(Ordering::Relaxed))
    }

    /// Words from this one on, so many or as many as there are.
    pub(super) fn words(&self, from: usize, count: usize) -> impl Iterator<Item = u64> {
        (from..).map_while(|at| self.word(at)).take(count)
    }

    /// Writes words.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where there is no room for them in the set, and the kernel's if it has none to map it.
    pub(super) fn write(&self, from: usize, words: &[u64]) -> io::Result<()> {
        let (mut at, mut left) = (from, words);
        while !left.is_empty() {
            let places = self.pages.from(at)?;
            let (now, later) = left.split_at(left.len().min(places.len()));
            for (place, word) in places.iter().zip(now) {
                place.store(*word, Ordering::Relaxed);
            }
            (at, left) = (at + now.len(), later);
        }
        Ok(())
    }

    /// The rule that lies from this word on; none crosses the end of a page.
    pub(super) fn rule(&self, at: usize) -> Option<Rule> {
        let words: &[_; RULE_WORDS] = self.pages.from(at).ok()?.first_chunk()?;
        Some(Rule::from_words(&std::array::from_fn(|word| {
            words[word].load(Ordering::Relaxed)
        })))
    }

    /// The tests of all rules.
    pub(super) fn tests(&self) -> Vec<Test> {
        let count = self.header.tested as usize * LINE_WORDS;
        let words: Vec<u64> = self.words(self.test(0), count).collect();
        let (tests, _) = words.as_chunks();
        tests.iter().map(Test::from_words).collect()
    }

    /// The page of expressions; no words if there are none.
    pub(super) fn expressions(&self) -> Vec<u64> {
        match self.header.expressions as usize {
            0 => Vec::new(),
            page => self.words(page * PAGE_WORDS, classic::WORDS).collect(),
        }
    }

    /// The word where a bucket of sources begins, by its number from 0; nothing if there are none.
    pub(super) fn sources(&self, bucket: usize) -> Option<usize> {
        match self.header.sources as usize {
            0 => None,
            line => Some((line + bucket) * LINE_WORDS),
        }
    }

    /// The word where a test begins, by its number from 0.
    pub(super) const fn test(&self, number: u32) -> usize {
        (self.header.tests as usize + number as usize) * LINE_WORDS
    }

    /// The word of the list where the rule of this number begins, from 1.
    pub(super) const fn listed(&self, number: u32) -> usize {
        (self.header.list as usize + number as usize - 1) * RULE_WORDS
    }

    /// The word where the counts begin that old rule sets have left.
    pub(super) const fn carried(&self) -> usize {
        self.header.carried as usize * COUNT_WORDS
    }

    /// The word where the counts of the first CPU begin.
    pub(super) const fn counts(&self) -> usize {
        self.header.counts as usize * COUNT_WORDS
    }

    /// The words that are room for later trees.
    pub(super) fn room(&self) -> Range<usize> {
        let end = self.header.room_end as usize * RULE_WORDS;
        self.header.room as usize * RULE_WORDS..end.min(self.length())
    }

    /// Whether the header is still the one in force.
    pub(super) fn is_current(&self) -> bool {
        let word = self.pages.front().first();
        word.is_some_and(|word| word.load(Ordering::Acquire) == self.front.to_word())
    }

    /// Has fast paths hand over every packet, whatever header they are made of: see [`FAST_WORD`].
    pub(super) fn slow_down(&self) {
        self.hasten_for(0);
    }

    /// Has fast paths judge again that are made of the header in force.
    pub(super) fn hasten(&self) {
        self.hasten_for(self.front.current);
    }

    fn hasten_for(&self, header: u32) {
        if let Some(word) = self.pages.front().get(FAST_WORD) {
            word.store(header.into(), Ordering::Relaxed);
        }
    }

    /// Puts another header in force, and with it all that was written before: by one word.
    pub(super) fn put_in_force(&self, current: u32) {
        // First, so that no packet is judged by what was in force before.
        self.hasten_for(current);
        let front = Front {
            current,
            ..self.front
        };
        if let Some(word) = self.pages.front().first() {
            word.store(front.to_word(), Ordering::Release);
        }
    }
}
