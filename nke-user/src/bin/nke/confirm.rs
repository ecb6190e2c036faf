//! `nke confirm`, and the timer of what is to be confirmed.

use std::{io, os::unix::process::CommandExt as _, path::Path, process::Command};

use clap::Args;
use nke::{
    control::{self, Control, Pending, Standing},
    sys::process::{self, Process},
};
use serde_json::{Value, json};

use crate::{arguments::Format, output};

/// The longest time to confirm something in, in seconds: a week.
const LONGEST: i64 = 7 * 24 * 60 * 60;

/// Keep a change that was made with --confirm
///
/// Without this it goes back by itself when its time is over.
#[derive(Args, Debug)]
pub(crate) struct Confirm {
    /// Only if it is this one, by the number that it was told with
    id: Option<u64>,
    #[command(flatten)]
    format: Format,
}

/// Sleeps until the change is due
#[derive(Args, Debug)]
pub(crate) struct Timer {
    id: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Within {
    /// Go back after this time, unless `nke confirm` is given before
    #[arg(
        long = "confirm",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=LONGEST)
    )]
    pub(crate) seconds: Option<u32>,
}

impl Confirm {
    /// Carries it out.
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let Self { id, format } = self;
        let pending = control.confirm(*id)?;
        let failed = failure(&pending);
        if format.json {
            let what = pending.what();
            let printed = json!({ "id": pending.id, "confirmed": what, "failed": failed });
            return output::print_json(&printed);
        }
        output::line(format_args!(
            "confirmed: {} ({})",
            pending.what(),
            pending.id
        ));
        if let Some(reason) = failed {
            output::line(format_args!("  could not go back: {reason}"));
        }
        Ok(())
    }
}

impl Timer {
    /// Carries it out.
    pub(crate) fn run(&self, state: &Path) -> anyhow::Result<()> {
        Ok(control::wait(state, self.id)?)
    }
}

/// Starts the timer of a change: this very program, once more.
pub(crate) fn start(state: &Path, id: u64) -> io::Result<Process> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("nke").arg("--state");
    command.arg(std::path::absolute(state)?);
    command.args(["confirm-timer", &id.to_string()]);
    process::spawn_detached(&mut command)
}

/// Says how long there is to confirm a change.
pub(crate) fn tell(pending: Option<&Pending>) {
    if let Some(pending) = pending {
        let Pending { id, .. } = pending;
        // Up, as it was asked for: a moment of it is over already.
        let left = pending.left().as_secs_f64().ceil();
        output::line(format_args!(
            "goes back in {left} s, unless `nke confirm {id}` is given"
        ));
    }
}

/// Says how a change stands that is not decided, for those who look.
pub(crate) fn remind(pending: Option<&Pending>) {
    let Some(pending) = pending else { return };
    let (what, id) = (pending.what(), pending.id);
    match pending.standing() {
        Standing::Waiting(left) => output::line(format_args!(
            "{what} waits: it goes back in {} s, unless `nke confirm {id}` is given",
            left.as_secs_f64().ceil()
        )),
        Standing::Failed(reason) => output::line(format_args!(
            "{what} could not go back: {reason}; each command tries again, and `nke confirm {id}` \
             keeps it"
        )),
        Standing::Sealed => output::line(format_args!(
            "{what} is not confirmed, and stays: the host is sealed against every change"
        )),
    }
}

/// Why it could not go back, if it could not.
fn failure(pending: &Pending) -> Option<&str> {
    match pending.standing() {
        Standing::Failed(reason) => Some(reason),
        Standing::Waiting(_) | Standing::Sealed => None,
    }
}

/// Adds it to what is printed as JSON.
pub(crate) fn add(printed: &mut Value, pending: Option<&Pending>) {
    if let (Some(pending), Some(object)) = (pending, printed.as_object_mut()) {
        let state = match pending.standing() {
            Standing::Waiting(_) => "waiting",
            Standing::Failed(_) => "failed",
            Standing::Sealed => "sealed",
        };
        object.insert(
            "confirm".to_owned(),
            json!({
                "id": pending.id,
                "what": pending.what(),
                "state": state,
                "seconds": pending.left().as_secs_f64(),
                "failed": failure(pending),
            }),
        );
    }
}
