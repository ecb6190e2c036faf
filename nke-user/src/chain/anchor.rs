//! What calls a chain's root: the one part of a chain that differs between mechanisms.
//!
//! XDP and TCX programs hang on a `bpf_link`, which is pinned as `link`.

use std::{io, os::fd::OwnedFd, path::Path};

use serde::{Deserialize, Serialize};

use super::Site;
use crate::{
    error::{Error, Result},
    foreign,
    hook::ProgramType,
    kernel::Version,
    state::State,
    sys::link,
};

/// How XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before an `sk_buff` is made.
    Native,
    /// After that, for drivers without XDP.
    Generic,
}

impl Mode {
    /// As typed and printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`, uapi/linux/if_link.h.
    const fn flags(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Native => 1 << 2,
        }
    }
}

/// An attached root.
#[derive(Debug)]
pub(crate) struct Anchor {
    link: OwnedFd,
    root: u32,
    pub(crate) mode: Option<Mode>,
}

impl Anchor {
    /// Opens a chain's anchor: `None` if it is not attached (any more).
    pub(crate) fn open(state: &State, directory: &Path) -> Result<Option<Self>> {
        let pin = directory.join("link");
        if !pin.exists() {
            return Ok(None);
        }
        let link = state.get(&pin)?;
        let described =
            link::describe(&link).map_err(|error| state.failed(&pin, "query", error))?;
        if described.ifindex.is_none() {
            return Ok(None);
        }
        let mode = state.read_record(&directory.join("mode"))?.flatten();
        Ok(Some(Self {
            link,
            root: described.program_id,
            mode,
        }))
    }

    /// The root program's id.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// Attaches a root to the hook, and pins what keeps it there.
    pub(crate) fn attach(
        state: &State,
        site: &Site<'_>,
        directory: &Path,
        root: &OwnedFd,
    ) -> Result<()> {
        let is_xdp = site.hook.row().program_type == ProgramType::Xdp;
        let modes: &[Option<Mode>] = match (is_xdp, site.mode) {
            (false, _) => &[None],
            (true, None) => &[Some(Mode::Native), Some(Mode::Generic)],
            (true, Some(Mode::Native)) => &[Some(Mode::Native)],
            (true, Some(Mode::Generic)) => &[Some(Mode::Generic)],
        };
        let mut refused = io::Error::from(io::ErrorKind::Unsupported);
        for mode in modes {
            let flags = mode.map_or(0, Mode::flags);
            let attach_type = site.hook.row().attach_type;
            let create = || link::create(root, site.target.ifindex, attach_type, flags);
            match site.namespace.within(create)? {
                Ok(link) => {
                    state.write_record(&directory.join("mode"), mode)?;
                    return state.pin(&link, &directory.join("link"));
                }
                Err(error) => refused = error,
            }
            if refused.raw_os_error() != Some(libc::EOPNOTSUPP) {
                break;
            }
        }
        Err(explain(site, refused))
    }

    /// Puts another root in this one's site.
    pub(crate) fn update(&self, root: &OwnedFd) -> Result<()> {
        link::update(&self.link, root).map_err(|source| Error::Kernel {
            object: "chain root".to_owned(),
            stage: "replace",
            source,
            remedy: "the driver may not take packets of one buffer only; lower the MTU, or detach \
                     the extension that is not xdp.frags",
        })
    }

    /// Takes the root off the hook.
    pub(crate) fn detach(&self) -> Result<()> {
        link::detach(&self.link).map_err(|source| Error::Kernel {
            object: "chain root".to_owned(),
            stage: "detach",
            source,
            remedy: "try again",
        })
    }
}

/// What an errno of attaching means.
fn explain(site: &Site<'_>, source: io::Error) -> Error {
    let Site {
        hook,
        target,
        namespace,
        ..
    } = *site;
    let interface = site.interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            let owner = foreign::owner(namespace, target);
            Error::HookTaken {
                hook,
                interface,
                owner,
            }
        }
        Some(libc::EOPNOTSUPP) => Error::NoNative { hook, interface },
        Some(libc::EINVAL) if Version::running() < hook.row().since => Error::TooOld {
            object: format!("{hook} of {interface}"),
            feature: "this hook".to_owned(),
            since: hook.row().since,
            running: Version::running(),
        },
        Some(libc::ENODEV) => Error::NoInterface {
            name: interface,
            namespace: namespace.describe(),
        },
        _ => Error::Kernel {
            object: format!("{hook} of {interface}"),
            stage: "attach",
            source,
            remedy: "the driver may want a smaller MTU or more queues; --mode generic works on all",
        },
    }
}
