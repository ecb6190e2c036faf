//! Debian's packages: which are there, and how the missing ones come.
//!
//! Never removes a package: where one that is installed stands in the way, apt refuses and
//! the user decides.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Compiler, Source};
use crate::step::Steps;

/// A compiler for BPF: rustc 1.96 with its own source, and its cargo.
///
/// These packages exist beside the plain `rustc` of the release, which is years older.
pub(super) const COMPILER: &[&str] = &["cargo-web", "rust-web-src", "rustc-web"];
/// What the tests and the demo call. clang makes the extensions of strangers, and g++ libFuzzer.
pub(super) const TESTS: &[&str] = &[
    "bpftool",
    "clang-16",
    "ethtool",
    "g++",
    "iproute2",
    "libbpf-dev",
    "linux-libc-dev",
    "nftables",
    "tcpdump",
];
/// What the benchmarks compare with.
pub(super) const BENCH: &[&str] = &["bpftool", "ipset", "iptables", "strace", "xdp-tools"];
/// What virtual machines are made of.
pub(super) const VM: &[&str] = &["binutils", "busybox-static", "kmod", "qemu-system-x86"];

/// The oldest rustc-web that is known to compile the extensions.
const OLDEST: (u32, u32) = (1, 96);
const BINARIES: &str = "/usr/bin";

/// The packages installed on this machine, with their versions; `None` where there is no dpkg.
pub(super) struct Installed(Option<BTreeMap<String, String>>);

impl Installed {
    /// Asks dpkg about the packages that set-up knows.
    pub(super) fn ask() -> Result<Self> {
        let output = Command::new("dpkg-query")
            .args([
                "--show",
                "--showformat=${Package} ${db:Status-Status} ${Version}\n",
            ])
            .args([COMPILER, TESTS, BENCH, VM].concat())
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self(None)),
            Err(error) => return Err(error).context("cannot run dpkg-query"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let packages = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some(name), Some("installed"), Some(version)) => {
                    Some((name.to_owned(), version.to_owned()))
                }
                _ => None,
            }
        });
        Ok(Self(Some(packages.collect())))
    }

    /// Those of `wanted` that are not installed, or too old. Where there is no dpkg nothing can
    /// be known, and whoever needs a program will name it.
    pub(super) fn missing(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        let Some(packages) = &self.0 else {
            return Vec::new();
        };
        let there = |name: &str| match packages.get(name) {
            Some(version) if COMPILER.contains(&name) => release(version) >= Some(OLDEST),
            other => other.is_some(),
        };
        wanted.iter().copied().filter(|name| !there(name)).collect()
    }
}

/// Debian's BPF compiler, if all of it is installed.
pub(super) fn compiler(installed: &Installed) -> Option<Compiler> {
    let version = installed.0.as_ref()?.get("rustc-web")?.clone();
    if !installed.missing(COMPILER).is_empty() {
        return None;
    }
    let binaries = Path::new(BINARIES);
    Some(Compiler {
        source: Source::Debian,
        cargo: binaries.join("cargo"),
        rustc: binaries.join("rustc"),
        llvm: PathBuf::from(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH)),
        version,
    })
}

/// Installs packages.
pub(super) fn install(steps: &mut Steps, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this system has no apt-get, and rustup could not fetch {}\n  remedy: connect it to where rustup fetches from, or install what matches these Debian packages: {list}",
            super::rustup::NIGHTLY
        );
    }
    if !super::is_root()? {
        bail!("installing packages needs root\n  remedy: run as root: apt-get install {list}");
    }
    // A list that cannot be refreshed matters only if the packages are then not found.
    steps.attempt("refresh Debian's package lists", apt().arg("update"), None)?;
    steps.run(
        &format!("install {list}"),
        "see that apt's sources name this release and its security updates, and can be reached; then try again",
        apt()
            .args(["install", "--no-install-recommends", "--no-remove"])
            .args(packages),
    )
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--yes"])
        .args(["--option", "DPkg::Lock::Timeout=300"])
        .args(["--option", "Acquire::Retries=2"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// `1.96.0+dfsg1-1~deb12u2` is `(1, 96)`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPILER, Installed, release};

    fn installed(packages: &[(&str, &str)]) -> Installed {
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        Installed(Some(packages.iter().map(owned).collect()))
    }

    #[test]
    fn a_release_is_the_first_two_numbers() {
        assert_eq!(release("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(release("1:16.0.6"), None);
        assert_eq!(release(""), None);
    }

    #[test]
    fn an_old_compiler_counts_as_missing() {
        let old = installed(&[
            ("cargo-web", "1.85.0"),
            ("rustc-web", "1.96.0"),
            ("rust-web-src", "1.96.0"),
        ]);
        assert_eq!(old.missing(COMPILER), ["cargo-web"]);
    }

    #[test]
    fn another_package_counts_whatever_its_version() {
        assert!(
            installed(&[("clang-16", "1:16.0.6")])
                .missing(&["clang-16"])
                .is_empty()
        );
    }
}
