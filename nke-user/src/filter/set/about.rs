//! What a set says of itself: its name, what its members are, and how long they last.

use std::{fmt, io, str::FromStr, time::Duration};

use nke_ebpf::set::{Kind, LINE_WORDS, Line};

use super::{Set, Store};

/// In line 1: the layout's number; the next free line of a node; the timeout in seconds, or 0; the kernel's number of the
/// map of its [`Index`](super::Index), or of none; the name.
const FORMAT: usize = 0;
pub(super) const NEXT: usize = 1;
const TIMEOUT: usize = 2;
pub(super) const INDEX: usize = 3;
const NAME: usize = 4;

/// How many words a name fills.
const NAME_WORDS: usize = LINE_WORDS - NAME;

/// The number of this layout.
const THIS_FORMAT: u64 = 4;

/// The name of a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName([u8; NAME_WORDS * 8]);

/// Text that is no name of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a set's name begins with a letter, and has letters, digits, `-` and `_`, at most {} of them",
    SetName::LONGEST
)]
pub struct NoSetName;

/// What a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: SetName,
    /// What its members are.
    pub kind: Kind,
    /// How long members last that are added without a timeout of their own: whole seconds.
    pub timeout: Option<Duration>,
}

impl SetName {
    /// How many characters a name has at most.
    pub const LONGEST: usize = NAME_WORDS * 8 - 1;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0);
        let bytes = &self.0[..length.unwrap_or(self.0.len())];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The words that it is in memory.
    pub(in crate::filter) fn to_words(self) -> [u64; NAME_WORDS] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|index| words.get(index).copied().map_or(0, u64::from_ne_bytes))
    }
}

/// The name that words of memory are, if they are one.
pub(in crate::filter) fn name_of(words: &[u64; NAME_WORDS]) -> Option<SetName> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let length = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&bytes[..length]).ok()?.parse().ok()
}

impl FromStr for SetName {
    type Err = NoSetName;

    fn from_str(text: &str) -> Result<Self, NoSetName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !text.chars().all(fits) || text.len() > Self::LONGEST {
            return Err(NoSetName);
        }
        let mut bytes = [0; NAME_WORDS * 8];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{self}")
    }
}

impl About {
    /// A set whose members last.
    #[must_use]
    pub const fn new(name: SetName, kind: Kind) -> Self {
        Self {
            name,
            kind,
            timeout: None,
        }
    }

    /// Line 1 of the set, of which this line of a node is the first.
    pub(super) fn to_line(self, next: u64) -> Line {
        let mut line = [0; LINE_WORDS];
        line[FORMAT] = THIS_FORMAT;
        line[NEXT] = next;
        line[TIMEOUT] = self.timeout.map_or(0, |timeout| timeout.as_secs());
        line[NAME..].copy_from_slice(&self.name.to_words());
        line
    }
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// What its members are.
    pub(in crate::filter) fn kind(&self) -> io::Result<Kind> {
        let kinds = [Kind::Addresses, Kind::Ports, Kind::Pairs];
        let kind = self.store.get(0, 0)? >> 32 & 0xff;
        let mut kinds = kinds.into_iter().filter(|it| u64::from(*it as u32) == kind);
        kinds.next().ok_or_else(foreign)
    }

    /// What the set is.
    pub(in crate::filter) fn about(&self) -> io::Result<About> {
        let kind = self.kind()?;
        if self.store.get(1, FORMAT)? != THIS_FORMAT {
            return Err(foreign());
        }
        let mut words = [0; NAME_WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.store.get(1, NAME + index)?;
        }
        let timeout = self.store.get(1, TIMEOUT)?;
        Ok(About {
            name: name_of(&words).ok_or_else(foreign)?,
            kind,
            timeout: (timeout != 0).then_some(Duration::from_secs(timeout)),
        })
    }
}

fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it was written by another version of nke",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_words() {
        for text in ["a", "block-list_2", &"x".repeat(31)] {
            let name: SetName = text.parse().unwrap();
            assert_eq!(name_of(&name.to_words()), Some(name));
            assert_eq!(name.to_string(), text);
        }
        for text in ["", "2a", "-a", "a b", "a.b", "ä", &"x".repeat(32)] {
            assert_eq!(text.parse::<SetName>(), Err(NoSetName), "{text:?}");
        }
        assert_eq!(name_of(&[0; NAME_WORDS]), None);
        assert_eq!(name_of(&[u64::MAX; NAME_WORDS]), None);
    }
}
