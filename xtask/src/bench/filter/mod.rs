//! What the packet filter costs, beside a bare program, xdp-filter, nftables and iptables, with the same
//! rules for each.
//!
//! ```text
//! cargo xtask bench filter                 # everything; a quarter of an hour at most
//! cargo xtask bench filter --quick         # two minutes, and wider spreads
//! cargo xtask bench filter --only edits    # one part
//! ```
//!
//! Rules are drawn from a seed in the shapes that firewalls have, and packets such as rules match. What a
//! packet costs is measured under live traffic, sender and receiver on one core, and the program's own part by
//! `BPF_PROG_TEST_RUN`.

mod candidate;
mod costs;
mod edits;
mod frames;
mod members;
mod memory;
mod pass;
mod plot;
mod sets;
mod tools;

use std::path::Path;

use anyhow::Result;

use super::Effort;
use super::report::Report;
use super::stage::Stage;

/// How many rules.
const SIZES: [usize; 4] = [1, 100, 1000, 10_000];

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// What a packet costs that is dropped, by one rule and by many
    Costs,
    /// What a packet costs that no rule matches
    Pass,
    /// What a packet costs that a set of many addresses drops
    Sets,
    /// How long it takes to load rules and to edit one of them, and what they take of memory
    Edits,
}

/// All parts, in order.
pub(super) const PARTS: [Part; 4] = [Part::Costs, Part::Pass, Part::Sets, Part::Edits];

pub(super) fn measure(
    stage: &mut Stage<'_>,
    part: Part,
    effort: Effort,
    nke: &Path,
    report: &mut Report,
) -> Result<()> {
    match part {
        Part::Costs => costs::measure(stage, effort, report),
        Part::Pass => pass::measure(stage, effort, report),
        Part::Sets => sets::measure(stage, effort, nke, report),
        Part::Edits => edits::measure(stage, effort, nke, report),
    }
}
