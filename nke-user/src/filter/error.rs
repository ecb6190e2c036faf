//! What can go wrong between rules and the kernel.

use std::path::PathBuf;

use aya::maps::MapError;

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no room for so many rules. Nothing was changed.
    #[error(
        "rules: write: {wanted} rules are more than the {limit} that a filter holds; \
         nothing was changed: delete some, or merge them into prefixes and ranges"
    )]
    Full {
        /// How many there would be.
        wanted: usize,
        /// How many there can be.
        limit: usize,
    },

    /// A map of the attachment is missing, or is no such map.
    #[error(
        "{}: open: {source}; it is no map of rules of this version: attach the extension again",
        path.display()
    )]
    NoMap {
        /// Where it should be pinned.
        path: PathBuf,
        /// What the kernel says.
        source: MapError,
    },

    /// The kernel refused to read or write a map.
    #[error("rules: {operation}: {source}; the rules in force are whole")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// What the kernel says.
        source: MapError,
    },

    /// What is in the kernel was not written by this version.
    #[error(
        "rules: read: rule {number} in the kernel was written by another version of nke; attach the \
         extension again"
    )]
    ForeignRule {
        /// The rule's place in the list, from 1.
        number: usize,
    },
}
