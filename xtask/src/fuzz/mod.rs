//! The fuzzers: the tests run both for a minute, and this for longer.
//!
//! - what others have written, by every parser ([`parsers`]), for a quarter of the time;
//! - packets through the filter's program in the kernel (`tests/tests/packet_filter/fuzz`), with named sets and without, for the
//!   rest of it;
//! - and then rule sets as firewalls have them, a million packets in all (`shapes.rs`).
//!
//! All of it in the release profile. It stops at the first input that breaks something, which is
//! then in a file. Nothing is attached to an interface that was there before.

pub(crate) mod parsers;

use anyhow::Result;

use self::parsers::Inputs;
use crate::setup::{self, Want};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{build, delegate};

/// Packets for each of the 24 rule sets of `shapes.rs`: a million.
const PACKETS: u64 = 42_000;

/// Sets up, builds, and runs them.
pub(crate) fn run(
    workspace: &Workspace,
    steps: &mut Steps,
    minutes: u64,
    only_parsers: bool,
) -> Result<()> {
    let seconds = minutes * 60;
    if only_parsers {
        setup::ensure(workspace, steps, Want::TESTS)?;
        return parsers::run(workspace, seconds, Inputs::Others);
    }
    setup::need_root("the fuzzer loads programs")?;
    let toolchain = setup::ensure(workspace, steps, Want::TESTS)?;
    let parsing = seconds / 4;
    parsers::run(workspace, parsing, Inputs::Others)?;
    build::command(workspace, true)?;
    build::extensions(workspace, &toolchain)?;
    let runs = [
        ("fuzz", "NKE_FUZZ_SECONDS", seconds - parsing),
        ("shapes", "NKE_PACKETS", PACKETS),
    ];
    for (tests, name, value) in runs {
        let mut cargo = workspace.cargo();
        cargo
            .args(["test", "--release"])
            .args(["--package", "nke-tests", "--test", "packet_filter"])
            .args(["--", "--nocapture", tests])
            .env("NKE_BIN", workspace.binary("release", "nke"))
            .env("NKE_PATH", workspace.extensions())
            .env(name, value.to_string());
        delegate("the fuzzer", &mut cargo)?;
    }
    Ok(())
}
