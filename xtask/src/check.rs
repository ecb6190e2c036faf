//! What is checked without running anything: formatting, lints, docs, the rules of the house.
//!
//! `cargo xtask test` does all of this first, and CI runs nothing but `cargo xtask test`.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{delegate, tidy};

/// The code that ordinary builds leave out. Not the extensions: they are not for this machine.
const EVERYTHING: &str = "xtask/bench";

/// The fuzz target. Its parts that are worth a lint are in the library.
const FUZZ: &str = "nke-user/fuzz/Cargo.toml";

/// Runs every check, the quick ones first.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    tidy::check(&workspace.root)?;
    delegate(
        "formatting (cargo fmt makes it right)",
        workspace.cargo().args(["fmt", "--all", "--check"]),
    )?;
    // A workspace of its own.
    delegate(
        "formatting of the fuzz target",
        workspace
            .cargo()
            .args(["fmt", "--check", "--manifest-path", FUZZ]),
    )?;
    delegate(
        "lints",
        workspace.cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            EVERYTHING,
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    delegate(
        "docs",
        workspace
            .cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--features",
                EVERYTHING,
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
