//! A nightly compiler by rustup, in the project's own directory.
//!
//! The nightly is pinned: what the kernel's verifier accepts depends on the code that LLVM
//! makes. It lives in `.tools/rustup`, so the user's own toolchains, and their default, stay
//! as they are.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Compiler, Source};
use crate::step::{Stall, Steps};
use crate::workspace::{Workspace, without_our_cargo};

/// The nightly: rustc 1.97 with LLVM 22, for which bpf-linker can be built.
pub(super) const NIGHTLY: &str = "nightly-2026-05-20";
/// A network that answers nothing must not hold set-up up for longer.
const PATIENCE: Duration = Duration::from_secs(15);

fn home(workspace: &Workspace) -> PathBuf {
    workspace.tools.join("rustup")
}

/// Written last, so that half an installation is none.
fn stamp(workspace: &Workspace) -> PathBuf {
    home(workspace).join(format!("{NIGHTLY}.complete"))
}

/// The nightly, if it is installed.
pub(super) fn compiler(workspace: &Workspace) -> Option<Compiler> {
    if !stamp(workspace).exists() {
        return None;
    }
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let toolchain = home(workspace).join(format!("toolchains/{NIGHTLY}-{triple}"));
    Some(Compiler {
        source: Source::Rustup,
        cargo: toolchain.join("bin/cargo"),
        rustc: toolchain.join("bin/rustc"),
        llvm: toolchain.join("lib"),
        version: NIGHTLY.to_owned(),
    })
}

/// Lets rustup try; `None` where there is no rustup, or it cannot fetch.
pub(super) fn install(workspace: &Workspace, steps: &mut Steps) -> Result<Option<Compiler>> {
    if !on_path("rustup".as_ref()) {
        return Ok(None);
    }
    let home = home(workspace);
    remove(&home)?; // what an installation left that was cut short
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut rustup = Command::new("rustup");
    without_our_cargo(&mut rustup);
    rustup
        .args(["toolchain", "install", NIGHTLY, "--profile", "minimal"])
        .args(["--component", "rust-src", "--no-self-update"])
        .env("RUSTUP_HOME", &home)
        .env("RUSTUP_MAX_RETRIES", "1")
        .env_remove("RUSTUP_TOOLCHAIN");
    let stall = Stall {
        directory: &home,
        patience: PATIENCE,
    };
    let what = format!("fetch {NIGHTLY} with its library source by rustup");
    if steps.attempt(&what, &mut rustup, Some(&stall))? {
        let stamp = stamp(workspace);
        fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
        return Ok(compiler(workspace));
    }
    remove(&home)?;
    steps.note("rustup cannot fetch it here");
    Ok(None)
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn on_path(program: &OsStr) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
