//! `nke unload`: one request less, and the extension's end with the last.

use clap::Args;
use nke::control::{self, Control, Holder, Unloaded};

use crate::output;

#[derive(Args, Debug)]
pub(crate) struct Unload {
    /// The extension's name
    name: String,
    /// Detach it, wait until no packet is in it any more and all of it is freed
    #[arg(long)]
    wait: bool,
    /// Detach it, and do not mind what its exit program says
    #[arg(long)]
    force: bool,
    /// Print what went wrong only
    #[arg(short, long)]
    quiet: bool,
}

impl Unload {
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let Self {
            name,
            wait,
            force,
            quiet,
        } = self;
        let how = control::Unload {
            wait: *wait,
            force: *force,
        };
        let unloaded = control.unload(name, how)?;
        if *quiet {
            return Ok(());
        }
        match unloaded {
            Unloaded::Released(holders) => {
                let holders: Vec<_> = holders.iter().map(Holder::to_string).collect();
                let holders = holders.join(", ");
                output::line(format_args!("released {name}, still held by {holders}"));
            }
            Unloaded::Gone { detached, veto } => {
                for attachment in detached {
                    output::line(format_args!("detached {attachment}"));
                }
                let against =
                    veto.map(|answer| format!(", though its exit program answered {answer}"));
                output::line(format_args!(
                    "unloaded {name}{}",
                    against.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}
