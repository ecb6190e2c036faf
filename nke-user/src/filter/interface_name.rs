//! Names of interfaces, as rules ask for them: `on eth0`.
//!
//! ```
//! use nke::filter::{Asked, Rule};
//!
//! let rule: Rule = "drop in on eth0 proto udp".parse()?;
//! assert!(matches!(rule.tests[0].what, Asked::On(name) if name.as_str() == "eth0"));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! A name says nothing of whether there is such an interface: that is asked when a rule is written.

use std::{fmt, str::FromStr};

use nke_ebpf::abi::{self, field};

/// The kernel's `IFNAMSIZ`: what a name takes at most, a zero behind it included.
const LONGEST: usize = 16;

/// The name of an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; LONGEST]);

/// Text that can be no interface's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interface's name has 1 to 15 characters, without blanks, `/` and `:`")]
pub struct NoInterfaceName;

impl FromStr for InterfaceName {
    type Err = NoInterfaceName;

    /// As `dev_valid_name` of net/core/dev.c says, and in characters that can be shown.
    fn from_str(text: &str) -> Result<Self, NoInterfaceName> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        let is_name = !text.is_empty() && text.len() < LONGEST && text.bytes().all(fits);
        if !is_name || text == "." || text == ".." {
            return Err(NoInterfaceName);
        }
        let mut name = [0; LONGEST];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(name))
    }
}

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0);
        let name = &self.0[..length.unwrap_or(LONGEST)];
        str::from_utf8(name).unwrap_or_default()
    }

    /// The kernel's form of asking for it, of any index.
    pub(super) fn encode(self) -> abi::Test {
        let (words, _) = self.0.as_chunks();
        let word = |nth: usize| words.get(nth).copied().map_or(0, u64::from_ne_bytes);
        let mask = abi::join(0, u32::MAX);
        abi::Test {
            more: [word(0), word(1), 0],
            ..abi::Test::masked(field::INTERFACE, [0; 2], [mask, 0])
        }
    }

    /// The kernel's form of having packets leave by it, of any index; one of so many is logged.
    pub(super) fn redirect(self, sample: u32) -> abi::Test {
        abi::Test {
            kind: abi::Test::REDIRECT,
            field: 0,
            first: [sample.into(), 0],
            second: [0; 2],
            ..self.encode()
        }
    }

    /// Whether this is the kernel's form of either.
    pub(super) fn is_in(test: &abi::Test) -> bool {
        match test.kind {
            abi::Test::REDIRECT => true,
            abi::Test::MASKED => test.field == field::INTERFACE,
            _ => false,
        }
    }

    /// Writes the index of the interface of this name into the kernel's form.
    pub(super) fn place(index: u32, test: &mut abi::Test) {
        if test.kind == abi::Test::REDIRECT {
            test.first[1] = index.into();
        } else {
            test.first[0] = abi::join(0, index);
        }
    }

    /// The index that is written into the kernel's form.
    pub(super) fn index(test: &abi::Test) -> u32 {
        if test.kind == abi::Test::REDIRECT {
            u32::try_from(test.first[1]).unwrap_or(u32::MAX)
        } else {
            abi::split(test.first[0]).1
        }
    }

    /// The name of which this is the kernel's form, whatever the index.
    pub(super) fn decode(test: &abi::Test) -> Option<Self> {
        let [first, second, _] = test.more;
        let mut name = [0; LONGEST];
        let (words, _) = name.as_chunks_mut();
        for (place, word) in words.iter_mut().zip([first, second]) {
            *place = word.to_ne_bytes();
        }
        Self(name).as_str().parse().ok()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
