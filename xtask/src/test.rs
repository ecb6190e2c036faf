//! Checks, builds and runs every test, and the parsers' fuzzer for a minute.
//!
//! The end-to-end tests run the real command on the real kernel. They are told where things
//! are by two variables, and find them beside their own program when those are not set (as
//! under plain `cargo test`, after `cargo xtask build --debug`):
//!
//! | variable | value | without it |
//! |---|---|---|
//! | `NKE_BIN` | `target/debug/nke` | `../nke`, seen from the test program in `target/debug/deps` |
//! | `NKE_PATH` | `target/lib/nke` | `../../lib/nke`, likewise |

use std::fs;
use std::io;

use anyhow::Result;

use crate::fuzz::parsers::{self, Inputs};
use crate::setup::{self, Want};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{build, check, delegate};

/// How long the parsers are handed spoilt input; `cargo xtask fuzz` does so for longer.
const FUZZ_SECONDS: u64 = 60;

/// What to test.
pub(crate) struct Options {
    /// One package instead of all.
    pub(crate) package: Option<String>,
    /// Whether to check before.
    pub(crate) check: bool,
    /// Arguments for the test programs.
    pub(crate) arguments: Vec<String>,
}

/// Sets up, checks, builds, tests, fuzzes.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, options: &Options) -> Result<()> {
    let Options {
        package,
        check,
        arguments,
    } = options;
    setup::need_root("the tests make namespaces and attach programs")?;
    let toolchain = setup::ensure(workspace, steps, Want::TESTS)?;
    if *check {
        check::run(workspace)?;
    }
    build::extensions(workspace, &toolchain)?;
    // The same selection as below, so that nothing is compiled twice.
    delegate("building", workspace.cargo().args(["build", "--workspace"]))?;
    // Each test that skips adds a line; those of an earlier run say nothing of this one.
    let skipped = workspace.target.join("nke-tests-skipped");
    let _: io::Result<()> = fs::remove_file(&skipped);
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast"]);
    match package {
        Some(package) => cargo.args(["--package", package]),
        None => cargo.arg("--workspace"),
    };
    cargo
        .arg("--")
        .args(arguments)
        .env("NKE_BIN", workspace.binary("debug", "nke"))
        .env("NKE_PATH", workspace.extensions());
    let tested = delegate("the tests", &mut cargo);
    if let Ok(lines) = fs::read_to_string(&skipped) {
        eprintln!("{lines}{} tests skipped", lines.lines().count());
    }
    tested?;
    // Whoever names tests wants no others.
    if package.is_none() && arguments.is_empty() {
        parsers::run(workspace, FUZZ_SECONDS, Inputs::Same)?;
    }
    Ok(())
}
