//! One socket only: attachments that a socket meets only once it has opted in, and how it does.
//!
//! ```text
//! attach counter --opt-in     a claim at socket/setsockopt of the cgroup, with its storage of marks
//!                             the attachment, whose node looks for a mark first
//! setsockopt(SO_NKE)          the claim marks the socket
//! detach counter              the last attachment of its kind takes the claim and the marks along
//! ```
//!
//! Why it is done this way is told in `docs/decisions/0005-one-socket.md`.

use std::collections::BTreeSet;

use super::{Control, keep_all};
use crate::{
    chain::{Chain, Change, Fresh, Ground, Role, Site},
    error::{Error, Result},
    hook::Hook,
    kernel::Version,
    netfilter::Netfilter,
    order::Selector,
    so_nke::{self, Descriptor, NAME_LEN},
    sys,
    target::{Spot, Target},
};

/// A program can give an errno of its own since then (`bpf_set_retval`).
const SINCE: Version = Version::new(5, 18);

impl Control {
    /// Sees to it that sockets of a cgroup can opt in for an extension, before it is attached to a
    /// hook there.
    pub(super) fn claim(&mut self, hook: Hook, spot: &Spot, extension: &str) -> Result<()> {
        if hook.socket().is_none() {
            return Err(Error::NoOptIn { hook });
        }
        if extension.len() >= NAME_LEN {
            return Err(Error::LongName {
                name: extension.to_owned(),
            });
        }
        if Version::running() < SINCE {
            return Err(Error::TooOld {
                object: format!("{hook} of {spot}"),
                feature: "--opt-in".to_owned(),
                since: SINCE,
                running: Version::running(),
            });
        }
        let target = spot.target();
        let present = self.chain(Hook::SETSOCKOPT, target);
        if present.is_some_and(|chain| chain.claims().any(|(name, _)| name == extension)) {
            return Ok(());
        }
        let fresh = Change::New(Fresh {
            id: None,
            role: Role::Claim {
                extension: extension.to_owned(),
            },
            priority: i32::MAX,
            counters: false,
            opt_in: false,
            enabled: true,
            inherits: None,
            maps: None,
        });
        match present {
            None => {
                let site = Site {
                    hook: Hook::SETSOCKOPT,
                    spot,
                    mode: None,
                    netfilter: Netfilter::default(),
                };
                self.commit(Ground::Bare(&site), &[fresh])?;
            }
            Some(chain) if chain.is_full() => {
                return Err(Error::ChainFull {
                    hook: Hook::SETSOCKOPT,
                    interface: spot.to_string(),
                });
            }
            Some(chain) => {
                let mut wanted = keep_all(chain);
                wanted.push(fresh);
                self.commit(Ground::Chain(chain), &wanted)?;
            }
        }
        self.reread(Hook::SETSOCKOPT, target).map(drop)
    }

    /// Takes away the claims, and with them the marks, of extensions that nobody has to opt in for
    /// (any more).
    pub(super) fn disclaim_unused(&mut self) -> Result<()> {
        self.reread_all()?;
        let claiming = self.chains.iter().filter(|c| c.claims().next().is_some());
        let targets: Vec<Target> = claiming.map(|chain| chain.target).collect();
        for target in targets {
            let wanted_here: BTreeSet<&str> = self
                .opted()
                .filter_map(|(at, name, _)| (at == target).then_some(name))
                .collect();
            let Some(chain) = self.chain(Hook::SETSOCKOPT, target) else {
                continue;
            };
            let idle = |change: &Change| match change {
                Change::Keep(position) => match &chain.nodes[*position].record.role {
                    Role::Claim { extension } => !wanted_here.contains(extension.as_str()),
                    Role::Extension { .. } | Role::DropPolicy => false,
                },
                Change::New(_) => false,
            };
            let mut wanted = keep_all(chain);
            wanted.retain(|change| !idle(change));
            if wanted.len() < chain.nodes.len() {
                self.commit(Ground::Chain(chain), &wanted)?;
                self.reread(Hook::SETSOCKOPT, target)?;
            }
        }
        Ok(())
    }

    /// The attachments that only sockets which opted in meet: where, of which extension, which id.
    fn opted(&self) -> impl Iterator<Item = (Target, &str, u32)> {
        let nodes = self.chains.iter().flat_map(|chain| {
            let nodes = chain.attachments().filter(|node| node.record.opt_in);
            nodes.map(|node| (chain.target, &node.record))
        });
        nodes.filter_map(|(target, record)| match &record.role {
            Role::Extension { name, .. } => Some((target, name.as_str(), record.id)),
            Role::DropPolicy | Role::Claim { .. } => None,
        })
    }

    /// Opts another process's socket in for an extension, just as that process could.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`].
    pub fn opt_in(&self, socket: Descriptor, extension: &str) -> Result<()> {
        let failed = |source: std::io::Error| {
            let remedy = match source.raw_os_error() {
                Some(libc::EINVAL | libc::ENOPROTOOPT | libc::EOPNOTSUPP) => {
                    "attach the extension with --opt-in to the cgroup of the socket, or to one \
                     above it, first"
                }
                Some(libc::EEXIST) => "it has opted in already",
                Some(libc::ENOTSOCK) => "the descriptor is no socket: see /proc/PID/fd",
                Some(libc::EPERM) => "an extension at socket/setsockopt denies it",
                _ => "try again",
            };
            Error::Socket {
                socket,
                stage: "opt in for",
                extension: extension.to_owned(),
                source,
                remedy,
            }
        };
        so_nke::opt_in(socket.open(extension)?, extension).map_err(failed)
    }

    /// Takes back that a socket opted in: it does not meet these attachments any more. The name of
    /// the extension is the result.
    ///
    /// # Errors
    ///
    /// [`Error::NoAttachment`] if no attachment is meant that sockets opt in for; [`Error::Socket`]
    /// if this one has not.
    pub fn opt_out(&self, socket: Descriptor, selector: &Selector) -> Result<String> {
        let meant = self.opted().filter(|(_, name, id)| selector.is(*id, name));
        let meant: BTreeSet<(Target, &str)> = meant.map(|(at, name, _)| (at, name)).collect();
        let Some((_, extension)) = meant.first().copied() else {
            return Err(Error::NoAttachment {
                name: selector.to_string(),
                stage: "opt a socket out",
                place: " that sockets opt in for".to_owned(),
            });
        };
        let open = socket.open(extension)?;
        let failed = |source: std::io::Error| Error::Socket {
            socket,
            stage: "opt out of",
            extension: extension.to_owned(),
            remedy: match source.raw_os_error() {
                Some(libc::ENOENT) => "it has not opted in",
                Some(libc::ENOTSOCK) => "the descriptor is no socket: see /proc/PID/fd",
                _ => "try again",
            },
            source,
        };
        let mut found = false;
        for (target, extension) in meant {
            let chain = self.chain(Hook::SETSOCKOPT, target);
            let claim = |chain: &Chain| {
                let mut claims = chain.claims();
                let claim = claims.find(|(name, _)| *name == extension);
                claim
                    .map(|(_, node)| chain.marks(&self.state, node))
                    .transpose()
            };
            let Some(marks) = chain.map(claim).transpose()?.flatten() else {
                continue;
            };
            found |= sys::map::delete_of_socket(marks, &open).map_err(failed)?;
        }
        if found {
            Ok(extension.to_owned())
        } else {
            Err(failed(std::io::Error::from_raw_os_error(libc::ENOENT)))
        }
    }
}
