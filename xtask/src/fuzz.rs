//! The long form of the packet filter's fuzzers, which the tests run for seconds:
//!
//! - the parsers (`nke-user/src/filter/fuzz.rs`), for a quarter of the time;
//! - packets through the filter's program in the kernel (`tests/tests/packet_filter/fuzz`), with named sets and without, for the
//!   rest of it;
//! - and then rule sets as firewalls have them, a million packets in all (`shapes.rs`).
//!
//! All of it in the release profile. It stops at the first input that breaks something, which is
//! then in a file. Nothing is attached to an interface that was there before.

use anyhow::Result;

use crate::setup::{self, Want};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{build, delegate};

/// Packets for each of the 24 rule sets of `shapes.rs`: a million.
const PACKETS: u64 = 42_000;

/// Sets up, builds, and runs them.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, minutes: u64) -> Result<()> {
    setup::need_root("the fuzzer loads programs")?;
    let toolchain = setup::ensure(workspace, steps, Want::TESTS)?;
    build::command(workspace, true)?;
    build::extensions(workspace, &toolchain)?;
    let seconds = minutes * 60;
    let parsers = ["--package", "nke", "--lib"];
    let packets = ["--package", "nke-tests", "--test", "packet_filter"];
    let parsing = seconds / 4;
    let runs: [(&[&str], _, _, _); 3] = [
        (&parsers, "filter::fuzz", "NKE_FUZZ_SECONDS", parsing),
        (&packets, "fuzz", "NKE_FUZZ_SECONDS", seconds - parsing),
        (&packets, "shapes", "NKE_PACKETS", PACKETS),
    ];
    for (selection, tests, name, value) in runs {
        let mut cargo = workspace.cargo();
        cargo
            .args(["test", "--release"])
            .args(selection)
            .args(["--", "--nocapture", tests])
            .env("NKE_BIN", workspace.binary("release", "nke"))
            .env("NKE_PATH", workspace.extensions())
            .env(name, value.to_string());
        delegate("the fuzzer", &mut cargo)?;
    }
    Ok(())
}
