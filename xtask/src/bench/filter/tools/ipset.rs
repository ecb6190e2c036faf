//! ipset, asked by one rule of iptables' table `raw`.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Laid;
use super::iptables::{self, Flavour};
use crate::bench::filter::members::{Kind, Member};
use crate::bench::stage::{Stage, run};

/// Puts a set in force, and tells how many milliseconds it took to replace its members.
pub(in crate::bench::filter) fn lay(
    stage: &mut Stage<'_>,
    kind: Kind,
    members: &[Member],
) -> Result<(Laid, f64)> {
    let type_of = match kind {
        Kind::Addresses => "hash:ip",
        Kind::Prefixes => "hash:net",
    };
    let count = members.len();
    let create = |name: &str| format!("create {name} {type_of} maxelem {count}\n");
    // A set is replaced by filling another and swapping both.
    let mut text = create("new");
    for member in members {
        text += &format!("add new {member}\n");
    }
    text += "swap new members\ndestroy new\n";
    let file = stage.objects.file("members.ipset");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let rules = "*raw\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -m set --match-set members src -j DROP\nCOMMIT\n";
    let mut elapsed = 0.0;
    let laid = iptables::lay_after(stage, Flavour::Legacy, rules, || {
        let empty = create("members");
        let words: Vec<_> = empty.split_whitespace().collect();
        run("ipset", &words)?;
        let began = Instant::now();
        run("ipset", &["restore", "-file", &file.to_string_lossy()])?;
        elapsed = began.elapsed().as_secs_f64() * 1e3;
        Ok(())
    })?;
    Ok((laid, elapsed))
}
