//! The seal: from some level on nothing changes any more until the next boot, as with BSD's securelevel.
//!
//! | level | what nke refuses | what the kernel refuses others |
//! |---|---|---|
//! | 0 | nothing | nothing |
//! | 1 | new code: objects that are not loaded yet | to load programs, to touch nke's state |
//! | 2 | every change | to attach, replace and detach programs, to write nke's maps |
//!
//! The kernel's part (`kernel`) needs BPF programs at LSM hooks; where it is not to be had, or not
//! wanted, nke alone refuses.
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

mod facts;
mod frozen;
mod kernel;
mod netlink;
mod policy;
mod program;

use std::{fmt, io, path::Path, str::FromStr};

use rustix::fs::{CWD, Mode, OFlags};

use crate::{
    error::{Error, Result},
    state::{State, in_outermost},
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

/// Who refuses, on a sealed host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The kernel as far as it can, and nke.
    Kernel,
    /// nke alone.
    Nke,
}

/// What became of sealing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealing {
    /// Why the kernel does not refuse others, where it was asked to.
    pub unavailable: Option<String>,
    /// Pins of maps that user space can still write to.
    pub not_frozen: Vec<String>,
}

/// What does not belong to the seal that the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outsider {
    /// Another state directory than that which was sealed.
    State,
    /// Another command, or one that somebody else may have a hand in.
    Command,
}

impl fmt::Display for Outsider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "the kernel was sealed with another state directory; leave out --state",
            Self::Command => {
                "the kernel was sealed with another file of this command, or it runs under a \
                 seccomp filter; use that file, outside of containers and services"
            }
        })
    }
}

/// The level that the kernel itself keeps.
pub fn kernel_level() -> Level {
    kernel::level()
}

/// The level in force: the highest of what the kernel keeps, what the caller's `/run` says and that of
/// the outermost mount namespace, where the state lies as well. Nobody leaves a seal by a mount
/// namespace of their own.
///
/// # Errors
///
/// [`Error::State`] where that cannot be told: then nobody may change anything.
pub fn level() -> Result<Level> {
    let outermost = in_outermost(recorded).map_err(|source| failed("/run", "query", source))??;
    Ok(outermost.max(recorded()?).max(kernel::level()))
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

/// Seals the host, in the kernel and in the `/run` of the caller, until it boots again. The state is
/// locked: nobody is changing it just now.
///
/// # Errors
///
/// [`Error::Sealed`] if the level is lower than the one in force, [`Error::State`].
pub(crate) fn raise(state: &State, to: Level, who: Who) -> Result<Sealing> {
    let now = level()?;
    if to < now {
        return Err(Error::Sealed { level: now });
    }
    let mut sealing = Sealing::default();
    if who == Who::Kernel {
        match kernel::raise(state, to)? {
            Ok(()) if to == Level::NoChange => sealing.not_frozen = frozen::freeze(state),
            Ok(()) => {}
            Err(why) => sealing.unavailable = Some(why.0),
        }
    }
    let Some(path) = to.record() else {
        return Ok(sealing);
    };
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o444))
        .map_err(|error| failed(path, "create", error.into()))?;
    Ok(sealing)
}

/// Looks at a state that was just opened: a sealed kernel trusts no other than its own, since nke loads
/// what it finds in one. Removes what a killed command left of a seal.
///
/// # Errors
///
/// [`Error::SealedOut`], [`Error::State`].
pub(crate) fn admit(state: &State) -> Result<()> {
    if kernel::level() > Level::Open {
        let kept =
            kernel::keeps(state).map_err(|source| state.failed(&state.seal(), "query", source))?;
        if !kept {
            return Err(Error::SealedOut {
                who: Outsider::State,
            });
        }
    }
    kernel::sweep(state)
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
    if kernel::level() > Level::Open && !kernel::trusts_us() {
        return Err(Error::SealedOut {
            who: Outsider::Command,
        });
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
