//! The long form of the tests that do the same work again and again (`tests/tests/soak`): a hundred
//! thousand loads, ten thousand upgrades under traffic, sixty-four commands at once for a minute.
//!
//! It takes the release build, and a machine that does nothing else: what the whole kernel holds is
//! compared.

use anyhow::Result;

use crate::setup::{self, Want};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{build, delegate};

/// Sets up, builds, soaks. `filter` chooses tests by a part of their names.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, filter: &[String]) -> Result<()> {
    setup::need_root("the soak makes namespaces and attaches programs")?;
    let toolchain = setup::ensure(workspace, steps, Want::TESTS)?;
    build::command(workspace, true)?;
    build::extensions(workspace, &toolchain)?;
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "nke-tests", "--test", "soak", "--"])
        .args(["--nocapture", "--test-threads=1"])
        .args(filter)
        .env("NKE_SOAK", "1")
        .env("NKE_BIN", workspace.binary("release", "nke"))
        .env("NKE_PATH", workspace.extensions());
    delegate("the soak", &mut cargo)
}
