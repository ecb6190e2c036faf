//! What can go wrong between rules and the kernel.

use std::path::PathBuf;

use aya::maps::MapError;

use super::parse_error::ParseError;

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no rule.
    #[error(transparent)]
    Parse(#[from] ParseError),

    /// There is no room for so many rules. Nothing was changed.
    #[error("{wanted} rules are more than the {limit} that a filter holds; nothing was changed")]
    Full {
        /// How many there would be.
        wanted: usize,
        /// How many there can be.
        limit: usize,
    },

    /// A map of the attachment is missing, or is no such map.
    #[error("{} is no map of a packet filter of this version", path.display())]
    NoMap {
        /// Where it should be pinned.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: MapError,
    },

    /// The kernel refused to read or write a map.
    #[error("cannot {operation}")]
    Map {
        /// What was tried, in words that follow "cannot".
        operation: &'static str,
        /// What the kernel says.
        #[source]
        source: MapError,
    },

    /// What is in the kernel was not written by this version.
    #[error("rule {number} in the kernel was written by another version of nke")]
    ForeignRule {
        /// The rule's place in the list, from 1.
        number: usize,
    },
}
