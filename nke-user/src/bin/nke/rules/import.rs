//! `nke filter import`: what another filter has printed, in this language.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use nke::{
    filter::{
        Dialect, Error, Source, can_match,
        import::{self, Untranslated, Wanted},
        not_there, packet_hooks,
    },
    hook::{Hook, Kind},
};

use super::text_of;
use crate::output::{complain, escaped, note, part};

/// Print the rules of iptables or nftables in this language
///
/// FILE is what `iptables-save`, `ip6tables-save` or `nft -j list ruleset` prints. The rules of one
/// chain, and of those that it jumps to, become a file for `load`. A rule that cannot be said here in
/// full is left out, and listed with what is in the way; the exit status says if there was one.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file; - for standard input
    file: PathBuf,
    /// The chain [default: INPUT, or the one at nft's hook input]
    #[arg(long)]
    chain: Option<String>,
    /// The interface that the rules will be for: those of other interfaces are left out
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
}

impl Import {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Self {
            file,
            chain,
            interface,
        } = self;
        let text = text_of(file)?;
        let origin = file.display().to_string();
        let wanted = Wanted {
            chain: chain.clone(),
            interface: interface.clone(),
        };
        let imported = import::from_text(&text, &wanted);
        let imported = imported.map_err(|problem| Error::Foreign {
            origin: origin.clone(),
            problem,
        })?;
        let text = imported.text();
        part(format_args!("{text}"));
        for misplaced in self.misplaced(&text) {
            note(format_args!("note: {origin}: {misplaced}"));
        }
        for Untranslated {
            place,
            rule,
            reason,
        } in &imported.untranslated
        {
            let told = format!("{origin}: {place}: not translated: {reason}");
            complain(format_args!("{}\n    {}", escaped(&told), escaped(rule)));
        }
        match imported.untranslated.len() {
            0 => Ok(()),
            rules => Err(Error::Untranslated { origin, rules }.into()),
        }
    }

    /// What cannot be everywhere where these rules are for: at the hooks of interfaces if one is named, else at those of the IP
    /// layer. Of each kind the first rule.
    fn misplaced(&self, text: &str) -> Vec<String> {
        let Ok(Source { rules, .. }) = Dialect::Packets.source(text) else {
            return Vec::new();
        };
        let wanted = match &self.interface {
            Some(_) => Kind::Interface,
            None => Kind::Namespace,
        };
        let mut told = BTreeMap::new();
        for rule in &rules.rules {
            let hooks = packet_hooks().filter(|hook| can_match(rule, &[*hook]));
            let (lacking, takes): (Vec<_>, Vec<_>) = hooks
                .map(|hook| (hook, not_there(rule, hook)))
                .partition(|(_, lacks)| lacks.is_some());
            let mut here = lacking.iter().filter(|(hook, _)| hook.row().kind == wanted);
            let Some((_, Some(what))) = here.next() else {
                continue;
            };
            told.entry(*what).or_insert_with(|| {
                let place = match takes.as_slice() {
                    [] => "no hook has all that it asks for".to_owned(),
                    some => format!("it can be at {}", names(some)),
                };
                format!(
                    "there is no {what} at {}: `{rule}` is refused there; {place}",
                    names(&lacking)
                )
            });
        }
        told.into_values().collect()
    }
}

fn names<T>(hooks: &[(Hook, T)]) -> String {
    let names: Vec<_> = hooks.iter().map(|(hook, _)| hook.to_string()).collect();
    names.join(", ")
}
