//! Expressions of tcpdump, for what the language has no words for.
//!
//! ```no_run
//! use nke::filter::Expression;
//!
//! let expression = Expression::compile("tcp[13] & 2 != 0 and net 10")?;
//! assert!(!expression.on_ethernet().matches(&[0; 60]));
//! # Ok::<(), nke::filter::Refused>(())
//! ```
//!
//! libpcap compiles the text to programs of classic BPF, one for packets that begin with an Ethernet header and
//! one for those of the IP layer. Text and programs lie in the rule set; the filter in the kernel runs
//! the one for its hook (docs/decisions/0009). Once compiled, nobody is asked again.

mod compile;
mod frame;
pub(super) mod page;
mod program;

use std::{borrow::Cow, fmt, sync::Arc};

use nke_ebpf::abi::classic::LONGEST;

use super::dissect::Packet;

use self::compile::Link;
pub use self::frame::Frame;
pub use self::program::{Malformed, Program};

/// How many bytes the text of an expression has at most.
pub const LONGEST_TEXT: usize = 1024;

/// An expression, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    text: Arc<str>,
    ethernet: Program,
    /// Nothing where it asks for what no packet at the IP layer has.
    ip: Option<Program>,
}

/// Why there is no program of an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nobody to compile it.
    #[error("there is no tcpdump on this host, whose compiler reads expressions: install tcpdump")]
    NoCompiler,
    /// What libpcap says.
    #[error("tcpdump says: {0}")]
    ByCompiler(String),
    /// It did not come to an end.
    #[error(
        "tcpdump has not compiled this within ten seconds: write addresses and not names of hosts"
    )]
    TooSlow,
    /// It came to an end, and printed something else.
    #[error("what tcpdump has made of this is no program: it must be version 4.99 or newer")]
    Unreadable,
    /// It goes around in circles, as `protochain` does.
    #[error(
        "this makes a program with a loop, which the kernel would not run for each packet: do without `protochain`"
    )]
    Loops,
    /// Its program is too long.
    #[error("this is a program of {0} instructions, and {LONGEST} are the most: use several rules")]
    TooLong(usize),
    /// Its text is too long, or could not be written in a rule.
    #[error(
        "an expression is a line of at most {LONGEST_TEXT} bytes, without one of the two kinds of quotes"
    )]
    Text,
}

impl Expression {
    /// Has an expression compiled.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn compile(text: &str) -> Result<Self, Refused> {
        if !can_be_written(text) {
            return Err(Refused::Text);
        }
        let ethernet = compile::compile(text, Link::Ethernet)?;
        let ip = match compile::compile(text, Link::Ip) {
            Ok(program) => Some(program),
            Err(Refused::ByCompiler(_)) => None,
            Err(refused) => return Err(refused),
        };
        Ok(Self {
            text: text.into(),
            ethernet,
            ip,
        })
    }

    /// The expression that has been compiled before. Nothing if its text could not be that of one.
    #[must_use]
    pub fn compiled(text: &str, ethernet: Program, ip: Option<Program>) -> Option<Self> {
        can_be_written(text).then(|| Self {
            text: text.into(),
            ethernet,
            ip,
        })
    }

    /// Whether a packet fits it. One that is given in words is what such a packet is, all else zero.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        let (bytes, has_link) = match &packet.frame {
            Some(Frame { bytes, has_link }) => (Cow::Borrowed(&**bytes), *has_link),
            None => (Cow::Owned(frame::made_up(packet)), true),
        };
        let program = if has_link {
            Some(&self.ethernet)
        } else {
            self.ip.as_ref()
        };
        program.is_some_and(|program| program.matches(&bytes))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The program for packets that begin with an Ethernet header.
    #[must_use]
    pub const fn on_ethernet(&self) -> &Program {
        &self.ethernet
    }

    /// The program for packets that begin with an IP header; nothing where it asks for what none of
    /// them has.
    #[must_use]
    pub const fn on_ip(&self) -> Option<&Program> {
        self.ip.as_ref()
    }
}

/// Whether it can stand between quotes, of either kind, on one line.
fn can_be_written(text: &str) -> bool {
    let quotes = [text.contains('\''), text.contains('"')];
    let fits = !text.trim().is_empty() && text.len() <= LONGEST_TEXT;
    fits && !text.chars().any(char::is_control) && quotes != [true, true]
}

impl fmt::Display for Expression {
    /// In quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, .. } = self;
        let quote = if text.contains('\'') { '"' } else { '\'' };
        write!(f, "{quote}{text}{quote}")
    }
}
