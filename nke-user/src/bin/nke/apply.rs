//! `nke apply`, `nke diff` and `nke save`: the whole of what is declared, at once.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use nke::{
    control::{Terms, Timer},
    declare::{
        self, Declaration, SetBecomes, SetReport, SettingChange,
        plan::{Plan, Upgrading},
        report::{Becomes, ChainReport, Report},
    },
    error::Error,
    filter::{KnownSets, added_by_load},
    hook::Kind,
};

use crate::{
    arguments::{Arguments, Format},
    confirm::{self, Within},
    open, output,
};

/// Bring the system to a declared state
///
/// Each chain that is declared becomes what is declared of it, whole, by one step: what is attached
/// there and not declared goes, and what stays keeps its id, counters and rules. Other chains are
/// left alone, unless --prune is said. Applying again changes nothing.
///
/// What is declared of an interface, a namespace or a cgroup that is not there yet is told as
/// waiting, and comes with the next apply; that is no error. So is a rule that names such an
/// interface: it matches nothing until then. What would cut the SSH connection that you sit at is
/// refused, unless --force is said.
#[derive(Args, Debug)]
pub(crate) struct Apply {
    #[command(flatten)]
    what: Declared,
    /// Even if it cuts your own SSH connection
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    within: Within,
}

/// Show what `apply` would change
///
/// Exit status: 0 if nothing would change, 1 if something would, more if it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    #[command(flatten)]
    what: Declared,
}

#[derive(Args, Debug)]
struct Declared {
    /// A file of TOML, - for standard input, or a directory: its files *.toml, in their order
    #[arg(value_name = "FILE|DIR")]
    declaration: PathBuf,
    /// Also take away what no declaration covers: attachments, policies, load counts
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    format: Format,
}

/// Write what runs, such that `apply` brings it back
#[derive(Args, Debug)]
pub(crate) struct Save {
    /// The file to write; without one, standard output
    file: Option<PathBuf>,
}

impl Apply {
    pub(crate) fn run(&self, arguments: &Arguments) -> anyhow::Result<()> {
        let Declared {
            declaration,
            prune,
            format,
        } = &self.what;
        // A mistake in a file costs nobody the lock.
        let declaration = Declaration::read(declaration)?;
        let mut control = open::open(&arguments.state)?;
        let terms = Terms {
            prune: *prune,
            force: self.force,
        };
        let (plan, pending) = match self.within.seconds {
            Some(seconds) => {
                let start = &|id| confirm::start(&arguments.state, id);
                control.apply_to_confirm(&declaration, terms, &Timer { seconds, start })?
            }
            None => (control.apply(&declaration, terms)?, None),
        };
        tell_shut_out(&plan);
        if format.json {
            let mut printed = serde_json::to_value(Report::from(&plan))?;
            confirm::add(&mut printed, pending.as_ref());
            output::print_json(&printed)?;
        } else {
            told(&plan);
            confirm::tell(pending.as_ref());
        }
        Ok(())
    }
}

impl Diff {
    pub(crate) fn run(&self, arguments: &Arguments) -> anyhow::Result<ExitCode> {
        let Declared {
            declaration,
            prune,
            format,
        } = &self.what;
        let declaration = Declaration::read(declaration)?;
        let plan = open::look(&arguments.state)?.plan(&declaration, *prune)?;
        tell_shut_out(&plan);
        if format.json {
            output::print_json(&serde_json::to_value(Report::from(&plan))?)?;
        } else {
            for line in declare::unified(&plan).lines() {
                output::line(format_args!("{line}"));
            }
        }
        Ok(ExitCode::from(u8::from(!plan.is_empty())))
    }
}

impl Save {
    pub(crate) fn run(&self, arguments: &Arguments) -> anyhow::Result<()> {
        let (declaration, lost) = open::look(&arguments.state)?.save()?;
        let mut text = declare::text(&declaration);
        for lost in lost {
            text += &format!("# not saved: {lost}\n");
        }
        let Some(path) = &self.file else {
            for line in text.lines() {
                output::line(format_args!("{line}"));
            }
            return Ok(());
        };
        // Whoever reads the file has all of the old one or all of the new.
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|source| Error::Write {
                path: path.clone(),
                source,
            })?;
        Ok(())
    }
}

/// Says of which declared rules the default drops what the neighbours find the host by. Nothing is added to them: what is in force is
/// what was declared.
fn tell_shut_out(plan: &Plan) {
    for chain in &plan.chains {
        let (hook, place) = (chain.hook, &chain.place);
        // At the IP layer neighbours have been found.
        let rules = chain.wanted.slots.iter().flat_map(|slot| &slot.rules);
        for rules in rules.filter(|_| hook.row().kind == Kind::Interface) {
            let lacking = added_by_load(rules, &[hook], &KnownSets::default());
            if !lacking.is_empty() {
                let lacking: Vec<_> = lacking.iter().map(|rule| format!("`{rule}`")).collect();
                output::note(format_args!(
                    "{hook} of {place}: the default drops what neighbours find this host by; what would pass it: {}",
                    lacking.join(", ")
                ));
            }
        }
    }
}

/// Prints what was done.
fn told(plan: &Plan) {
    let Report {
        changes,
        upgrades,
        load,
        release,
        chains,
        sets,
        settings,
        waiting,
    } = Report::from(plan);
    for Upgrading {
        extension,
        from,
        to,
    } in upgrades
    {
        output::line(format_args!("upgraded {extension} from {from} to {to}"));
    }
    for name in load {
        output::line(format_args!("loaded {name}"));
    }
    for name in release {
        output::line(format_args!("released {name}"));
    }
    for chain in &chains {
        output::line(format_args!(
            "{} of {}: {}",
            chain.hook,
            chain.place,
            summed(chain)
        ));
    }
    for set in &sets {
        output::line(format_args!(
            "set {} of {}: {}",
            set.set,
            set.extension,
            summed_set(set)
        ));
    }
    for SettingChange {
        extension,
        setting,
        wanted,
        ..
    } in settings
    {
        output::line(format_args!("set {extension}: {setting} = {wanted}"));
    }
    if !changes {
        output::line(format_args!("nothing to change"));
    }
    for wait in waiting {
        output::line(format_args!(
            "waiting for {}: {} ({})",
            wait.place, wait.what, wait.origin
        ));
    }
}

/// A set's changes in a few words.
fn summed_set(set: &SetReport) -> String {
    let becomes = match set.becomes {
        SetBecomes::Made => Some("made".to_owned()),
        SetBecomes::Removed => return "removed".to_owned(),
        SetBecomes::Changed => None,
    };
    let counts = [(set.added, "added"), (set.removed, "removed")];
    let said = counts.iter().filter(|(count, _)| *count > 0);
    let said = said.map(|(count, word)| format!("{} {word}", output::count(*count, "member")));
    let words: Vec<_> = becomes.into_iter().chain(said).collect();
    if words.is_empty() {
        return "another timeout".to_owned();
    }
    words.join(", ")
}

/// A chain's changes in a few words.
fn summed(chain: &ChainReport) -> String {
    let rules = chain.attachments.iter().filter(|a| a.rules_change).count();
    let counts = [
        (chain.count(Becomes::Attached), "attached"),
        (chain.count(Becomes::Detached), "detached"),
        (chain.count(Becomes::Changes), "changed"),
        (rules, "with other rules"),
    ];
    let said = counts.iter().filter(|(count, _)| *count > 0);
    let mut words: Vec<_> = said
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if chain.policy_changes {
        words.push(format!("policy {}", chain.policy));
    }
    if words.is_empty() {
        words.push("another order".to_owned());
    }
    words.join(", ")
}
