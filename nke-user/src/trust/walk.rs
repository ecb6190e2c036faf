//! The way to a file, one component after the other, each looked at before it is entered.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::Distrust;
use crate::error::{Error, Result};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// A regular file that nobody but root can change, open for reading.
#[derive(Debug)]
pub struct Trusted {
    /// Where it is, without links.
    pub path: PathBuf,
    pub(super) file: File,
}

/// Opens a regular file if only root can have written it, or can put another in its place.
///
/// # Errors
///
/// [`Error::Untrusted`], which names what is not trusted; [`Error::Read`].
pub fn open(path: &Path) -> Result<Trusted> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut way = Way::start(path).map_err(failed)?;
    let found = way.walk(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    way.check(&found, path)?;
    // The file that was looked at, whatever its name means by now.
    let last = way.entered.last().map_or(&way.root, |(_, fd)| fd);
    let file = File::open(format!("/proc/self/fd/{}", last.as_raw_fd())).map_err(failed)?;
    let path = way.path();
    Ok(Trusted { path, file })
}

/// How far one has come.
struct Way {
    root: OwnedFd,
    /// Below the root directory: names, and what they were when they were looked at.
    entered: Vec<(OsString, OwnedFd)>,
    /// Names that are still to be looked up.
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Way {
    fn start(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::openat(CWD, "/", flags, Mode::empty())?,
            entered: Vec::new(),
            ahead: names(path.as_os_str()),
            links: 0,
        })
    }

    /// Goes all the way; what stands at its end, which is no link.
    fn walk(&mut self, file: &Path) -> Result<Stat> {
        let failed = |errno: Errno| Error::Read {
            path: file.to_owned(),
            source: errno.into(),
        };
        let mut found = rustix::fs::fstat(&self.root).map_err(failed)?;
        while let Some(name) = self.ahead.pop_front() {
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Err(failed(Errno::NOTDIR));
            }
            // What is looked up in a directory is worth as much as the directory.
            self.check(&found, file)?;
            if name == ".." {
                self.entered.pop();
            } else if name != "." {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let next = rustix::fs::openat(self.here(), &name, flags, Mode::empty());
                self.entered.push((name, next.map_err(failed)?));
            }
            found = rustix::fs::fstat(self.here()).map_err(failed)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                // Its mode says nothing; in /tmp, its owner does.
                self.check(&found, file)?;
                self.follow().map_err(failed)?;
                found = rustix::fs::fstat(self.here()).map_err(failed)?;
            }
        }
        Ok(found)
    }

    /// Puts what the link that was entered last says in its place.
    fn follow(&mut self) -> rustix::io::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(self.here(), "", Vec::new())?;
        self.entered.pop();
        if target.as_bytes().starts_with(b"/") {
            self.entered.clear();
        }
        let target = OsString::from_vec(target.into_bytes());
        for name in names(&target).into_iter().rev() {
            self.ahead.push_front(name);
        }
        Ok(())
    }

    fn here(&self) -> &OwnedFd {
        self.entered.last().map_or(&self.root, |(_, fd)| fd)
    }

    fn path(&self) -> PathBuf {
        let names = self.entered.iter().map(|(name, _)| name.as_os_str());
        [OsStr::new("/")].into_iter().chain(names).collect()
    }

    /// Refuses what stands here, on the way to `file`, if others than root can change it.
    fn check(&self, found: &Stat, file: &Path) -> Result<()> {
        judge(found.st_mode, found.st_uid).map_err(|why| Error::Untrusted {
            path: self.path(),
            file: file.to_owned(),
            why,
        })
    }
}

/// The names in a path; a slash at its end asks for a directory.
fn names(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    let mut names: VecDeque<_> = parts
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect();
    if path.as_bytes().ends_with(b"/") {
        names.push_back(".".into());
    }
    names
}

/// Whether only root can change it. In a sticky directory of root's, others can make files, and
/// cannot touch root's. What an access control list grants shows in the group's bits.
fn judge(mode: u32, owner: u32) -> Result<(), Distrust> {
    if owner != 0 {
        return Err(Distrust::Owner(owner));
    }
    let (kind, mode) = (FileType::from_raw_mode(mode), Mode::from_raw_mode(mode));
    // The mode of a link says nothing.
    let harmless =
        kind == FileType::Symlink || (kind == FileType::Directory && mode.contains(Mode::SVTX));
    if mode.intersects(Mode::WGRP | Mode::WOTH) && !harmless {
        return Err(Distrust::Writable(mode.bits() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_may_write() {
        const FILE: u32 = 0o100_000;
        const DIRECTORY: u32 = 0o040_000;
        const LINK: u32 = 0o120_000;
        let check = |mode, uid, expected| assert_eq!(judge(mode, uid), expected, "{mode:o}");
        check(FILE | 0o644, 0, Ok(()));
        check(FILE | 0o4755, 0, Ok(()));
        check(FILE | 0o664, 0, Err(Distrust::Writable(0o664)));
        check(FILE | 0o646, 0, Err(Distrust::Writable(0o646)));
        // Sticky files are nothing.
        check(FILE | 0o1666, 0, Err(Distrust::Writable(0o1666)));
        check(LINK | 0o777, 0, Ok(()));
        check(LINK | 0o777, 1000, Err(Distrust::Owner(1000)));
        check(DIRECTORY | 0o755, 0, Ok(()));
        check(DIRECTORY | 0o1777, 0, Ok(()));
        check(DIRECTORY | 0o777, 0, Err(Distrust::Writable(0o777)));
        check(DIRECTORY | 0o1777, 1000, Err(Distrust::Owner(1000)));
        check(FILE | 0o400, 65534, Err(Distrust::Owner(65534)));
    }

    #[test]
    fn a_way_has_names() {
        let check = |path: &str, expected: &[&str]| {
            assert_eq!(names(OsStr::new(path)), expected, "{path:?}");
        };
        check("/", &["."]);
        check("/a//b/../c", &["a", "b", "..", "c"]);
        check("a/", &["a", "."]);
        check("", &[]);
    }
}
