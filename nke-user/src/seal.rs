//! The seal: from some level on nothing changes any more until the next boot, as with BSD's securelevel.
//!
//! | level | what nke refuses |
//! |---|---|
//! | 0 | nothing |
//! | 1 | new code: objects that are not loaded yet |
//! | 2 | every change |
//!
//! The seal is the host's, whatever `--state` says: one empty file a level in `/run`, which every boot
//! empties. A file is made in one system call and never removed, so the level only rises, and no
//! command that is killed leaves half of one. There is one check for each level, in one place: level 2
//! where the lock is taken to change something ([`crate::control::Control::open`]), level 1 where an
//! object's bytes come into the state. This module must never lower a level.
//!
//! ```
//! use nke::seal::Level;
//!
//! let level: Level = "1".parse()?;
//! assert!(level > Level::Open && level < Level::NoChange);
//! # Ok::<(), nke::seal::NoLevel>(())
//! ```

use std::{fmt, io, path::Path, str::FromStr};

use rustix::fs::{CWD, Mode, OFlags};

use crate::{
    error::{Error, Result},
    state::in_outermost,
};

/// How much is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing is.
    Open = 0,
    /// No object is loaded that was not.
    NoNewCode = 1,
    /// Nothing changes.
    NoChange = 2,
}

/// Text that names no level.
#[derive(Debug, thiserror::Error)]
#[error("a level is 0, 1 or 2")]
pub struct NoLevel;

impl FromStr for Level {
    type Err = NoLevel;

    fn from_str(text: &str) -> Result<Self, NoLevel> {
        match text {
            "0" => Ok(Self::Open),
            "1" => Ok(Self::NoNewCode),
            "2" => Ok(Self::NoChange),
            _ => Err(NoLevel),
        }
    }
}

impl Level {
    /// Its number: 0, 1 or 2.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Open => "everything can change",
            Self::NoNewCode => "no object is loaded that was not loaded before",
            Self::NoChange => "nothing is loaded, unloaded, attached, detached or changed",
        }
    }

    /// The file that says so; the open level needs none.
    const fn record(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::NoNewCode => Some("/run/nke.sealed-1"),
            Self::NoChange => Some("/run/nke.sealed-2"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// The level in force: the higher of what the caller's `/run` says and that of the outermost mount
/// namespace, where the state lies as well. Nobody leaves a seal by a mount namespace of their own.
///
/// # Errors
///
/// [`Error::State`] where that cannot be told: then nobody may change anything.
pub fn level() -> Result<Level> {
    let outermost = in_outermost(recorded).map_err(|source| failed("/run", "query", source))??;
    Ok(outermost.max(recorded()?))
}

/// What the `/run` in view says.
fn recorded() -> Result<Level> {
    for level in [Level::NoChange, Level::NoNewCode] {
        let Some(path) = level.record() else { continue };
        match std::fs::symlink_metadata(path) {
            // Whatever it is, only root can have put it there.
            Ok(_) => return Ok(level),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(path, "query", source)),
        }
    }
    Ok(Level::Open)
}

/// Seals the host, in the `/run` of the caller, until it boots again. Who changes something just now
/// holds the lock of its state: take that first.
///
/// # Errors
///
/// [`Error::Sealed`] if the level is lower than the one in force, [`Error::State`].
pub(crate) fn raise(to: Level) -> Result<()> {
    let now = level()?;
    if to < now {
        return Err(Error::Sealed { level: now });
    }
    let Some(path) = to.record() else {
        return Ok(());
    };
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o444))
        .map(drop)
        .map_err(|error| failed(path, "create", error.into()))
}

/// Refuses what this level, or a higher one, forbids.
///
/// # Errors
///
/// [`Error::Sealed`], and those of [`level`].
pub(crate) fn refuse_from(forbidden: Level) -> Result<()> {
    let now = level()?;
    if now >= forbidden {
        return Err(Error::Sealed { level: now });
    }
    Ok(())
}

fn failed(path: &str, stage: &'static str, source: io::Error) -> Error {
    Error::State {
        path: Path::new(path).to_owned(),
        stage,
        source,
        remedy: "the seal is kept there: make /run a directory that root can write to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_numbers_in_order() {
        for (text, level) in [
            ("0", Level::Open),
            ("1", Level::NoNewCode),
            ("2", Level::NoChange),
        ] {
            assert_eq!(text.parse::<Level>().ok(), Some(level));
            assert_eq!(level.to_string(), text);
        }
        for text in ["", "3", "-1", "01", " 1", "open"] {
            assert!(text.parse::<Level>().is_err(), "{text:?}");
        }
        assert!(Level::Open < Level::NoNewCode && Level::NoNewCode < Level::NoChange);
    }
}
