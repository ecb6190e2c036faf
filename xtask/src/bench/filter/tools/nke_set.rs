//! A named set of nke's, asked by one rule at an interface's XDP hook; all of it by commands.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nke::hook::Hook;

use super::Laid;
use crate::bench::filter::members::{Kind, Member};
use crate::bench::stage::{STATE, Stage};
use crate::bench::times::{call, word};

/// One rule that names no set.
pub(in crate::bench::filter) fn lay_rule(
    stage: &mut Stage<'_>,
    nke: &Path,
    rule: &str,
) -> Result<Laid> {
    let cable = stage.cable()?;
    let (nke, interface) = (word(nke)?, &cable.inside);
    for line in [
        format!("attach packet-filter -i {interface} --hook interface/xdp"),
        format!("filter add -i {interface} {rule}"),
    ] {
        call(&format!("{nke} --state {STATE} {line}"))?;
    }
    Ok(Laid {
        root: Some(stage.root(&cable, Hook::INTERFACE_XDP)?),
        cable,
        counts: None,
        link: None,
    })
}

/// Puts a set in force, and tells how many milliseconds it took to replace its members.
pub(in crate::bench::filter) fn lay(
    stage: &mut Stage<'_>,
    nke: &Path,
    kind: Kind,
    members: &[Member],
) -> Result<(Laid, f64)> {
    let file = stage.objects.file("members.nke");
    let lines: String = members.iter().map(|member| format!("{member}\n")).collect();
    fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
    let set = format!("{} --state {STATE} filter set", word(nke)?);
    let name = kind.name();
    call(&format!("{set} create {name} addresses"))?;
    let began = Instant::now();
    call(&format!("{set} replace {name} {}", word(&file)?))?;
    let elapsed = began.elapsed().as_secs_f64() * 1e3;
    let laid = lay_rule(stage, nke, &format!("drop from @{name}"))?;
    Ok((laid, elapsed))
}
