//! What chains are attached to: as asked for, as opened, and as the state knows it.
//!
//! ```no_run
//! use nke::target::Where;
//!
//! let spot = Where::Interface { name: "eth0".into(), netns: Some("blue".into()) }.open()?;
//! println!("{spot}");
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::{fmt, path::PathBuf};

use crate::{cgroup::Cgroup, error::Result, hook::Kind, interface::Namespace};

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Where {
    /// An interface, by its name.
    Interface {
        /// The name.
        name: String,
        /// Its network namespace, a name or a path; without one the caller's own.
        netns: Option<String>,
    },
    /// A network namespace; without a name the caller's own.
    Namespace {
        /// A name or a path.
        netns: Option<String>,
    },
    /// A cgroup of version 2.
    Cgroup {
        /// Its directory.
        path: PathBuf,
    },
}

impl Where {
    /// The hooks that can be meant.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Interface { .. } => Kind::Interface,
            Self::Namespace { .. } => Kind::Namespace,
            Self::Cgroup { .. } => Kind::Cgroup,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::NoInterface`], [`crate::error::Error::NoNamespace`],
    /// [`crate::error::Error::NoCgroup`].
    pub fn open(&self) -> Result<Spot> {
        Ok(match self {
            Self::Interface { name, netns } => {
                let namespace = Namespace::open(netns.as_deref())?;
                let index = namespace.index(name)?;
                Spot::Interface {
                    namespace,
                    name: name.clone(),
                    index,
                }
            }
            Self::Namespace { netns } => Spot::Namespace(Namespace::open(netns.as_deref())?),
            Self::Cgroup { path } => Spot::Cgroup(Cgroup::open(path)?),
        })
    }
}

/// What a chain can be attached to, held open.
#[derive(Debug)]
pub enum Spot {
    /// An interface.
    Interface {
        /// Its network namespace.
        namespace: Namespace,
        /// Its name there.
        name: String,
        /// Its index there.
        index: u32,
    },
    /// A network namespace.
    Namespace(Namespace),
    /// A cgroup.
    Cgroup(Cgroup),
}

impl Spot {
    /// Opens a target that the state knows, if it can be found.
    pub(crate) fn find(target: Target) -> Option<Self> {
        Some(match target {
            Target::Interface {
                netns,
                ifindex: index,
            } => {
                let namespace = Namespace::find(netns)?;
                let name = namespace.interface(index)?;
                Self::Interface {
                    namespace,
                    name,
                    index,
                }
            }
            Target::Namespace { netns } => Self::Namespace(Namespace::find(netns)?),
            Target::Cgroup { id } => Self::Cgroup(Cgroup::find(id)?),
        })
    }

    /// The network namespace that it is in.
    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Interface { namespace, .. } | Self::Namespace(namespace) => Some(namespace),
            Self::Cgroup(_) => None,
        }
    }

    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Interface {
                namespace, index, ..
            } => Target::Interface {
                netns: namespace.inode(),
                ifindex: *index,
            },
            Self::Namespace(namespace) => Target::Namespace {
                netns: namespace.inode(),
            },
            Self::Cgroup(cgroup) => Target::Cgroup { id: cgroup.id() },
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { name, .. } => f.write_str(name),
            Self::Namespace(namespace) => f.write_str(&namespace.describe()),
            Self::Cgroup(cgroup) => write!(f, "{}", cgroup.path().display()),
        }
    }
}

/// What a chain is attached to, as the state knows it: by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// Indexes are not unique across namespaces.
    Interface {
        netns: u64,
        ifindex: u32,
    },
    Namespace {
        netns: u64,
    },
    Cgroup {
        id: u64,
    },
}

impl Target {
    /// The network namespace that it is in.
    pub(crate) fn netns(self) -> Option<u64> {
        match self {
            Self::Interface { netns, .. } | Self::Namespace { netns } => Some(netns),
            Self::Cgroup { .. } => None,
        }
    }

    /// The same, held open, if it can be found.
    pub(crate) fn namespace(self) -> Option<Namespace> {
        self.netns().and_then(Namespace::find)
    }

    /// The index of the interface that it is.
    pub(crate) fn ifindex(self) -> Option<u32> {
        match self {
            Self::Interface { ifindex, .. } => Some(ifindex),
            Self::Namespace { .. } | Self::Cgroup { .. } => None,
        }
    }

    /// The name of its directory.
    pub(crate) fn directory(self) -> String {
        match self {
            Self::Interface { netns, ifindex } => format!("{netns}-{ifindex}"),
            Self::Namespace { netns } => netns.to_string(),
            Self::Cgroup { id } => id.to_string(),
        }
    }

    /// The target whose directory has this name.
    pub(crate) fn parse(kind: Kind, directory: &str) -> Option<Self> {
        Some(match kind {
            Kind::Interface => {
                let (netns, ifindex) = directory.split_once('-')?;
                Self::Interface {
                    netns: netns.parse().ok()?,
                    ifindex: ifindex.parse().ok()?,
                }
            }
            Kind::Namespace => Self::Namespace {
                netns: directory.parse().ok()?,
            },
            Kind::Cgroup => Self::Cgroup {
                id: directory.parse().ok()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_directories_and_back() {
        let check = |kind, target: Target| {
            assert_eq!(Target::parse(kind, &target.directory()), Some(target));
        };
        check(
            Kind::Interface,
            Target::Interface {
                netns: 4_026_531_840,
                ifindex: 7,
            },
        );
        check(
            Kind::Namespace,
            Target::Namespace {
                netns: 4_026_531_840,
            },
        );
        check(Kind::Cgroup, Target::Cgroup { id: 1 });
        assert_eq!(Target::parse(Kind::Interface, "x-1"), None);
    }
}
