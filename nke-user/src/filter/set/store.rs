//! Where the lines of a set lie: in this process, or in the kernel.
//!
//! Whoever searches a set in the kernel meanwhile sees the words in the order in which they are put.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use nke_ebpf::set::{LINE_WORDS, Line};

use crate::sys::map::{self, Memory};

/// Lines that can be read and written, word by word.
pub(in crate::filter) trait Store {
    /// How many lines there are.
    fn length(&self) -> u32;

    /// A word of a line.
    fn get(&self, line: u32, word: usize) -> io::Result<u64>;

    /// Writes a word of a line.
    fn put(&mut self, line: u32, word: usize, value: u64) -> io::Result<()>;
}

impl Store for Vec<Line> {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn get(&self, line: u32, word: usize) -> io::Result<u64> {
        let words = self.as_slice().get(line as usize);
        let word = words.and_then(|line| line.get(word));
        word.copied().ok_or_else(beyond)
    }

    fn put(&mut self, line: u32, word: usize, value: u64) -> io::Result<()> {
        let words = self.get_mut(line as usize);
        *words
            .and_then(|line| line.get_mut(word))
            .ok_or_else(beyond)? = value;
        Ok(())
    }
}

fn beyond() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it leads to a line that is not there",
    )
}

/// The lines of a map, which are mapped where they are asked for.
#[derive(Debug)]
pub(in crate::filter) struct Mapped {
    map: OwnedFd,
    lines: u32,
    /// How many bytes are mapped at once.
    window: usize,
    windows: RefCell<BTreeMap<usize, Memory>>,
}

impl Mapped {
    /// For few lines, wherever they are.
    pub(in crate::filter) fn few(map: OwnedFd) -> io::Result<Self> {
        Self::new(map, rustix::param::page_size())
    }

    /// For all lines.
    pub(in crate::filter) fn all(map: OwnedFd) -> io::Result<Self> {
        Self::new(map, usize::MAX)
    }

    fn new(map: OwnedFd, window: usize) -> io::Result<Self> {
        let described = map::describe(&map)?;
        if described.value_size as usize != size_of::<Line>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            map,
            lines: described.max_entries,
            window,
            windows: RefCell::default(),
        })
    }

    /// Another, for all lines of the same map.
    pub(in crate::filter) fn again(&self) -> io::Result<Self> {
        Self::all(self.map.as_fd().try_clone_to_owned()?)
    }

    pub(in crate::filter) const fn map(&self) -> &OwnedFd {
        &self.map
    }

    /// Writes lines from the first on.
    pub(in crate::filter) fn fill(&mut self, lines: &[Line]) -> io::Result<()> {
        let per_window = (self.window / size_of::<Line>()).min(lines.len().max(1));
        for (nth, lines) in lines.chunks(per_window).enumerate() {
            let line = u32::try_from(nth * per_window).map_err(|_| beyond())?;
            self.with(line, 0, |memory, offset| {
                let words = lines.as_flattened();
                memory.store_all(offset, words.iter().copied())
            })?;
        }
        Ok(())
    }

    fn with<T>(
        &self,
        line: u32,
        word: usize,
        then: impl FnOnce(&Memory, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let all = self.lines as usize * size_of::<Line>();
        let offset = line as usize * size_of::<Line>() + word % LINE_WORDS * 8;
        let start = offset / self.window * self.window;
        let mut windows = self.windows.borrow_mut();
        let memory = match windows.entry(start) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(none) => {
                let length = all.saturating_sub(start).min(self.window);
                if length == 0 {
                    return Err(beyond());
                }
                none.insert(Memory::map_part(&self.map, start, length)?)
            }
        };
        then(memory, offset - start)
    }
}

impl Store for Mapped {
    fn length(&self) -> u32 {
        self.lines
    }

    fn get(&self, line: u32, word: usize) -> io::Result<u64> {
        self.with(line, word, Memory::load)
    }

    fn put(&mut self, line: u32, word: usize, value: u64) -> io::Result<()> {
        self.with(line, word, |memory, offset| {
            memory.store(offset, &value.to_ne_bytes())
        })
    }
}
