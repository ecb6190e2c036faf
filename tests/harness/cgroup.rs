//! A cgroup of the test's own, and threads inside it.
//!
//! A process is in one cgroup, but a *threaded* cgroup below takes single threads of it. What
//! counts for a socket is the cgroup of the thread that made it.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Deadline, Namespace, fail, netns::PREFIX, sys::bpf};

/// A cgroup of version 2; dropping it takes it away.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup with a name that nobody else has, below the test's own.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making a cgroup is no default")]
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        let home = home();
        SWEEP.call_once(|| sweep(&home));
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self::make(home.join(format!("{PREFIX}{}-{number}", std::process::id())))
    }

    /// Makes one below this one, which must be dropped first.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::make(self.path.join("child"))
    }

    fn make(path: PathBuf) -> Self {
        let made = fs::create_dir(&path);
        made.and_then(|()| fs::write(path.join("cgroup.type"), "threaded"))
            .unwrap_or_else(|error| fail(format!("{}: {error}", path.display())));
        Self { path }
    }

    /// Its directory, as `--cgroup` takes it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().expect("the name is ours")
    }

    /// Does something on a thread inside the cgroup and a namespace, and hands back what it made:
    /// a socket stays with the cgroup where it was opened.
    pub fn enter<T: Send>(&self, namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
        namespace.enter(|| {
            let thread = rustix::thread::gettid().to_string();
            fs::write(self.path.join("cgroup.threads"), thread).expect("the thread can move");
            work()
        })
    }

    /// Puts a pinned program on the cgroup's list, as another tool would: `point` is an `enum
    /// bpf_attach_type`, `flags` are those of the kernel (`BPF_F_…`).
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn attach_foreign(&self, pin: &Path, point: u32, flags: u32) -> io::Result<()> {
        let directory = fs::File::open(&self.path)?;
        let program = bpf::pinned(pin)?;
        bpf::attach_cgroup(program.as_fd(), directory.as_fd(), point, flags)
    }

    /// Takes it off again.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn detach_foreign(&self, pin: &Path, point: u32) -> io::Result<()> {
        let directory = fs::File::open(&self.path)?;
        let program = bpf::pinned(pin)?;
        bpf::detach_cgroup(program.as_fd(), directory.as_fd(), point)
    }

    /// Takes it away, before it is dropped.
    pub fn remove(&self) {
        // Threads and sockets that ended a moment ago may still be inside.
        let gone = || fs::remove_dir(&self.path).is_ok() || !self.path.exists();
        if !Deadline::generous().until(gone) {
            fail(format!("{} cannot be removed", self.path.display()));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Threads of a test that failed may take a moment to leave.
        let gone = || {
            remove_all(&self.path);
            !self.path.exists()
        };
        if !Deadline::generous().until(gone) && !std::thread::panicking() {
            fail(format!("{} cannot be removed", self.path.display()));
        }
    }
}

/// The cgroup of the test program.
fn home() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let mount = mount.and_then(|line| line.split(' ').nth(4));
    let own = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    match (mount, own) {
        (Some(mount), Some(own)) => Path::new(mount).join(own),
        _ => fail("no cgroup file system of version 2 is mounted"),
    }
}

fn remove_all(path: &Path) {
    drop(fs::remove_dir(path.join("child")));
    drop(fs::remove_dir(path));
}

/// Takes away what test processes that were killed have left behind.
fn sweep(home: &Path) {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().into_string().unwrap_or_default();
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let lives = |process| Path::new("/proc").join(process).exists();
        if process.is_some_and(|process| !lives(process)) {
            remove_all(&entry.path());
        }
    }
}
