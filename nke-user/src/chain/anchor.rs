//! What calls a chain's root: the one part of a chain that differs between mechanisms.
//!
//! XDP and TCX programs hang on a `bpf_link`, pinned as `link`; a clsact filter is found by what
//! is written in `filter`. Either is the truth: an anchor that the kernel does not show is gone,
//! whatever is written.

use std::{io, os::fd::OwnedFd, path::Path};

use super::Site;
use crate::{
    clsact::{self, Filter},
    error::{Error, Result},
    foreign,
    interface::Namespace,
    kernel::Version,
    mode::Mode,
    state::{State, Target},
    sys::link,
};

/// An attached root.
#[derive(Debug)]
pub(crate) struct Anchor {
    hold: Hold,
    root: u32,
    pub(crate) mode: Mode,
}

#[derive(Debug)]
enum Hold {
    Link(OwnedFd),
    Filter(Namespace, Filter),
}

/// `XDP_FLAGS_…` of uapi/linux/if_link.h; TCX links have none.
const fn link_flags(mode: Mode) -> u32 {
    match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
        Mode::Tcx | Mode::Clsact => 0,
    }
}

impl Anchor {
    /// Opens a chain's anchor: `None` if it is not attached (any more).
    pub(crate) fn open(state: &State, directory: &Path, target: Target) -> Result<Option<Self>> {
        let Some(mode) = state.read_record(&directory.join("mode"))? else {
            return Ok(None);
        };
        if let Some(filter) = state.read_record::<Filter>(&directory.join("filter"))? {
            let Some(namespace) = Namespace::find(target.netns) else {
                return Ok(None);
            };
            let Some(root) = filter.program(&namespace, target.ifindex) else {
                return Ok(None);
            };
            let ours = super::node_directory(directory, root).exists();
            return Ok(ours.then(|| Self {
                hold: Hold::Filter(namespace, filter),
                root,
                mode,
            }));
        }
        let pin = directory.join("link");
        if !pin.exists() {
            return Ok(None);
        }
        let link = state.get(&pin)?;
        let described =
            link::describe(&link).map_err(|error| state.failed(&pin, "query", error))?;
        let attached = described.ifindex.is_some();
        Ok(attached.then(|| Self {
            hold: Hold::Link(link),
            root: described.program_id,
            mode,
        }))
    }

    /// Takes away what a chain that is not attached left outside the state: part of a clsact.
    pub(crate) fn discard(state: &State, directory: &Path, target: Target) -> Result<()> {
        let filter: Option<Filter> = state.read_record(&directory.join("filter"))?;
        if let (Some(filter), Some(namespace)) = (filter, Namespace::find(target.netns)) {
            // The interface may be gone, and all of this with it.
            let _: io::Result<()> = filter.remove(&namespace, target.ifindex);
        }
        Ok(())
    }

    /// The root program's id.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// Attaches a root to the hook, in the first mode that works of those that may be tried, and
    /// keeps it there.
    pub(crate) fn attach(
        state: &State,
        site: &Site<'_>,
        directory: &Path,
        root: &OwnedFd,
    ) -> Result<()> {
        let asked = site.mode.as_slice();
        let modes = if asked.is_empty() {
            site.hook.row().modes
        } else {
            asked
        };
        let mut refused = io::Error::from(io::ErrorKind::Unsupported);
        for mode in modes {
            state.write_record(&directory.join("mode"), mode)?;
            match attach(state, site, directory, root, *mode)? {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
            if !lacking(*mode, &refused) {
                break;
            }
        }
        Err(explain(site, refused))
    }

    /// Puts another root in this one's place.
    pub(crate) fn update(&self, target: Target, root: &OwnedFd) -> Result<()> {
        match &self.hold {
            Hold::Link(link) => link::update(link, root),
            Hold::Filter(namespace, filter) => filter.replace(namespace, target.ifindex, root),
        }
        .map_err(|source| Error::Kernel {
            object: "chain root".to_owned(),
            stage: "replace",
            source,
            remedy: "the driver may want programs that take packets of several buffers \
                     (xdp.frags): lower the MTU, or leave out the one that does not",
        })
    }

    /// Takes the root off the hook.
    pub(crate) fn detach(&self, target: Target) -> Result<()> {
        match &self.hold {
            Hold::Link(link) => link::detach(link),
            Hold::Filter(namespace, filter) => filter.remove(namespace, target.ifindex),
        }
        .map_err(|source| Error::Kernel {
            object: "chain root".to_owned(),
            stage: "detach",
            source,
            remedy: "try again",
        })
    }
}

/// Attaches in one mode; the inner error is the kernel's.
fn attach(
    state: &State,
    site: &Site<'_>,
    directory: &Path,
    root: &OwnedFd,
    mode: Mode,
) -> Result<io::Result<()>> {
    if mode == Mode::Clsact {
        let ifindex = site.target.ifindex;
        let filter = match clsact::plan(site.namespace, ifindex, site.hook) {
            Ok(filter) => filter,
            Err(error) => return Ok(Err(error)),
        };
        // Written first: a filter stays when nobody holds it, so it must be found again.
        state.write_record(&directory.join("filter"), &filter)?;
        let added = filter.add(site.namespace, ifindex, root);
        if added.is_err() {
            // What cannot be removed now, the next command sweeps.
            let _: io::Result<()> = filter.remove(site.namespace, ifindex);
        }
        return Ok(added);
    }
    let attach_type = site.hook.row().attach_type;
    let create = || link::create(root, site.target.ifindex, attach_type, link_flags(mode));
    match site.namespace.within(create)? {
        Ok(link) => state.pin(&link, &directory.join("link")).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Whether an error says that the driver or the kernel does not have this mode.
fn lacking(mode: Mode, error: &io::Error) -> bool {
    match mode {
        Mode::Native => error.raw_os_error() == Some(libc::EOPNOTSUPP),
        Mode::Tcx => {
            error.raw_os_error() == Some(libc::EINVAL)
                && Version::running() < clsact::NOT_NEEDED_SINCE
        }
        Mode::Generic | Mode::Clsact => false,
    }
}

/// What an errno of attaching means.
fn explain(site: &Site<'_>, source: io::Error) -> Error {
    let Site {
        hook,
        target,
        namespace,
        mode,
        ..
    } = *site;
    let interface = site.interface.to_owned();
    let too_old = |since| Error::TooOld {
        object: format!("{hook} of {interface}"),
        feature: mode.map_or_else(|| "this hook".to_owned(), |mode| format!("mode {mode}")),
        since,
        running: Version::running(),
    };
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
        Some(libc::EINVAL) if Version::running() < hook.row().since => too_old(hook.row().since),
        Some(libc::EINVAL) if mode.is_some_and(|mode| lacking(mode, &source)) => {
            too_old(clsact::NOT_NEEDED_SINCE)
        }
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
