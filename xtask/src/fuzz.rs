//! The long form of the fuzzer of parsers (`nke-user/src/filter/fuzz.rs`), which the tests run for a
//! second. It needs neither root nor the BPF toolchain, and stops at the first input that breaks
//! something, which it has then written to a file.

use anyhow::Result;

use crate::delegate;
use crate::workspace::Workspace;

/// Runs it for this long, with the release profile.
pub(crate) fn run(workspace: &Workspace, seconds: u64) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--release", "--package", "nke", "--lib", "--"])
        .args(["--nocapture", "filter::fuzz"])
        .env("NKE_FUZZ_SECONDS", seconds.max(2).to_string());
    delegate("the fuzzer", &mut cargo)
}
