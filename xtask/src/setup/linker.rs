//! bpf-linker, built for the LLVM that the compiler brings.
//!
//! A compiler's bitcode is read by the LLVM that wrote it. The linker needs no LLVM of its own
//! for that: it links with the very library that the compiler loads, which saves 200 MB of
//! development packages. It is built without optimization, since its time is spent in LLVM.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Compiler, Source};
use crate::step::Steps;
use crate::workspace::Workspace;

/// The version that set-up builds.
pub(super) const VERSION: &str = "0.13.0";

/// One directory per compiler, so that both may be there.
fn home(workspace: &Workspace, compiler: &Compiler) -> PathBuf {
    let source = match compiler.source {
        Source::Rustup => "rustup",
        Source::Debian => "debian",
    };
    workspace
        .tools
        .join(format!("bpf-linker-{VERSION}-{source}"))
}

/// What the linker was built for. Holds its own path too, which is compiled into it.
fn stamp(home: &Path, compiler: &Compiler) -> String {
    format!("{} {}\n", compiler.version, home.display())
}

/// The linker for this compiler, if it is there and the LLVM that it was built for still is.
pub(super) fn present(workspace: &Workspace, compiler: &Compiler) -> Option<PathBuf> {
    let home = home(workspace, compiler);
    let built_for = fs::read_to_string(home.join("stamp")).ok()?;
    let linker = home.join("bin/bpf-linker");
    let good = built_for == stamp(&home, compiler)
        && home.join("llvm/lib/libLLVM.so").exists()
        && linker.exists();
    good.then_some(linker)
}

/// Builds the linker.
pub(super) fn install(
    workspace: &Workspace,
    steps: &mut Steps,
    compiler: &Compiler,
) -> Result<PathBuf> {
    let home = home(workspace, compiler);
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    let major = compiler.llvm_major()?;
    let prefix = home.join("llvm");
    borrow_llvm(&prefix.join("lib"), &compiler.llvm, &major)?;
    let scratch = home.join("build");
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--debug",
            "--version",
            VERSION,
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{major}"),
        ])
        .arg("--root")
        .arg(&home)
        // Never the checkout: its lock file and settings are not the linker's.
        .current_dir(&home)
        .env("LLVM_PREFIX", &prefix)
        .env("CARGO_TARGET_DIR", &scratch)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false")
        .env("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false")
        .env_remove("RUSTFLAGS");
    steps.run(
        &format!("build bpf-linker {VERSION} for LLVM {major}"),
        "cargo must reach its registry, and `cc` must work (package gcc)",
        &mut cargo,
    )?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    let path = home.join("stamp");
    fs::write(&path, stamp(&home, compiler))
        .with_context(|| format!("cannot write {}", path.display()))?;
    present(workspace, compiler).context("bpf-linker was built, but is not there")
}

/// Makes a directory in which the compiler's libLLVM is found under the name that linkers look
/// for, and under its own, by which the program loads it.
fn borrow_llvm(directory: &Path, from: &Path, major: &str) -> Result<()> {
    let library = find_llvm(from, major)
        .with_context(|| format!("no libLLVM of version {major} in {}", from.display()))?;
    let own_name = library.file_name().context("a library has no name")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for name in ["libLLVM.so".as_ref(), own_name] {
        let link = directory.join(name);
        symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(())
}

fn find_llvm(directory: &Path, major: &str) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{major}.");
    fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&prefix))
        })
}
