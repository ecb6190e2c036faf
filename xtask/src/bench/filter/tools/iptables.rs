//! iptables' table `raw`, in a namespace of its own: the old kernel side, or nftables in its place.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nke::filter::shapes::Drawn;

use super::{Counts, Laid, ports, prefix, sum_behind};
use crate::bench::stage::{Room, Stage, run};

/// What is behind the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench::filter) enum Flavour {
    Legacy,
    Nft,
}

/// Rules in force.
pub(in crate::bench::filter) struct Rules {
    pub(in crate::bench::filter) room: Room,
    flavour: Flavour,
}

impl Flavour {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Legacy => "iptables-raw, legacy",
            Self::Nft => "iptables-raw, by nf_tables",
        }
    }

    /// The command, with what stands behind it: nothing, `-restore` or `-save`.
    pub(in crate::bench::filter) fn command(self, end: &str) -> String {
        match self {
            Self::Legacy => format!("iptables-legacy{end}"),
            Self::Nft => format!("iptables-nft{end}"),
        }
    }
}

impl Rules {
    pub(super) fn hits(&self, stage: &Stage<'_>) -> Result<u64> {
        let save = self.flavour.command("-save");
        let output = stage.inside(&self.room, || run(&save, &["-c", "-t", "raw"]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rules = text.lines().filter(|line| line.contains(" -j DROP"));
        Ok(rules.map(|line| sum_behind(line, "[")).sum())
    }
}

pub(super) fn lay(stage: &mut Stage<'_>, flavour: Flavour, rules: &[Drawn]) -> Result<Laid> {
    lay_after(stage, flavour, &text(rules), || Ok(()))
}

/// Puts what `iptables-restore` reads in force, after something that the rules need has been done in the
/// same namespace.
pub(in crate::bench::filter) fn lay_after(
    stage: &mut Stage<'_>,
    flavour: Flavour,
    text: &str,
    before: impl FnOnce() -> Result<()>,
) -> Result<Laid> {
    let room = stage.room()?;
    let cable = stage.cable_into(&room)?;
    let file = write(stage, text)?;
    let restore = flavour.command("-restore");
    stage.inside(&room, || {
        before()?;
        run(&restore, &[&file.to_string_lossy()]).map(drop)
    })?;
    Ok(Laid {
        cable,
        root: None,
        counts: Some(Counts::Iptables(Rules { room, flavour })),
        link: None,
    })
}

/// Writes what `iptables-restore` is to read.
pub(in crate::bench::filter) fn write(stage: &Stage<'_>, text: &str) -> Result<PathBuf> {
    let file = stage.objects.file("rules.iptables");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The rules, as `iptables-restore` reads them.
pub(in crate::bench::filter) fn text(rules: &[Drawn]) -> String {
    let lines: String = rules.iter().map(|rule| words(rule) + "\n").collect();
    format!("*raw\n:PREROUTING ACCEPT [0:0]\n{lines}COMMIT\n")
}

/// A rule in the words of iptables.
fn words(rule: &Drawn) -> String {
    let mut words = "-A PREROUTING".to_owned();
    for (word, address) in [("-s", rule.source), ("-d", rule.destination)] {
        if let Some(prefix) = prefix(address) {
            words += &format!(" {word} {prefix}");
        }
    }
    if let Some(protocol) = rule.protocol {
        words += if protocol == 6 { " -p tcp" } else { " -p udp" };
        for (word, first, last) in ports(rule) {
            words += &format!(" --{word} {first}:{last}");
        }
    }
    words + " -j DROP"
}
