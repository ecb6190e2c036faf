//! `nke seal`: show the host's seal, or raise it.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::Path,
};

use clap::Args;
use nke::{
    control::Control,
    error::Error,
    seal::{self, Level, Sealing, Who},
};
use serde_json::json;

use crate::{arguments::Format, output};

/// Show how far the host is sealed, or seal it further until it boots again
///
/// Level 0 is open. At level 1 no object is loaded that was not: no new extension, no upgrade. At
/// level 2 nothing is loaded, unloaded, attached, detached or changed through nke. A level holds for
/// the whole host, whatever --state says. It can be raised and never lowered: only a reboot lifts it.
///
/// Where BPF programs can be at LSM hooks, the kernel refuses others too: at level 1 to load programs, by
/// whatever command, and to touch nke's state; at level 2 to attach, replace or detach any.
#[derive(Args, Debug)]
pub(crate) struct Seal {
    /// The level to raise it to: 0, 1 or 2; left out, the level in force is shown
    level: Option<Level>,
    /// Do not ask first
    #[arg(long, requires = "level")]
    yes: bool,
    /// Have nke alone refuse: other users of BPF go on as they like
    #[arg(long, requires = "level")]
    nke_only: bool,
    #[command(flatten)]
    format: Format,
}

impl Seal {
    /// Carries it out.
    pub(crate) fn run(&self, state: &Path) -> anyhow::Result<()> {
        let Self {
            level,
            yes,
            nke_only,
            format,
        } = self;
        if let Some(level) = level {
            let who = if *nke_only { Who::Nke } else { Who::Kernel };
            let raised = match who {
                Who::Kernel => *level > seal::kernel_level(),
                Who::Nke => *level > seal::level()?,
            };
            if raised && !yes && !confirmed(*level, who) {
                return Err(Error::NotConfirmed.into());
            }
            tell(&Control::seal(state, *level, who)?);
        }
        let (now, kernel) = (seal::level()?, seal::kernel_level());
        if format.json {
            return output::print_json(&json!({
                "level": now.number(),
                "meaning": now.meaning(),
                "kernel": kernel.number(),
            }));
        }
        output::line(format_args!("seal level {now}: {}", now.meaning()));
        if kernel > Level::Open {
            output::line(format_args!(
                "the kernel refuses others too, at level {kernel}"
            ));
        } else if now > Level::Open {
            output::line(format_args!("only nke itself refuses, not the kernel"));
        }
        Ok(())
    }
}

/// Says what was wanted and is not so.
fn tell(sealing: &Sealing) {
    let Sealing {
        unavailable,
        not_frozen,
    } = sealing;
    if let Some(why) = unavailable {
        output::complain(format_args!("nke: seal: only nke itself refuses: {why}"));
    }
    for map in not_frozen {
        output::complain(format_args!(
            "nke: seal: {map} can still be written: the kernel freezes no such map"
        ));
    }
}

/// Says what it will do, and asks a person; who is none says --yes.
fn confirmed(level: Level, who: Who) -> bool {
    output::complain(format_args!(
        "this seals the host at level {level}: {}.{} Nothing but a reboot lifts it.",
        level.meaning(),
        match who {
            Who::Kernel => " Where it can, the kernel refuses other tools as well.",
            Who::Nke => "",
        }
    ));
    if !io::stdin().is_terminal() {
        return false;
    }
    output::complain(format_args!("Type yes to do it:"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim() == "yes"
}
