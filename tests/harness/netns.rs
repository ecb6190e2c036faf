//! A network namespace of the test's own, and threads inside it.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rustix::{
    fd::AsFd,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::fail;

/// Where `ip netns` keeps its namespaces.
const RUN: &str = "/run/netns";

/// What all our names begin with; the number of the process follows.
pub(crate) const PREFIX: &str = "nke-t";

/// A named network namespace; dropping it takes it away with its interfaces.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with a name that nobody else has, its loopback up and IPv6 silent:
    /// no address, no solicitation, nothing on the wire that the test has not sent.
    #[must_use]
    pub fn new(role: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let made = Self { name };
        made.ip("link set lo up");
        made.sysctl("ipv6/conf/default/disable_ipv6", "1");
        made
    }

    /// Its name, as `ip netns` and `--netns` take it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, as `--netns` takes it too.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{RUN}/{}", self.name)
    }

    /// The number by which the kernel tells namespaces apart.
    #[must_use]
    pub fn inode(&self) -> u64 {
        std::fs::metadata(self.path())
            .expect("the namespace is there")
            .ino()
    }

    /// Runs `ip` in the namespace with a line of words: `ip("link set eth0 up")`.
    pub fn ip(&self, line: &str) -> String {
        let words = ["-n", &self.name]
            .into_iter()
            .chain(line.split_whitespace());
        run("ip", &words.collect::<Vec<_>>())
    }

    /// Runs `tc` in the namespace, likewise.
    pub fn tc(&self, line: &str) -> String {
        let words = ["-n", &self.name]
            .into_iter()
            .chain(line.split_whitespace());
        run("tc", &words.collect::<Vec<_>>())
    }

    /// Writes one of the namespace's settings below `/proc/sys/net`.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.enter(|| std::fs::write(&path, value))
            .unwrap_or_else(|error| fail(format!("{path}: {error}")));
    }

    /// Does something on a thread inside the namespace, and hands back what it made: a socket
    /// stays in the namespace where it was opened.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).expect("the namespace is there");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("setns needs root");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The number of an interface of the namespace.
    #[must_use]
    pub fn ifindex(&self, interface: &str) -> u32 {
        let text = self.ip(&format!("-o link show dev {interface}"));
        let number = text.split(':').next().and_then(|n| n.trim().parse().ok());
        number.unwrap_or_else(|| fail(format!("no interface number in {text}")))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test may have deleted it on purpose.
        drop(
            Command::new("ip")
                .args(["netns", "del", &self.name])
                .output(),
        );
    }
}

/// Runs a program that must succeed, and hands back what it wrote.
#[track_caller]
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| fail(format!("{program}: {error}")));
    if !output.status.success() {
        // bpftool writes its errors with its JSON.
        let [error, said] = [&output.stderr, &output.stdout].map(|it| String::from_utf8_lossy(it));
        fail(format!("{program} {}: {error}{said}", words.join(" ")));
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Takes away what test processes that were killed have left behind.
fn sweep() {
    let abandoned = |name: &str| {
        let process = name.strip_prefix(PREFIX)?.split('-').next()?;
        let process: u32 = process.parse().ok()?;
        (!std::path::Path::new(&format!("/proc/{process}")).exists()).then_some(())
    };
    let names = |directory: &std::path::Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| abandoned(name).is_some())
            .collect::<Vec<_>>()
    };
    for name in names(std::path::Path::new(RUN)) {
        drop(Command::new("ip").args(["netns", "del", &name]).output());
    }
    let temporary = std::env::temp_dir();
    for name in names(&temporary) {
        crate::world::remove(&temporary.join(name));
    }
}
