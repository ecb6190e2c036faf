//! Kernel features, each with the first kernel that has it: the only reason to skip a test, but for
//! those that take a machine to spoil.

use std::{fs::OpenOptions, io::Write, sync::OnceLock, thread};

use crate::{binaries, fail};

/// The newest kernel that a test may ask for: with it nothing may be skipped under CI.
const NEWEST: (u32, u32) = (6, 18);

/// A feature of the kernel.
///
/// ```no_run
/// # use nke_tests::Feature;
/// if Feature::Tcx.missing() {
///     return;
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `bpf_loop`.
    Loop,
    /// XDP programs on packets of several fragments.
    Frags,
    /// The kernel functions that make a dynptr of a packet.
    PacketDynptr,
    /// `bpf_for` and its siblings.
    OpenIterators,
    /// TCX, the multi-program attach point of traffic control.
    Tcx,
    /// The cgroup hooks of AF_UNIX sockets.
    CgroupUnix,
    /// A choice of place among a cgroup's programs.
    CgroupOrder,
}

impl Feature {
    /// What it is called, and the first kernel that has it.
    #[must_use]
    pub const fn named(self) -> (&'static str, (u32, u32)) {
        match self {
            Self::Loop => ("bpf_loop", (5, 17)),
            Self::Frags => ("XDP fragments", (5, 18)),
            Self::PacketDynptr => ("packet dynptrs", (6, 4)),
            Self::OpenIterators => ("open-coded iterators", (6, 4)),
            Self::Tcx => ("TCX", (6, 6)),
            Self::CgroupUnix => ("cgroup hooks of AF_UNIX", (6, 7)),
            Self::CgroupOrder => ("places on a cgroup's list", (6, 17)),
        }
    }

    /// Whether this kernel has it, for tests that have less to check without.
    #[must_use]
    pub fn here(self) -> bool {
        kernel() >= self.named().1
    }

    /// Whether this kernel lacks it. If so the test is to return: it has been printed and
    /// counted as skipped.
    #[must_use]
    pub fn missing(self) -> bool {
        let (name, first) = self.named();
        let here = kernel();
        if here >= first {
            return false;
        }
        if std::env::var("CI").is_ok_and(|ci| ci == "true") && here >= NEWEST {
            fail(format!(
                "under CI nothing may skip, but the kernel lacks {name}"
            ));
        }
        skip(format_args!(
            "the kernel lacks {name} (first kernel {}.{})",
            first.0, first.1
        ));
        true
    }
}

/// Whether this machine may be spoilt for good: it is a virtual one of `cargo xtask vm`. If not the
/// test is to return: it has been printed and counted as skipped.
#[must_use]
pub fn disposable() -> bool {
    let is_it = std::env::var_os("NKE_VM").is_some();
    if !is_it {
        skip(format_args!("it takes a virtual machine (cargo xtask vm)"));
    }
    is_it
}

/// Prints and counts a test that is skipped.
fn skip(why: std::fmt::Arguments<'_>) {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let line = format!("skipped {test}: {why}\n");
    eprint!("{line}");
    // `cargo xtask test` counts these lines.
    let path = binaries::target_directory().join("nke-tests-skipped");
    let file = OpenOptions::new().create(true).append(true).open(path);
    drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
}

fn kernel() -> (u32, u32) {
    static KERNEL: OnceLock<(u32, u32)> = OnceLock::new();
    *KERNEL.get_or_init(|| {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let mut parts = release
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => fail(format!("a kernel release that is no version: {release}")),
        }
    })
}
