//! A set of nftables, asked by one rule at an interface's ingress.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;

use super::nftables::{self, Hook};
use super::{Counts, Laid};
use crate::bench::filter::members::{Kind, Member};
use crate::bench::stage::{Stage, run};

/// Puts a set in force, and tells how many milliseconds it took to replace its members.
pub(in crate::bench::filter) fn lay(
    stage: &mut Stage<'_>,
    kind: Kind,
    members: &[Member],
) -> Result<(Laid, f64)> {
    let table = Hook::Ingress.table();
    let flags = match kind {
        Kind::Addresses => "",
        Kind::Prefixes => " flags interval;",
    };
    let rule = format!(
        "add set {table} members {{ type ipv4_addr;{flags} }}\n\
         add rule {table} in ip saddr @members counter drop\n"
    );
    let laid = nftables::lay_lines(stage, Hook::Ingress, &rule)?;
    let mut text = format!("flush set {table} members\nadd element {table} members {{ ");
    for member in members {
        write!(text, "{member}, ")?;
    }
    text += "}\n";
    let file = nftables::write(stage, &text)?;
    let file = file.to_string_lossy();
    let mut elapsed = 0.0;
    if let Some(Counts::Nftables(rules)) = &laid.counts {
        stage.inside(&rules.room, || {
            let began = Instant::now();
            run("nft", &["-f", &file])?;
            elapsed = began.elapsed().as_secs_f64() * 1e3;
            Ok(())
        })?;
    }
    Ok((laid, elapsed))
}
