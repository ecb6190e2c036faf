//! Set-up: makes a machine able to build extensions, and says what it does.
//!
//! It looks first and acts only on what is missing, so a second run installs nothing and takes
//! a moment. It never removes a package, and puts what belongs to this project alone into
//! `.tools` (see [`crate::workspace`]).
//!
//! The BPF side needs a compiler with the source of its own library, and a linker made for the
//! same LLVM. Two ways lead there, and the first that works is taken:
//!
//! 1. rustup fetches a pinned nightly into `.tools` ([`rustup`]);
//! 2. Debian's packages `rustc-web`, `cargo-web`, `rust-web-src` ([`debian`]).
//!
//! `NKE_TOOLCHAIN=rustup` or `=debian` insists on one.

mod debian;
mod linker;
mod rustup;

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::Steps;
use crate::workspace::{Workspace, without_our_cargo};

/// What to install beside the BPF toolchain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Want {
    /// What the tests and the demo need.
    pub(crate) tests: bool,
    /// What the benchmarks compare with.
    pub(crate) bench: bool,
    /// What virtual machines are made of.
    pub(crate) vm: bool,
}

impl Want {
    /// The toolchain and what the tests need.
    pub(crate) const TESTS: Self = Self {
        tests: true,
        bench: false,
        vm: false,
    };
}

/// Fails unless this is root. `why` is a sentence.
pub(crate) fn need_root(why: &str) -> Result<()> {
    ensure!(
        is_root()?,
        "{why}, which needs root\n  remedy: run it as root"
    );
    Ok(())
}

fn is_root() -> Result<bool> {
    // The owner of our own entry is who we are.
    Ok(fs::metadata("/proc/self")
        .context("cannot read /proc")?
        .uid()
        == 0)
}

/// Where the compiler came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Rustup,
    Debian,
}

/// A compiler and a linker for BPF objects, both in place.
pub(crate) struct Toolchain {
    source: Source,
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
}

/// A compiler, before its linker is known.
struct Compiler {
    source: Source,
    cargo: PathBuf,
    rustc: PathBuf,
    /// Where its libLLVM is.
    llvm: PathBuf,
    /// Changes whenever the compiler does.
    version: String,
}

/// Makes everything wanted ready; does nothing, quickly, when it is.
pub(crate) fn ensure(workspace: &Workspace, steps: &mut Steps, want: Want) -> Result<Toolchain> {
    let choice = choice()?;
    let installed = debian::Installed::ask()?;
    let missing = installed.missing(&wanted_packages(want));
    if missing.is_empty()
        && let Some(compiler) = present(workspace, &installed, choice)
        && let Some(linker) = linker::present(workspace, &compiler)
    {
        return Ok(compiler.with(linker));
    }
    install(workspace, steps, want, choice)
}

fn install(
    workspace: &Workspace,
    steps: &mut Steps,
    want: Want,
    choice: Option<Source>,
) -> Result<Toolchain> {
    let _lock = lock(workspace)?;
    // Once more, now that nobody else is at it.
    let mut installed = debian::Installed::ask()?;
    let mut packages = installed.missing(&wanted_packages(want));
    let mut compiler = present(workspace, &installed, choice);
    if compiler.is_none() && choice != Some(Source::Debian) {
        compiler = rustup::install(workspace, steps)?;
    }
    if compiler.is_none() {
        if choice == Some(Source::Rustup) {
            bail!(
                "rustup cannot fetch {} (the log is {})\n  remedy: look at the log, or unset NKE_TOOLCHAIN to use Debian's compiler",
                rustup::NIGHTLY,
                workspace.tools.join("setup.log").display()
            );
        }
        packages.extend(installed.missing(debian::COMPILER));
    }
    if !packages.is_empty() {
        debian::install(steps, &packages)?;
        installed = debian::Installed::ask()?;
    }
    let compiler = match compiler {
        Some(compiler) => compiler,
        None => debian::compiler(&installed).context("Debian's packages hold no BPF compiler")?,
    };
    let linker = match linker::present(workspace, &compiler) {
        Some(linker) => linker,
        None => linker::install(workspace, steps, &compiler)?,
    };
    Ok(compiler.with(linker))
}

fn choice() -> Result<Option<Source>> {
    match env::var("NKE_TOOLCHAIN").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("rustup") => Ok(Some(Source::Rustup)),
        Ok("debian") => Ok(Some(Source::Debian)),
        Ok(other) => bail!("NKE_TOOLCHAIN is `{other}`, but must be `rustup` or `debian`"),
    }
}

fn present(
    workspace: &Workspace,
    installed: &debian::Installed,
    choice: Option<Source>,
) -> Option<Compiler> {
    let rustup = || rustup::compiler(workspace);
    let debian = || debian::compiler(installed);
    match choice {
        Some(Source::Rustup) => rustup(),
        Some(Source::Debian) => debian(),
        None => rustup().or_else(debian),
    }
}

fn wanted_packages(want: Want) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if want.tests {
        packages.extend(debian::TESTS);
    }
    if want.bench {
        packages.extend(debian::BENCH);
    }
    if want.vm {
        packages.extend(debian::VM);
    }
    packages
}

/// One set-up at a time: the second waits, and finds everything done.
fn lock(workspace: &Workspace) -> Result<File> {
    fs::create_dir_all(&workspace.tools)
        .with_context(|| format!("cannot make {}", workspace.tools.display()))?;
    let path = workspace.tools.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

impl Compiler {
    fn with(self, linker: PathBuf) -> Toolchain {
        Toolchain {
            source: self.source,
            cargo: self.cargo,
            rustc: self.rustc,
            linker,
        }
    }

    /// The major version of its LLVM: an object file may pass between a compiler and a linker
    /// of the same one only.
    fn llvm_major(&self) -> Result<String> {
        let mut command = Command::new(&self.rustc);
        without_our_cargo(&mut command);
        let output = command
            .arg("-vV")
            .env_remove("RUSTUP_TOOLCHAIN")
            .output()
            .with_context(|| format!("cannot run {}", self.rustc.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let major = text
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))
            .and_then(|version| version.split('.').next())
            .with_context(|| format!("{} does not tell its LLVM", self.rustc.display()))?;
        Ok(major.to_owned())
    }
}

impl Toolchain {
    /// A cargo that compiles for BPF, free of what is set for the host's compiler.
    pub(crate) fn cargo(&self) -> Command {
        // -Z build-std on a compiler that calls itself stable.
        const BOOTSTRAP: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
        const HOST_ONLY: &[&str] = &[
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_INCREMENTAL",
            "CARGO_TARGET_DIR",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ];
        let flags = [
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            // Comparisons and sums of 32 bits as single instructions (since Linux 5.1).
            "-Ctarget-cpu=v3".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            "-Cpanic=abort".to_owned(),
        ];
        let mut cargo = Command::new(&self.cargo);
        without_our_cargo(&mut cargo);
        for name in HOST_ONLY {
            cargo.env_remove(name);
        }
        cargo
            .env(BOOTSTRAP.0, BOOTSTRAP.1)
            .env("RUSTC", &self.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.source {
            Source::Rustup => rustup::NIGHTLY,
            Source::Debian => "of Debian",
        };
        write!(
            f,
            "{whose} ({}), bpf-linker {}",
            self.rustc.display(),
            linker::VERSION
        )
    }
}
