//! `nke upgrade` and `nke rollback`.

use std::path::Path;

use clap::Args;
use nke::{
    control::{self, Carried, Control, MapFate, Pending, Upgraded},
    find::Wanted,
};
use serde_json::json;

use crate::{
    arguments::Format,
    confirm::{self, Within},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct Upgrade {
    /// A loaded extension's name, for the newest on the search path; or the new version's file, a
    /// path (what holds a '/')
    extension: Wanted,
    /// Take a version that is not newer too
    #[arg(long)]
    force: bool,
    /// Give up what is in this map, which has changed; may be given several times
    #[arg(long, value_name = "MAP")]
    reset_maps: Vec<String>,
    /// Give up the value that this constant was given by `load --set`; may be given several times
    #[arg(long, value_name = "SETTING")]
    reset_settings: Vec<String>,
    #[command(flatten)]
    within: Within,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The extension's name
    name: String,
    /// Only if it is this kmid that is loaded
    #[arg(long, value_name = "KMID", hide = true)]
    from: Option<u32>,
    #[command(flatten)]
    format: Format,
}

impl Upgrade {
    /// Carries it out.
    pub(crate) fn run(&self, control: &mut Control, state: &Path) -> anyhow::Result<()> {
        let Self {
            extension,
            force,
            reset_maps,
            reset_settings,
            within,
            format,
        } = self;
        let upgrade = control::Upgrade {
            extension: extension.clone(),
            force: *force,
            reset_maps: reset_maps.iter().cloned().collect(),
            reset_settings: reset_settings.iter().cloned().collect(),
        };
        let (upgraded, pending) = match within.seconds {
            Some(seconds) => {
                let start = &|id| confirm::start(state, id);
                control.upgrade_to_confirm(&upgrade, &control::Timer { seconds, start })?
            }
            None => (control.upgrade(&upgrade)?, None),
        };
        print("upgraded", &upgraded, pending.as_ref(), format.json)
    }
}

impl Rollback {
    /// Carries it out.
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let Self { name, from, format } = self;
        let done = control.rollback(name, *from)?;
        print("rolled back", &done, None, format.json)
    }
}

fn print(
    done: &str,
    upgraded: &Upgraded,
    pending: Option<&Pending>,
    as_json: bool,
) -> anyhow::Result<()> {
    if as_json {
        let mut printed = json!(upgraded);
        confirm::add(&mut printed, pending);
        return output::print_json(&printed);
    }
    let Upgraded {
        name,
        from,
        to,
        kmid,
        changed,
        chains,
        attachments,
        maps,
        settings,
    } = upgraded;
    if !changed {
        output::line(format_args!("{name} {to} is loaded already (kmid {kmid})"));
        return Ok(());
    }
    output::line(format_args!(
        "{done} {name} from {from} to {to} (kmid {kmid}), {} in {}",
        output::count(*attachments, "attachment"),
        output::count(*chains, "chain"),
    ));
    for (words, fate) in [
        ("kept", MapFate::Kept),
        ("copied", MapFate::Copied),
        ("new", MapFate::New),
        ("as before", MapFate::Restored),
        ("gone", MapFate::Gone),
    ] {
        let names = maps.iter().filter(|map| map.fate == fate);
        let names: Vec<_> = names.map(|map| map.name.as_str()).collect();
        if !names.is_empty() {
            output::line(format_args!("  maps {words}: {}", names.join(", ")));
        }
    }
    for Carried { name, value } in settings {
        output::line(format_args!("  setting kept: {name} = {value}"));
    }
    confirm::tell(pending);
    Ok(())
}
