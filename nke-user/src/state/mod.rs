//! The state of nke: all of it in one bpffs, none of it anywhere else.
//!
//! ```text
//! extensions/<name>/object            the object file's bytes, in a one-entry array map
//! extensions/<name>/maps/<map>        the maps that its attachments share
//! extensions/<name>/record            a link whose target is JSON: committed by its existence
//! extensions/<name>/before/<id>/<map> the maps that attachments had in the version before
//! extensions/<name>~/…, <name>^/…     a version that is taking its place, and the version before
//! chains/<hook>/<target>/link or filter            what calls the root
//! chains/<hook>/<target>/join                      what has connections join, at the stream hooks
//! chains/<hook>/<target>/mode, netfilter           and how
//! chains/<hook>/<target>/nodes/<program>/           next, program, counters, maps/, node
//! confirm/record, declaration                      a change that waits, and what it goes back to
//! seal/<level>/<hook>                              the kernel's part of the seal, which stays
//! ```
//!
//! Small records are the targets of symbolic links: made whole by one system call, replaced
//! whole by a rename, readable with `ls -l`, and gone with the bpffs. This module is the only
//! maker of paths, and never decides anything.

mod mount;

pub(crate) use self::mount::in_outermost;

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::FlockOperation,
    process::{Resource, Rlimit},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    hook::Hook,
    loader::Maps,
    sys,
    target::Target,
};

/// What a record is called until it is whole.
const FRESH: &str = "fresh";

/// The state, locked: whoever holds this is the only writer.
#[derive(Debug)]
pub(crate) struct State {
    directory: OwnedFd,
    base: PathBuf,
    path: PathBuf,
    /// What the directory lies over, if this has made it.
    made: Option<OwnedFd>,
}

impl State {
    /// Opens the state directory and waits for the lock.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        raise_memory_limit();
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        // Another mount namespace has another working directory, and a slash at the end would
        // have a link followed.
        let path = std::path::absolute(path).map_err(|source| Error::State {
            path: path.to_owned(),
            stage: "find",
            source,
            remedy: "give its whole path with --state",
        })?;
        let path: PathBuf = path.components().collect();
        raise_memory_limit();
        let mount::Opened { directory, made } = mount::open(&path)?;
        rustix::fs::flock(&directory, FlockOperation::LockExclusive).map_err(|error| {
            let (source, remedy) = (error.into(), "try again");
            Error::State {
                path: path.clone(),
                stage: "lock",
                source,
                remedy,
            }
        })?;
        let base = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let state = Self {
            directory,
            base,
            path,
            made,
        };
        for directory in [state.extensions(), state.all_chains()] {
            state.make_directory(&directory)?;
        }
        Ok(state)
    }

    pub(crate) fn extensions(&self) -> PathBuf {
        self.base.join("extensions")
    }

    pub(crate) fn extension(&self, name: &str) -> PathBuf {
        self.extensions().join(name)
    }

    /// The change that waits for its confirmation.
    pub(crate) fn pending(&self) -> PathBuf {
        Self::pending_in(&self.base)
    }

    /// The same, of a state directory that is not locked.
    pub(crate) fn pending_in(state: &Path) -> PathBuf {
        state.join("confirm")
    }

    /// The kernel's part of the seal.
    pub(crate) fn seal(&self) -> PathBuf {
        self.base.join("seal")
    }

    /// The device and the inode of the state directory, as stat(2) has them.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let found = rustix::fs::fstat(&self.directory)?;
        Ok((found.st_dev, found.st_ino))
    }

    /// The directory of all chains.
    pub(crate) fn all_chains(&self) -> PathBuf {
        self.base.join("chains")
    }

    pub(crate) fn chains(&self, hook: Hook) -> PathBuf {
        self.all_chains().join(hook.directory())
    }

    pub(crate) fn chain(&self, hook: Hook, target: Target) -> PathBuf {
        self.chains(hook).join(target.directory())
    }

    /// Knows a chain by another target.
    pub(crate) fn rename_chain(&self, hook: Hook, from: Target, to: Target) -> Result<()> {
        self.rename(&self.chain(hook, from), &self.chain(hook, to))
    }

    /// Gives a pin or a directory another path; what is there goes.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|source| self.failed(from, "rename", source))
    }

    /// The hooks that have, or had, chains, by one look: nearly all hooks never do.
    pub(crate) fn hooks(&self) -> Result<impl Iterator<Item = Hook> + use<>> {
        let present = self.names(&self.all_chains())?;
        Ok(Hook::all().filter(move |hook| present.contains(&hook.directory())))
    }

    /// The targets that have a chain at a hook.
    pub(crate) fn targets(&self, hook: Hook) -> Result<Vec<Target>> {
        let parse = |name: String| Target::parse(hook.row().kind, &name);
        let names = self.names(&self.chains(hook))?;
        let mut targets: Vec<_> = names.into_iter().filter_map(parse).collect();
        targets.sort_unstable();
        Ok(targets)
    }

    /// The names in a directory of the state, sorted; none if it does not exist. One that cannot be
    /// read is an error: what is in it is not gone.
    pub(crate) fn names(&self, directory: &Path) -> Result<Vec<String>> {
        names_in(directory).map_err(|source| self.failed(directory, "list", source))
    }

    /// Whether there is something at a path of the state. That this cannot be told is an error.
    pub(crate) fn has(&self, path: &Path) -> Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(path, "look for", error)),
        }
    }

    /// An error of the file system, under the path that the user knows.
    pub(crate) fn failed(&self, path: &Path, stage: &'static str, source: io::Error) -> Error {
        let shown = path
            .strip_prefix(&self.base)
            .map_or(path.to_owned(), |p| self.path.join(p));
        Error::State {
            path: shown,
            stage,
            source,
            remedy: "check that nothing else writes there",
        }
    }

    pub(crate) fn make_directory(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(|source| self.failed(path, "create", source))
    }

    pub(crate) fn pin(&self, fd: impl AsFd, path: &Path) -> Result<()> {
        sys::pin(fd, path).map_err(|source| self.failed(path, "pin", source))
    }

    pub(crate) fn get(&self, path: &Path) -> Result<OwnedFd> {
        sys::get(path).map_err(|source| self.failed(path, "open", source))
    }

    /// Another descriptor of the same object.
    pub(crate) fn copy(&self, fd: &OwnedFd) -> Result<OwnedFd> {
        fd.try_clone()
            .map_err(|source| self.failed(&self.base, "copy a descriptor of", source))
    }

    pub(crate) fn pin_maps(&self, maps: &Maps, directory: &Path) -> Result<()> {
        if !maps.is_empty() {
            self.make_directory(directory)?;
        }
        maps.iter()
            .try_for_each(|(name, map)| self.pin(map, &directory.join(escape(name))))
    }

    /// Pins a map among others, in a directory that need not exist.
    pub(crate) fn pin_map(&self, map: &OwnedFd, directory: &Path, name: &str) -> Result<()> {
        self.make_directory(directory)?;
        self.pin(map, &directory.join(escape(name)))
    }

    /// The maps pinned in a directory, which need not exist.
    pub(crate) fn maps(&self, directory: &Path) -> Result<Maps> {
        let open = |name: String| Ok((unescape(&name), self.get(&directory.join(name))?));
        self.names(directory)?.into_iter().map(open).collect()
    }

    /// Writes a record, replacing the one there is.
    pub(crate) fn write_record<R: Serialize>(&self, path: &Path, record: &R) -> Result<()> {
        let failed = |source| self.failed(path, "write", source);
        let text = serde_json::to_string(record).map_err(|error| failed(error.into()))?;
        let fresh = path.with_file_name(FRESH);
        let _: io::Result<()> = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(text, &fresh).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)
    }

    /// Removes the record that a killed command was about to put in place in a directory.
    pub(crate) fn sweep_record(&self, directory: &Path) -> Result<()> {
        let fresh = directory.join(FRESH);
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(&fresh, "remove", error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a record.
    pub(crate) fn remove_record(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|source| self.failed(path, "remove", source))
    }

    /// Reads a record: `None` if there is none.
    pub(crate) fn read_record<R: DeserializeOwned>(&self, path: &Path) -> Result<Option<R>> {
        let failed = |source| self.failed(path, "read", source);
        let text = match fs::read_link(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let record = serde_json::from_slice(text.as_os_str().as_bytes());
        record.map(Some).map_err(|error| failed(error.into()))
    }

    /// Removes a directory and all pins in it.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(path, "remove", error))
            }
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        for hook in self.hooks()? {
            if !self.names(&self.chains(hook))?.is_empty() {
                return Ok(false);
            }
        }
        let kept = self.has(&self.pending())? || !self.names(&self.seal())?.is_empty();
        Ok(!kept && self.names(&self.extensions())?.is_empty())
    }

    /// Whether somebody else has pinned something in this bpffs. iproute2 does, in whichever it
    /// finds first, for objects with maps of its kind.
    fn keeps_others(&self) -> Result<bool> {
        // Two files that the kernel puts into every bpffs.
        const KERNELS: [&str; 2] = ["maps.debug", "progs.debug"];
        for name in self.names(&self.base)? {
            if !KERNELS.contains(&name.as_str()) && self.holds_pins(&self.base.join(name))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there is a file anywhere below a path.
    fn holds_pins(&self, path: &Path) -> Result<bool> {
        let found = fs::symlink_metadata(path).map_err(|e| self.failed(path, "look at", e))?;
        if !found.is_dir() {
            return Ok(!found.is_symlink());
        }
        for name in self.names(path)? {
            if self.holds_pins(&path.join(name))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directories that an empty state has.
    fn own_directories(&self) -> Result<Vec<PathBuf>> {
        let hooks = self.hooks()?.map(|hook| self.chains(hook));
        Ok(hooks
            .chain([self.all_chains(), self.extensions()])
            .collect())
    }
}

impl Drop for State {
    /// An empty state leaves nothing behind, not even its mount, nor a directory that was made for it now.
    fn drop(&mut self) {
        // What cannot be read is not empty.
        let (Ok(true), Ok(own)) = (self.is_empty(), self.own_directories()) else {
            return;
        };
        // The bpffs may be another's, and stay.
        for directory in own {
            let _: io::Result<()> = fs::remove_dir(directory);
        }
        if !matches!(self.keeps_others(), Ok(false)) {
            return;
        }
        let device = rustix::fs::fstat(&self.directory).map(|found| found.st_dev);
        // A descriptor of the bpffs would keep it busy: only a path may be left.
        if let (Ok(null), Ok(device)) = (fs::File::open("/dev/null"), device) {
            self.directory = null.into();
            mount::close(&self.path, device, self.made.take());
        }
    }
}

/// Kernels before 5.11 charge BPF objects to the process's locked memory, of which there is little
/// by default. Newer ones charge the cgroup, and where this fails they do not mind.
pub(crate) fn raise_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _: rustix::io::Result<()> = rustix::process::setrlimit(Resource::Memlock, unlimited);
}

/// The names in a directory that is not the state's, sorted; none if it cannot be read.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// The names in a directory, sorted; none if it does not exist.
pub(crate) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// A map's name as a pin's: bpffs reserves the dot.
fn escape(name: &str) -> String {
    name.replace('%', "%25")
        .replace('.', "%2e")
        .replace('/', "%2f")
}

fn unescape(name: &str) -> String {
    name.replace("%2f", "/")
        .replace("%2e", ".")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_names_survive_as_pins() {
        for name in [".rodata", "RULES", "a%2eb", ".rodata.str1.1"] {
            assert!(!escape(name).contains('.'));
            assert_eq!(unescape(&escape(name)), name);
        }
    }
}
