//! `nke seal`: show the host's seal, or raise it.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::Path,
};

use clap::Args;
use nke::{
    control::Control,
    error::Error,
    seal::{self, Level},
};
use serde_json::json;

use crate::{arguments::Format, output};

/// Show how far the host is sealed, or seal it further until it boots again
///
/// Level 0 is open. At level 1 no object is loaded that was not: no new extension, no upgrade. At
/// level 2 nothing is loaded, unloaded, attached, detached or changed through nke. A level holds for
/// the whole host, whatever --state says. It can be raised and never lowered: only a reboot lifts it.
#[derive(Args, Debug)]
pub(crate) struct Seal {
    /// The level to raise it to: 0, 1 or 2; left out, the level in force is shown
    level: Option<Level>,
    /// Do not ask first
    #[arg(long, requires = "level")]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

impl Seal {
    /// Carries it out.
    pub(crate) fn run(&self, state: &Path) -> anyhow::Result<()> {
        let Self { level, yes, format } = self;
        if let Some(level) = level {
            if *level > seal::level()? && !yes && !confirmed(*level) {
                return Err(Error::NotConfirmed.into());
            }
            Control::seal(state, *level)?;
        }
        let now = seal::level()?;
        if format.json {
            return output::print_json(&json!({ "level": now.number(), "meaning": now.meaning() }));
        }
        output::line(format_args!("seal level {now}: {}", now.meaning()));
        Ok(())
    }
}

/// Says what it will do, and asks a person; who is none says --yes.
fn confirmed(level: Level) -> bool {
    output::complain(format_args!(
        "this seals the host at level {level}: {}. Nothing but a reboot lifts it.",
        level.meaning()
    ));
    if !io::stdin().is_terminal() {
        return false;
    }
    output::complain(format_args!("Type yes to do it:"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim() == "yes"
}
