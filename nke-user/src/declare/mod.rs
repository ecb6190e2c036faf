//! A declared state: what is to be loaded, attached and answered, in TOML.
//!
//! A table is a verb of the command, and its keys are that verb's options and arguments; so who can
//! type `nke attach` can write a declaration. What is written becomes types here, and every mistake
//! an error that names the file, the line and the key. From a declaration and what runs, [`plan`]
//! decides what is to be done. Only [`Declaration::read`] does any I/O, and nothing here changes
//! anything.
//!
//! ```
//! use nke::declare::Declaration;
//!
//! let declaration = Declaration::parse("web.toml", r#"
//!     [[attach]]
//!     extension = "packet-filter"
//!     interface = "eth0"
//!     hook = "interface/in"
//!     rules = "drop in proto udp"
//! "#)?;
//! assert_eq!(declaration.attachments.len(), 1);
//! # Ok::<(), nke::error::Error>(())
//! ```

mod diff;
mod parse;
pub mod plan;
mod read;
pub mod report;
mod sets;
mod settings;
mod table;
mod write;

#[cfg(test)]
mod tests;

use std::{fmt, rc::Rc};

pub use self::{
    diff::unified,
    sets::{SetBecomes, SetPlan, SetReport},
    settings::{SettingChange, Settings},
    write::text,
};
pub(crate) use self::{parse::dialect, sets::Running};
use crate::{
    control::{Manner, Policy},
    error::Error,
    filter::{RuleSet, StatedSet},
    find::Wanted,
    hook::{Family, Hook},
    order::Position,
    target::Where,
};

/// What is to be, of one or several files.
#[derive(Clone, Debug, Default)]
pub struct Declaration {
    /// Extensions that are held by name, attached or not: `[[load]]`.
    pub loads: Vec<Declared<Wanted>>,
    /// `[[attach]]`, in the order of the files and of their lines.
    pub attachments: Vec<Declared<Attachment>>,
    /// `[[policy]]`.
    pub policies: Vec<Declared<ChainPolicy>>,
    /// `[[set]]`, in the order of the files and of their lines.
    pub settings: Vec<Declared<Settings>>,
}

/// Something, and where it was declared.
#[derive(Clone, Debug)]
pub struct Declared<T> {
    /// What.
    pub what: T,
    /// Where.
    pub origin: Origin,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was given or found.
    pub file: Rc<str>,
    /// The line, from 1.
    pub line: usize,
}

impl Origin {
    /// An error of carrying out what is declared here.
    pub(crate) fn blame(&self, error: Error) -> Error {
        if matches!(error, Error::Declaration { .. } | Error::Declared { .. }) {
            return error;
        }
        Error::Declared {
            place: self.to_string(),
            source: Box::new(error),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line } = self;
        write!(f, "{file}:{line}")
    }
}

/// An attachment, or one for each hook of a family.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The extension.
    pub extension: Wanted,
    /// What to attach it to.
    pub place: Where,
    /// The hooks; without them those that `nke attach` takes.
    pub hook: Option<Family>,
    /// The program's symbol, where several serve the hook.
    pub program: Option<String>,
    /// Where in the chain, among what is declared of it; without one at the priority that the
    /// extension asks for, or the default.
    pub position: Option<Position>,
    /// How it is to be made.
    pub manner: Manner,
    /// Whether everything goes past it, as after `nke disable`.
    pub disabled: bool,
    /// All of its rules, if they are declared; if not, those that it has stay.
    pub rules: Option<RuleSet>,
    /// The line of its file that each of them stands on; nothing if they are of none.
    pub lines: Vec<usize>,
    /// The named sets that stand beside its rules: all members of each, for all attachments of the extension.
    pub sets: Vec<StatedSet>,
}

/// What a chain answers for a packet that all let go on.
#[derive(Clone, Debug)]
pub struct ChainPolicy {
    /// What the chain is of.
    pub place: Where,
    /// The hook.
    pub hook: Hook,
    /// The answer.
    pub policy: Policy,
}
