//! Rules of other filters, in this language: what `iptables-save` and `nft -j` print.
//!
//! ```
//! use nke::filter::import;
//!
//! let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
//! let imported = import::from_text(saved, &import::Wanted::default())?;
//! assert_eq!(
//!     imported.text(),
//!     "pass in inet proto tcp to any port 22\ndrop in inet\ndefault pass\n"
//! );
//! assert!(imported.untranslated.is_empty());
//! # Ok::<(), nke::filter::import::Foreign>(())
//! ```
//!
//! A rule that cannot be said here in full is left out and listed, never half said: what stands in
//! its place in the text is a comment. This opens no file and asks no kernel.

mod chains;
mod iptables;
mod limits;
mod line;
mod nft;

use std::{fmt, net::IpAddr};

use self::line::Line;

/// More than this come of no rule set that a filter could hold.
const MOST_RULES: usize = 1 << 16;

/// What to do where a rule lets in what belongs to connections that stand.
const KEEP_STATE: &str = "no rule asks for what goes on: `keep state` behind the rules that pass what begins a connection \
                          lets its other packets by";

/// Why a rule with a limit cannot be said that stands for several here.
const MANY_LIMITS: &str =
    "this is several rules here, each of which would have the limit for itself";

/// Which of the rules are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The chain, as in `INPUT`; else the one that judges what comes in for this host.
    pub chain: Option<String>,
    /// The interface that the rules are for: those of others are left out.
    pub interface: Option<String>,
}

/// Rules in this language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The chain that they are from.
    pub chain: String,
    lines: Vec<Text>,
    /// What could not be said, in order.
    pub untranslated: Vec<Untranslated>,
}

/// A rule that has no counterpart here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untranslated {
    /// Where it stands: a line, or a handle.
    pub place: String,
    /// The rule, as it is written there.
    pub rule: String,
    /// What of it cannot be said.
    pub reason: String,
}

/// A file that is not what another filter prints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// It is neither of the two.
    #[error("it is neither what `iptables-save` prints nor what `nft -j list ruleset` does")]
    Unknown,
    /// A line that iptables-save does not print.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is no JSON.
    #[error("it is no JSON: {problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// There is no such chain.
    #[error("there is no chain {chain}; there {}", told(known))]
    NoChain {
        /// The one that was asked for.
        chain: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The chains call each other in circles, or stand for too many rules.
    #[error("the chains that {chain} goes to stand for more than {MOST_RULES} rules")]
    TooMany {
        /// The chain.
        chain: String,
    },
}

/// The chains that there are, in words.
fn told(chains: &[String]) -> String {
    match chains {
        [] => "is none at all".to_owned(),
        chains => format!("are: {}", chains.join(", ")),
    }
}

/// A line of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Rule(Line),
    Comment(String),
}

/// Reads what another filter prints, whichever it is.
///
/// # Errors
///
/// [`Foreign`] if it is nothing of the kind.
pub fn from_text(text: &str, wanted: &Wanted) -> Result<Imported, Foreign> {
    if text.trim_start().starts_with('{') {
        return nft::read(text, wanted);
    }
    let tables = text.lines().any(|line| line.starts_with('*'));
    if !tables {
        return Err(Foreign::Unknown);
    }
    iptables::read(text, wanted)
}

/// The prefixes that a range of addresses is made of, as one writes them. Nothing if it is none.
pub(super) fn prefixes(first: IpAddr, last: IpAddr) -> Option<Vec<String>> {
    let nets = line::Net::range(first, last)?;
    Some(nets.iter().map(ToString::to_string).collect())
}

impl Imported {
    fn new(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            lines: Vec::new(),
            untranslated: Vec::new(),
        }
    }

    /// The rules as a file.
    #[must_use]
    pub fn text(&self) -> String {
        self.to_string()
    }

    fn leave_out(&mut self, untranslated: Untranslated) {
        let Untranslated {
            place,
            rule,
            reason,
        } = &untranslated;
        self.comment(format_args!("{place}, not translated: {rule} ({reason})"));
        self.untranslated.push(untranslated);
    }

    fn comment(&mut self, comment: fmt::Arguments<'_>) {
        // A comment ends with its line, whatever it quotes.
        let comment = comment.to_string().replace(char::is_control, " ");
        self.lines.push(Text::Comment(comment));
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Text::Rule(line) => writeln!(f, "{line}")?,
                Text::Comment(comment) => writeln!(f, "# {comment}")?,
            }
        }
        writeln!(f, "default pass")
    }
}

#[cfg(test)]
mod tests;
