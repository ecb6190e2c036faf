//! Dependencies: which extensions must be loaded before another, and which of several versions.
//!
//! A pure decision over what is known of extensions: only the catalog reads files, and nothing asks
//! the kernel.
//! One provider is chosen for each identifier, and all its dependants share it: the one that is
//! loaded, or else the highest version whose own dependencies can be met too. It must never choose
//! a provider that one of the ranges does not allow.
//!
//! ```
//! use nke::depend::{Candidate, resolve};
//!
//! let wanted = Candidate::new("guard", "org.example.guard", "1.0.0", &[("org.example.table", "^1")]);
//! let pool = [
//!     Candidate::new("table-1", "org.example.table", "1.4.0", &[]),
//!     Candidate::new("table-2", "org.example.table", "2.0.0", &[]),
//! ];
//! let plan = resolve(&wanted, &pool).unwrap();
//! assert_eq!(plan.order, [0]);
//! ```

pub(crate) mod catalog;
mod resolve;

use std::{fmt, path::PathBuf};

use semver::{Version, VersionReq};

pub use self::resolve::{Plan, resolve};
use crate::object::{Identifier, satisfies};

/// An extension, as far as dependencies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name that it has, or would have, when it is loaded.
    pub name: String,
    /// Who it is; what has no identifier provides nothing.
    pub identifier: Option<Identifier>,
    /// Its version.
    pub version: Version,
    /// The oldest version that it can stand in for.
    pub compatible_since: Version,
    /// What it needs.
    pub needs: Vec<Need>,
    /// Its kmid, if it is loaded.
    pub loaded: Option<u32>,
    /// Its file.
    pub path: PathBuf,
}

/// A dependency: who is needed, in which versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Who.
    pub identifier: Identifier,
    /// The versions that will do.
    pub range: VersionReq,
}

/// A dependency and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The dependant's name.
    pub by: String,
    /// The versions that will do.
    pub range: VersionReq,
}

/// Why dependencies cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Extensions need each other: each the one behind it, and the last the first.
    Cycle(Vec<String>),
    /// No extension there is will do for one dependant.
    Missing {
        /// Who is needed.
        identifier: Identifier,
        /// By whom, in which versions.
        demand: Demand,
        /// Those that have the identifier.
        seen: Vec<Candidate>,
    },
    /// No one extension will do for all dependants.
    Conflict {
        /// Who is needed.
        identifier: Identifier,
        /// By whom, in which versions.
        demands: Vec<Demand>,
        /// Those that have the identifier.
        seen: Vec<Candidate>,
    },
    /// The one that is loaded will not do.
    Loaded {
        /// Who is needed.
        identifier: Identifier,
        /// By whom, in which versions.
        demand: Demand,
        /// The one that is loaded.
        provider: Candidate,
    },
    /// There are more ways to choose than are tried.
    TooMany,
}

impl Candidate {
    /// Whether it will do for those that need this range of it.
    pub fn satisfies(&self, range: &VersionReq) -> bool {
        satisfies(&self.version, &self.compatible_since, range)
    }

    /// One that is not loaded, for examples and tests. A text that is no identifier, version or range
    /// gives one that provides, is or needs nothing in particular.
    pub fn new(name: &str, identifier: &str, version: &str, needs: &[(&str, &str)]) -> Self {
        let version: Version = version.parse().unwrap_or(Version::new(0, 0, 0));
        let need = |(identifier, range): &(&str, &str)| {
            Some(Need {
                identifier: identifier.parse().ok()?,
                range: range.parse().ok()?,
            })
        };
        Self {
            name: name.to_owned(),
            identifier: identifier.parse().ok(),
            compatible_since: version.clone(),
            version,
            needs: needs.iter().filter_map(need).collect(),
            loaded: None,
            path: PathBuf::from(format!("{name}.o")),
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {}", self.by, self.range)
    }
}

/// Those that have an identifier, in words: each version, and where it is.
fn seen_in_words(seen: &[Candidate]) -> String {
    if seen.is_empty() {
        return "none is loaded, and none on the search path".to_owned();
    }
    let words = seen.iter().map(|candidate| {
        let Candidate {
            version,
            compatible_since,
            path,
            ..
        } = candidate;
        let since = if compatible_since == version {
            String::new()
        } else {
            format!(" (compatible since {compatible_since})")
        };
        format!("{version}{since} in {}", path.display())
    });
    format!("there is {}", words.collect::<Vec<_>>().join(", "))
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle(names) => {
                let first = names.first().map_or("", String::as_str);
                write!(
                    f,
                    "{} -> {first} need each other; take one of these dependencies out",
                    names.join(" -> ")
                )
            }
            Self::Missing {
                identifier,
                demand,
                seen,
            } => write!(
                f,
                "{identifier}: {demand}, and {}; put one that will do on the search path",
                seen_in_words(seen)
            ),
            Self::Conflict {
                identifier,
                demands,
                seen,
            } => {
                let demands: Vec<_> = demands.iter().map(Demand::to_string).collect();
                write!(
                    f,
                    "{identifier}: {}, and no one version will do for all: {}; put one that will on \
                     the search path",
                    demands.join(", "),
                    seen_in_words(seen)
                )
            }
            Self::Loaded {
                identifier,
                demand,
                provider,
            } => write!(
                f,
                "{identifier}: {demand}, and {} {} is loaded; upgrade or unload it first",
                provider.name, provider.version
            ),
            Self::TooMany => {
                f.write_str("there are too many ways to choose; narrow the ranges of versions")
            }
        }
    }
}

#[cfg(test)]
mod tests;
