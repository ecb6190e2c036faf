//! Builds the command with the user's stable compiler, and the bundled extensions with the BPF
//! toolchain.
//!
//! Cargo decides in both what is out of date. The objects then go, without their debug
//! information, to where the command looks for them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::delegate;
use crate::setup::Toolchain;
use crate::strip::strip;
use crate::workspace::Workspace;

/// What has the linker make a program that stands alone at a fixed address.
const WHOLE: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
];

/// Builds `nke`. What is released stands alone at a fixed address: the command lives for about a
/// millisecond, a third of which a dynamic loader would take.
pub(crate) fn command(workspace: &Workspace, release: bool) -> Result<()> {
    let mut cargo = workspace.cargo();
    if release {
        cargo
            .args([
                "rustc",
                "--release",
                "--package",
                "nke",
                "--bin",
                "nke",
                "--",
            ])
            .args(WHOLE);
    } else {
        cargo.args(["build", "--package", "nke"]);
    }
    delegate("building nke", &mut cargo)
}

/// Builds `nke` for debugging, but standing alone as the released one does: it is what the kernel of a
/// sealed host trusts.
pub(crate) fn whole_command(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["rustc", "--package", "nke", "--bin", "nke", "--"])
        .args(WHOLE);
    delegate("building nke", &mut cargo)
}

/// Builds the bundled extensions and the SDK's examples, and puts their objects into place.
pub(crate) fn extensions(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let is_example = |object: &PathBuf| object.parent().is_some_and(|at| at.ends_with("examples"));
    let objects = compile(workspace, toolchain)?.into_iter();
    let (examples, bundled): (Vec<_>, Vec<_>) = objects.partition(is_example);
    let home = workspace.extensions();
    keep(&bundled, &home)?;
    // Not where `nke` searches: that does not look into directories.
    keep(&examples, &home.join("examples"))?;
    let count = bundled.len();
    eprintln!("{count} extensions in {}", workspace.short(&home).display());
    Ok(())
}

/// Has a directory hold these objects and no others.
fn keep(objects: &[PathBuf], home: &Path) -> Result<()> {
    fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut kept = Vec::new();
    for object in objects {
        let name = object.file_name().context("an object has no name")?;
        let place = home.join(name).with_extension("o");
        let bytes =
            fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        let bytes = strip(&bytes).with_context(|| format!("{}", object.display()))?;
        put(&place, &bytes)?;
        kept.push(place);
    }
    // An extension that was renamed must not live on as a file.
    for entry in fs::read_dir(home).with_context(|| format!("cannot read {}", home.display()))? {
        let path = entry.context("cannot read a directory entry")?.path();
        if path.extension().is_some_and(|end| end == "o") && !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Compiles, and returns the files that cargo says it made.
fn compile(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<PathBuf>> {
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&workspace.root)
        .args([
            "build",
            "--package",
            "nke-ebpf",
            "--features",
            "bpf",
            "--bins",
            "--examples",
        ])
        .args(["--release", "--target", target(), "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(workspace.target.join("bpf"))
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .with_context(|| format!("cannot run {}", cargo.get_program().display()))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut objects = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo says")?;
        objects.extend(executable(&line));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(
        status.success(),
        "building the extensions failed ({status})"
    );
    objects.sort();
    Ok(objects)
}

/// The program that a line of cargo's report says was made.
fn executable(line: &str) -> Option<PathBuf> {
    let report: Value = serde_json::from_str(line).ok()?;
    report.get("executable")?.as_str().map(PathBuf::from)
}

/// The BPF target of this machine's byte order.
fn target() -> &'static str {
    if cfg!(target_endian = "little") {
        "bpfel-unknown-none"
    } else {
        "bpfeb-unknown-none"
    }
}

/// Writes aside and renames: whoever loads it at that moment gets the old object or the new
/// one, whole. What would change nothing is left alone.
fn put(place: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(place).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let aside = place.with_extension("new");
    fs::write(&aside, bytes).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, place).with_context(|| format!("cannot make {}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::executable;
    use std::path::PathBuf;

    #[test]
    fn only_a_report_of_a_program_names_one() {
        let made = r#"{"reason":"compiler-artifact","executable":"/t/counter"}"#;
        assert_eq!(executable(made), Some(PathBuf::from("/t/counter")));
        assert_eq!(executable(r#"{"executable":null}"#), None);
        assert_eq!(executable("not json"), None);
    }
}
