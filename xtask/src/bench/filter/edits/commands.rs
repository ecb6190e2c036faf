//! Whole commands: nke's, and those of nftables and iptables.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nke::filter::shapes::Drawn;

use super::MIDDLE;
use crate::bench::filter::tools::iptables::{self, Flavour};
use crate::bench::filter::tools::nftables::{self, Hook};
use crate::bench::filter::tools::nke::{Filter, text};
use crate::bench::samples::Samples;
use crate::bench::stage::{Room, STATE, Stage, run};
use crate::bench::times::{Contest, word};

/// The rule that comes and goes, in nft's words.
const RULE: &str = "tcp dport 7 ip daddr 192.0.2.1 counter drop";

/// A command, and the namespace that it works in, if not the receiver's.
pub(super) struct Command {
    room: Option<Room>,
    contest: Contest,
    /// Where nft is to delete a rule: it must first be told which.
    deletes: Option<Hook>,
}

impl Command {
    const fn new(room: Option<Room>, contest: Contest) -> Self {
        Self {
            room,
            contest,
            deletes: None,
        }
    }

    /// Does it once, and keeps how long it took.
    pub(super) fn round(&mut self, stage: &Stage<'_>, keep: bool) -> Result<()> {
        let work = || match self.deletes {
            Some(hook) => delete_last(hook),
            None => self.contest.time(),
        };
        let time = match &self.room {
            Some(room) => stage.inside(room, work)?,
            None => work()?,
        };
        if keep {
            self.contest.samples.push(time);
        }
        Ok(())
    }

    /// What was measured: key, title, and how long.
    pub(super) fn found(&self) -> (&str, &str, &Samples) {
        let Contest {
            key, name, samples, ..
        } = &self.contest;
        (key, name, samples)
    }
}

pub(super) fn all(
    stage: &mut Stage<'_>,
    nke: &Path,
    [rules, others]: [&[Drawn]; 2],
) -> Result<Vec<Command>> {
    let mut commands = ours(stage, nke, [rules, others])?;
    for hook in [Hook::Ingress, Hook::Prerouting] {
        commands.extend(nft(stage, hook, rules)?);
    }
    let file = iptables::write(stage, &iptables::text(rules))?;
    for flavour in [Flavour::Legacy, Flavour::Nft] {
        commands.extend(xtables(stage, flavour, word(&file)?)?);
    }
    Ok(commands)
}

fn ours(stage: &mut Stage<'_>, nke: &Path, [rules, others]: [&[Drawn]; 2]) -> Result<Vec<Command>> {
    let cable = stage.cable()?;
    Filter::attach(stage, &cable)?;
    let written = |name: &str, rules: &[Drawn]| {
        let file = stage.objects.file(name);
        let written = fs::write(&file, text(rules));
        written.with_context(|| format!("cannot write {}", file.display()))?;
        Ok::<_, anyhow::Error>(file)
    };
    let (file, other) = (written("rules.nke", rules)?, written("others.nke", others)?);
    let (nke, interface) = (word(nke)?, &cable.inside);
    let (file, other) = (word(&file)?, word(&other)?);
    let filter = |verb: &str| format!("{nke} --state {STATE} filter {verb} -i {interface}");
    let at = MIDDLE + 1;
    let add = format!(
        "{} --at {at} drop proto tcp to 192.0.2.1 port 7",
        filter("add")
    );
    let delete = format!("{} {at}", filter("delete"));
    let contests = [
        Contest::new("nke_load", "nke filter load, 10,000 rules")
            .before(format!("{} {other}", filter("load")))
            .timed(format!("{} {file}", filter("load"))),
        Contest::new("nke_add", "nke filter add, among 10,000")
            .timed(add.clone())
            .after(delete.clone()),
        Contest::new("nke_delete", "nke filter delete, among 10,000")
            .before(add)
            .timed(delete),
    ];
    let commands = contests.map(|contest| Command::new(None, contest));
    Ok(commands.into())
}

/// `nft`: all rules at once, in the place of the old ones; one more behind them, and the last one gone.
fn nft(stage: &mut Stage<'_>, hook: Hook, rules: &[Drawn]) -> Result<Vec<Command>> {
    let room = stage.room()?;
    let cable = stage.cable_into(&room)?;
    let (table, key) = (hook.table(), hook.key());
    let mut text = hook.chain(&cable.inside) + &format!("flush table {table}\n");
    text += &nftables::lines(hook, rules);
    let file = stage.objects.file(&format!("rules-{key}.nft"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let title = hook.title();
    let contest = |verb: &str, words: &str| {
        Contest::new(&format!("{key}_{verb}"), &format!("{words} ({title})"))
    };
    let load = contest("load", "nft -f, 10,000 rules").timed(format!("nft -f {}", word(&file)?));
    let add = contest("add", "nft add rule, behind 10,000")
        .timed(format!("nft add rule {table} in {RULE}"));
    let delete = contest("delete", "nft delete rule, of 10,000");
    let at = |contest| Command::new(Some(room.clone()), contest);
    let deletes = Some(hook);
    Ok(vec![
        at(load),
        at(add),
        Command {
            deletes,
            ..at(delete)
        },
    ])
}

/// Milliseconds that nft takes to delete a rule by its handle, which has to be asked for first.
fn delete_last(hook: Hook) -> Result<f64> {
    let add = format!("--echo --handle add rule {} in {RULE}", hook.table());
    let output = run("nft", &add.split(' ').collect::<Vec<_>>())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let handle = text.rsplit("# handle ").next().map(str::trim);
    let handle = handle.context("nft tells no handle")?;
    let delete = format!("delete rule {} in handle {handle}", hook.table());
    let words: Vec<_> = delete.split(' ').collect();
    let began = Instant::now();
    run("nft", &words)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// iptables: all rules at once, in the place of the old ones; one among them, and that one gone.
fn xtables(stage: &mut Stage<'_>, flavour: Flavour, file: &str) -> Result<Vec<Command>> {
    let room = stage.room()?;
    let (command, restore) = (flavour.command(""), flavour.command("-restore"));
    let place = MIDDLE + 1;
    let insert =
        format!("{command} -t raw -I PREROUTING {place} -p tcp -d 192.0.2.1 --dport 7 -j DROP");
    let delete = format!("{command} -t raw -D PREROUTING {place}");
    let contest = |verb: &str, words: &str| {
        let key = format!("{}_{verb}", command.replace('-', "_"));
        Contest::new(&key, words)
    };
    let contests = [
        contest("load", &format!("{restore}, 10,000 rules")).timed(format!("{restore} {file}")),
        contest("add", &format!("{command} -I, among 10,000"))
            .timed(insert.clone())
            .after(delete.clone()),
        contest("delete", &format!("{command} -D, among 10,000"))
            .before(insert)
            .timed(delete),
    ];
    let commands = contests.map(|contest| Command::new(Some(room.clone()), contest));
    Ok(commands.into())
}
