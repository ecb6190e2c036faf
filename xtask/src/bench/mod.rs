//! Measurements. Nothing here is a test.
//!
//! What is compared is measured in the same run, in rounds that interleave all candidates, pinned to
//! one core, and told as the median with its spread. A benchmark makes its own namespaces and its own
//! state directory and never touches another interface; nothing of it is left behind, whether it ends
//! well, fails or is interrupted.
//!
//! ```text
//! cargo xtask bench chain            # a table; some five minutes
//! cargo xtask bench chain --quick    # the same in one, less exact
//! cargo xtask bench chain --json
//! cargo xtask bench layers           # what a node costs at the IP and socket hooks
//! cargo xtask bench filter           # what rules cost, beside xdp-filter, nftables and iptables
//! cargo xtask bench lifecycle        # load, attach, upgrade and apply of 32 extensions on 16 interfaces
//! ```

mod edits;
mod filter;
mod layers;
mod leaks;
mod lifecycle;
mod live;
mod nodes;
mod objects;
mod report;
mod rotation;
mod samples;
mod stage;
mod times;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use self::objects::Objects;
use self::report::Report;
use self::stage::Stage;
use crate::workspace::Workspace;

/// Measure nke
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What a chain costs: a node, an edit under traffic, an attachment, a thousand rounds
    Chain {
        /// Print numbers for programs instead of tables for people
        #[arg(long)]
        json: bool,
        /// Fewer rounds: a minute instead of five, and wider spreads
        #[arg(long)]
        quick: bool,
        /// Only these parts
        #[arg(long, value_enum)]
        only: Vec<Part>,
    },
    /// What a node costs at the IP and socket hooks, beside nftables and the kernel's own lists
    Layers {
        /// Print numbers for programs instead of tables for people
        #[arg(long)]
        json: bool,
        /// Fewer rounds, and wider spreads
        #[arg(long)]
        quick: bool,
    },
    /// What rules cost a packet and an edit, beside xdp-filter, nftables and iptables
    Filter {
        /// Print numbers for programs instead of tables for people
        #[arg(long)]
        json: bool,
        /// Fewer rounds: two minutes instead of ten, and wider spreads
        #[arg(long)]
        quick: bool,
        /// Only these parts
        #[arg(long, value_enum)]
        only: Vec<filter::Part>,
    },
    /// How long load, attach, upgrade and apply take with 32 extensions on 16 interfaces
    Lifecycle {
        /// Print numbers for programs instead of tables for people
        #[arg(long)]
        json: bool,
        /// Fewer rounds, and wider spreads
        #[arg(long)]
        quick: bool,
    },
}

/// A part of the measurement.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The cost of a node by BPF_PROG_TEST_RUN, beside a dispatcher
    Nodes,
    /// The cost of a node under live traffic, beside TCX
    Live,
    /// Packets lost over edits at full rate
    Edits,
    /// The time of an attachment and of an edit, beside other loaders
    Times,
    /// What is left after many rounds
    Leaks,
    /// The cost of a node above the interface: a measurement of its own
    #[value(skip)]
    Layers,
    /// A part of what rules cost: a measurement of its own
    #[value(skip)]
    Filter(filter::Part),
    /// The time of the manager's verbs: a measurement of its own
    #[value(skip)]
    Lifecycle,
}

const PARTS: [Part; 5] = [
    Part::Nodes,
    Part::Live,
    Part::Edits,
    Part::Times,
    Part::Leaks,
];

/// How much is measured. Many short rounds tell more than a few long ones: whatever else the machine
/// does comes in bursts, and the median passes over those.
#[derive(Clone, Copy)]
struct Effort {
    /// Rounds over all candidates.
    rounds: usize,
    /// Packets of a candidate in a round.
    packets: u32,
    /// Edits of each kind under traffic.
    edits: usize,
    /// Rounds of load, attach, detach, unload.
    cycles: usize,
    /// Members of a large set.
    members: usize,
}

const FULL: Effort = Effort {
    rounds: 60,
    packets: 250_000,
    edits: 1000,
    cycles: 1000,
    members: 1_000_000,
};
const QUICK: Effort = Effort {
    rounds: 10,
    packets: 100_000,
    edits: 100,
    cycles: 100,
    members: 100_000,
};

/// Runs the measurement that the arguments name.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let program = ["cargo xtask bench".to_owned()];
    let arguments = Arguments::parse_from(program.iter().chain(arguments));
    let workspace = Workspace::find()?;
    let objects = Objects::compile(&workspace)?;
    match arguments.what {
        What::Chain { json, quick, only } => {
            let wanted = |part: &Part| only.is_empty() || only.contains(part);
            let parts: Vec<_> = PARTS.into_iter().filter(wanted).collect();
            measure(&workspace, &objects, quick, &parts)?.print(json)
        }
        What::Layers { json, quick } => {
            measure(&workspace, &objects, quick, &[Part::Layers])?.print(json)
        }
        What::Filter { json, quick, only } => {
            let wanted = |part: &filter::Part| only.is_empty() || only.contains(part);
            let parts = filter::PARTS.into_iter().filter(wanted);
            let parts: Vec<_> = parts.map(Part::Filter).collect();
            measure(&workspace, &objects, quick, &parts)?.print(json)
        }
        What::Lifecycle { json, quick } => {
            measure(&workspace, &objects, quick, &[Part::Lifecycle])?.print(json)
        }
    }
}

fn measure(
    workspace: &Workspace,
    objects: &Objects,
    quick: bool,
    parts: &[Part],
) -> Result<Report> {
    let effort = if quick { QUICK } else { FULL };
    let command = std::env::var_os("NKE_BIN")
        .map_or_else(|| workspace.binary("release", "nke"), PathBuf::from);
    let mut report = Report::new(effort);
    for part in parts {
        // Each part has a stage of its own, so that none leaves anything to the next.
        let mut stage = Stage::build(objects)?;
        let done = match part {
            Part::Nodes => nodes::measure(&mut stage, effort, &mut report),
            Part::Live => live::measure(&mut stage, effort, &mut report),
            Part::Edits => edits::measure(&mut stage, effort, &mut report),
            Part::Times => times::measure(&mut stage, effort, &command, &mut report),
            Part::Leaks => leaks::measure(&mut stage, effort, &mut report),
            Part::Layers => layers::measure(&mut stage, effort, &mut report),
            Part::Filter(part) => filter::measure(&mut stage, *part, effort, &command, &mut report),
            Part::Lifecycle => lifecycle::measure(&mut stage, effort, &command, &mut report),
        };
        // Of an interrupted call, the interruption is the better news.
        let interrupted = stage.check();
        stage.strike();
        interrupted?;
        done.context("the benchmark did not come to its end")?;
    }
    Ok(report)
}
