//! `nke filter import`: what another filter has printed, in this language.

use std::path::PathBuf;

use clap::Args;
use nke::filter::{
    Error,
    import::{self, Untranslated, Wanted},
};

use super::text_of;
use crate::output::{complain, escaped, part};

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
        part(format_args!("{}", imported.text()));
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
}
