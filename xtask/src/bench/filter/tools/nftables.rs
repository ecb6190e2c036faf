//! nftables, at an interface's ingress or at IPv4's prerouting, in a namespace of its own.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nke::filter::shapes::Drawn;

use super::{Counts, Laid, ports, prefix, sum_behind};
use crate::bench::stage::{Room, Stage, run};

/// Where the chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench::filter) enum Hook {
    Ingress,
    Prerouting,
}

/// Rules in force.
#[derive(Clone)]
pub(in crate::bench::filter) struct Rules {
    pub(in crate::bench::filter) room: Room,
    hook: Hook,
}

impl Hook {
    /// Its name in JSON.
    pub(in crate::bench::filter) const fn key(self) -> &'static str {
        match self {
            Self::Ingress => "nft_ingress",
            Self::Prerouting => "nft_prerouting",
        }
    }

    pub(in crate::bench::filter) const fn title(self) -> &'static str {
        match self {
            Self::Ingress => "nftables, netdev ingress",
            Self::Prerouting => "nftables, ip prerouting",
        }
    }

    /// The table, as commands name it.
    pub(in crate::bench::filter) const fn table(self) -> &'static str {
        match self {
            Self::Ingress => "netdev bench",
            Self::Prerouting => "ip bench",
        }
    }

    /// Commands that make the table and its empty chain, `in`.
    pub(in crate::bench::filter) fn chain(self, interface: &str) -> String {
        let table = self.table();
        let hook = match self {
            Self::Ingress => format!("ingress device \"{interface}\" priority 0"),
            Self::Prerouting => "prerouting priority raw".to_owned(),
        };
        format!("add table {table}\nadd chain {table} in {{ type filter hook {hook}; }}\n")
    }
}

impl Rules {
    pub(super) fn hits(&self, stage: &Stage<'_>) -> Result<u64> {
        let [family, table] = self
            .hook
            .table()
            .split_once(' ')
            .map_or(["", ""], Into::into);
        let list = || run("nft", &["list", "table", family, table]);
        let output = stage.inside(&self.room, list)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(sum_behind(&text, "packets "))
    }
}

pub(super) fn lay(stage: &mut Stage<'_>, hook: Hook, rules: &[Drawn]) -> Result<Laid> {
    lay_lines(stage, hook, &lines(hook, rules))
}

/// Puts what these lines add to the chain in force.
pub(in crate::bench::filter) fn lay_lines(
    stage: &mut Stage<'_>,
    hook: Hook,
    lines: &str,
) -> Result<Laid> {
    let room = stage.room()?;
    let cable = stage.cable_into(&room)?;
    let file = write(stage, &(hook.chain(&cable.inside) + lines))?;
    stage.inside(&room, || {
        run("nft", &["-f", &file.to_string_lossy()]).map(drop)
    })?;
    Ok(Laid {
        cable,
        root: None,
        counts: Some(Counts::Nftables(Rules { room, hook })),
        link: None,
    })
}

/// Writes what `nft -f` is to read.
pub(in crate::bench::filter) fn write(stage: &Stage<'_>, text: &str) -> Result<PathBuf> {
    let file = stage.objects.file("rules.nft");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Commands that add the rules.
pub(in crate::bench::filter) fn lines(hook: Hook, rules: &[Drawn]) -> String {
    let table = hook.table();
    let line = |rule: &Drawn| format!("add rule {table} in {}\n", words(rule));
    rules.iter().map(line).collect()
}

/// A rule in nft's words.
pub(in crate::bench::filter) fn words(rule: &Drawn) -> String {
    let mut words = String::new();
    for (word, address) in [("saddr", rule.source), ("daddr", rule.destination)] {
        if let Some(prefix) = prefix(address) {
            words += &format!("ip {word} {prefix} ");
        }
    }
    if let Some(protocol) = rule.protocol {
        let protocol = if protocol == 6 { "tcp" } else { "udp" };
        let mut asks = false;
        for (word, first, last) in ports(rule) {
            words += &format!("{protocol} {word} {first}-{last} ");
            asks = true;
        }
        if !asks {
            words += &format!("ip protocol {protocol} ");
        }
    }
    words + "counter drop"
}
