//! `nke upgrade` and `nke rollback`.

use clap::Args;
use nke::{
    control::{self, Control, MapFate, Upgraded},
    find::Wanted,
};
use serde_json::json;

use crate::{arguments::Format, output};

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
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let Self {
            extension,
            force,
            reset_maps,
            format,
        } = self;
        let upgraded = control.upgrade(&control::Upgrade {
            extension: extension.clone(),
            force: *force,
            reset_maps: reset_maps.iter().cloned().collect(),
        })?;
        print("upgraded", &upgraded, format.json)
    }
}

impl Rollback {
    /// Carries it out.
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let Self { name, from, format } = self;
        print("rolled back", &control.rollback(name, *from)?, format.json)
    }
}

fn print(done: &str, upgraded: &Upgraded, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&json!(upgraded));
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
    Ok(())
}
