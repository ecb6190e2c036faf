//! The bpffs that holds all state, mounted where every later command finds it.
//!
//! `ip netns exec` gives a command a mount namespace of its own, which dies with it. Pins in a
//! bpffs that was mounted there would die as well, and the chains with them. So the bpffs is
//! mounted, and opened, in the mount namespace of the outermost ancestor process that can be
//! entered: PID 1, or, in a sandbox that hides it, the nearest below.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::Path,
    thread,
};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags},
    mount::{MountFlags, UnmountFlags},
    thread::LinkNameSpaceType,
};

use crate::error::{Error, Result};

const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// How a mount of nke's shows: its type and its source.
const OWN: &str = "bpf nke ";

/// The mount namespace to work in: `None` if it is the caller's own.
fn outermost() -> Option<File> {
    let own = std::fs::metadata("/proc/self/ns/mnt").ok()?.ino();
    let mut ancestors = vec![];
    let mut pid = std::process::id();
    while pid > 1 {
        pid = parent(pid)?;
        ancestors.push(pid);
    }
    let open = |pid: &u32| File::open(format!("/proc/{pid}/ns/mnt")).ok();
    let outermost = ancestors
        .iter()
        .rev()
        .filter(|pid| **pid != 0)
        .find_map(open)?;
    (outermost.metadata().ok()?.ino() != own).then_some(outermost)
}

/// A process's parent, from the front of its line in /proc.
fn parent(pid: u32) -> Option<u32> {
    let mut line = [0; 128];
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut line)
        .ok()?;
    let line = String::from_utf8_lossy(&line[..length]);
    // Behind the command's closing parenthesis: state, then the parent's pid.
    line.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Runs `work` with the outermost mount namespace in view. A thread is used since entering a
/// mount namespace needs file-system attributes that are not shared.
pub(crate) fn in_outermost<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let Some(namespace) = outermost() else {
        return Ok(work());
    };
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            crate::sys::unshare_file_system_attributes()?;
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(LinkNameSpaceType::Mount),
            )?;
            io::Result::Ok(work())
        });
        entered
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread died")))
    })
}

/// Opens the state directory `path`, mounting a bpffs over it if it is not on one.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let failed = |stage, source| Error::State {
        path: path.to_owned(),
        stage,
        source,
        remedy: "give a directory that root can mount a bpffs on with --state",
    };
    in_outermost(|| {
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if is_link {
            return Err(unsafe_state(path));
        }
        // Whatever the umask is, nobody else may write there.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|source| failed("create", source))?;
        // Two first commands at once must not mount one bpffs over the other: the directory
        // below is the lock.
        let below = open_directory(path).map_err(|source| failed("open", source))?;
        if on_bpffs(&below).map_err(|source| failed("open", source))? {
            return checked(path, below);
        }
        rustix::fs::flock(&below, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", error.into()))?;
        let again = open_directory(path).map_err(|source| failed("open", source))?;
        if on_bpffs(&again).map_err(|source| failed("open", source))? {
            return checked(path, again);
        }
        let below = checked(path, below)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("nke", path, "bpf", flags, Some(c"mode=0700"))
            .map_err(|error| failed("mount a bpffs", error.into()))?;
        drop(below);
        open_directory(path).map_err(|source| failed("open", source))
    })
    .map_err(|source| failed("enter the mount namespace of PID 1", source))?
}

/// Takes the bpffs of this device away again, if nke mounted it and nobody else is using it.
pub(super) fn close(path: &Path, device: u64) {
    // Another command that waits for the lock holds the directory open: the unmounting then
    // fails with EBUSY, as it should.
    let unmount = || {
        if is_own(device) {
            // What cannot be taken away now, the next command takes away.
            let _: rustix::io::Result<()> = rustix::mount::unmount(path, UnmountFlags::NOFOLLOW);
        }
    };
    let _: io::Result<()> = in_outermost(unmount);
}

/// Whether nke mounted the file system of this device: that is written where its device's name
/// would be. Unmounting another's bpffs would unpin all that is in it.
fn is_own(device: u64) -> bool {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = format!("{major}:{minor}");
    mounts.lines().any(|line| {
        let is_device = line.split(' ').nth(2) == Some(&device);
        is_device
            && line
                .split_once(" - ")
                .is_some_and(|(_, source)| source.starts_with(OWN))
    })
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Into::into)
}

fn on_bpffs(directory: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(directory)?.f_type == BPF_FS_MAGIC)
}

/// Refuses a directory that others could have prepared.
fn checked(path: &Path, directory: OwnedFd) -> Result<OwnedFd> {
    let safe = rustix::fs::fstat(&directory).is_ok_and(|s| s.st_uid == 0 && s.st_mode & 0o022 == 0);
    if safe {
        Ok(directory)
    } else {
        Err(unsafe_state(path))
    }
}

fn unsafe_state(path: &Path) -> Error {
    Error::UnsafeState {
        path: path.to_owned(),
    }
}
