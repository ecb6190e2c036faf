//! The bpffs that holds all state, mounted where every later command finds it.
//!
//! `ip netns exec` gives a command a mount namespace of its own, which dies with it. Pins in a
//! bpffs that was mounted there would die as well, and the chains with them. So the bpffs is
//! mounted, and opened, in the mount namespace of the outermost ancestor process that can be
//! entered: PID 1, or, in a sandbox that hides it, the nearest below.

use std::{
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::Path,
    sync::OnceLock,
    thread,
};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags},
    mount::{MountFlags, UnmountFlags},
    thread::LinkNameSpaceType,
};

use crate::{
    error::{Error, Result},
    sys::process,
};

const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// How a mount of nke's shows: its type and its source.
const OWN: &str = "bpf nke ";

/// The mount namespace to work in: `None` if it is the caller's own. It is looked for once: a process does not change
/// its own, and nobody above it matters more than the outermost.
fn outermost() -> Option<&'static File> {
    static OUTERMOST: OnceLock<Option<File>> = OnceLock::new();
    OUTERMOST.get_or_init(find_outermost).as_ref()
}

fn find_outermost() -> Option<File> {
    let own = std::fs::metadata("/proc/self/ns/mnt").ok()?.ino();
    let mut ancestors = vec![];
    let mut pid = std::process::id();
    while pid > 1 {
        pid = process::parent(&pid.to_string())?;
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

/// The state directory.
pub(super) struct Opened {
    pub(super) directory: OwnedFd,
    /// What lies below the bpffs, locked, if it has been made for it: see [`remove`].
    pub(super) made: Option<OwnedFd>,
}

/// How often to look again for a directory that another command takes away meanwhile.
const PATIENCE: u32 = 100;

/// Opens the state directory `path`, mounting a bpffs over it if it is not on one.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let failed = |stage, source| failed(path, stage, source);
    in_outermost(|| {
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if is_link {
            return Err(unsafe_state(path));
        }
        for _ in 0..PATIENCE {
            if let Some(opened) = open_once(path)? {
                return Ok(opened);
            }
        }
        Err(failed("open", io::Error::from(io::ErrorKind::NotFound)))
    })
    .map_err(|source| failed("enter the mount namespace of PID 1", source))?
}

/// The same, if nobody takes the directory away in between.
fn open_once(path: &Path) -> Result<Option<Opened>> {
    let failed = |stage, source| failed(path, stage, source);
    let is_new = std::fs::symlink_metadata(path).is_err();
    // Whatever the umask is, nobody else may write there.
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| failed("create", source))?;
    // Two first commands at once must not mount one bpffs over the other: the directory
    // below is the lock.
    let Some(below) = there(open_directory(path)).map_err(|source| failed("open", source))? else {
        return Ok(None);
    };
    let mounted = |directory| {
        let directory = checked(path, directory)?;
        let made = None;
        Ok(Some(Opened { directory, made }))
    };
    if on_bpffs(&below).map_err(|source| failed("open", source))? {
        return mounted(below);
    }
    rustix::fs::flock(&below, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", error.into()))?;
    let Some(again) = there(open_directory(path)).map_err(|source| failed("open", source))? else {
        return Ok(None);
    };
    if on_bpffs(&again).map_err(|source| failed("open", source))? {
        return mounted(again);
    }
    if !is_same(&below, &again).map_err(|source| failed("open", source))? {
        return Ok(None);
    }
    let below = checked(path, below)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = rustix::mount::mount("nke", path, "bpf", flags, Some(c"mode=0700"));
    if let Err(error) = mounted {
        if is_new {
            let _: io::Result<()> = std::fs::remove_dir(path);
        }
        return Err(failed("mount a bpffs", error.into()));
    }
    let directory = open_directory(path).map_err(|source| failed("open", source))?;
    let made = is_new.then_some(below);
    Ok(Some(Opened { directory, made }))
}

/// Takes the bpffs of this device away again, if nke mounted it and nobody else is using it; and the directory, if this
/// command has made it.
pub(super) fn close(path: &Path, device: u64, made: Option<OwnedFd>) {
    // Another command that waits for the lock holds the directory open: the unmounting then
    // fails with EBUSY, as it should.
    let unmount = || {
        if is_own(device) {
            // What cannot be taken away now, the next command takes away.
            let unmounted = rustix::mount::unmount(path, UnmountFlags::NOFOLLOW);
            if let (Ok(()), Some(below)) = (unmounted, made) {
                remove(path, &below);
            }
        }
    };
    let _: io::Result<()> = in_outermost(unmount);
}

/// Takes the directory away that this command has made.
///
/// The kernel would take away with it what another mount namespace has mounted over the same directory. So it
/// has been locked from before it could be mounted over: who waits to do so, wherever, finds it gone and makes another.
/// A directory that an earlier command has made stays.
fn remove(path: &Path, below: &OwnedFd) {
    let found = open_directory(path);
    if found.is_ok_and(|found| is_same(below, &found).unwrap_or(false)) {
        let _: io::Result<()> = std::fs::remove_dir(path);
    }
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

/// What was opened; nothing if it is not there.
fn there(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let inode = |file| rustix::fs::fstat(file).map(|found| (found.st_dev, found.st_ino));
    Ok(inode(one)? == inode(other)?)
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

fn failed(path: &Path, stage: &'static str, source: io::Error) -> Error {
    Error::State {
        path: path.to_owned(),
        stage,
        source,
        remedy: "give a directory that root can mount a bpffs on with --state",
    }
}

fn unsafe_state(path: &Path) -> Error {
    Error::UnsafeState {
        path: path.to_owned(),
    }
}
