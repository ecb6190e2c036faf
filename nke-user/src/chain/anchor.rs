//! What calls a chain's root: the one part of a chain that differs between mechanisms.
//!
//! Most hang on a `bpf_link`, pinned as `link`, netfilter on one for each family, streams on one to
//! a sockhash and one that fills it; a clsact filter is found by what is written in `filter`. Either
//! is the truth: an anchor that the kernel does not show is gone, whatever is written. Where in
//! netfilter is written in `netfilter`: most kernels do not show all of it.

use std::{io, os::fd::OwnedFd, path::Path};

use super::{
    Site,
    sockhash::{self, Root},
};
use crate::{
    clsact::{self, Filter},
    error::{Error, Result},
    foreign,
    hook::Hook,
    interface::Namespace,
    kernel::Version,
    mode::Mode,
    netfilter::{DEFRAG_SINCE, Netfilter},
    state::State,
    sys::link,
    target::{Spot, Target},
};

/// An attached root.
#[derive(Debug)]
pub(crate) struct Anchor {
    hold: Hold,
    root: u32,
    pub(crate) mode: Mode,
    /// Where in netfilter it is called, at the hooks there.
    pub(crate) netfilter: Option<Netfilter>,
}

#[derive(Debug)]
enum Hold {
    Links(Vec<OwnedFd>),
    Filter {
        namespace: Namespace,
        ifindex: u32,
        filter: Filter,
    },
}

/// `XDP_FLAGS_…` of uapi/linux/if_link.h; TCX links have none.
const fn link_flags(mode: Mode) -> u32 {
    match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
        Mode::Tcx
        | Mode::Clsact
        | Mode::Netfilter
        | Mode::Cgroup
        | Mode::Namespace
        | Mode::Sockmap => 0,
    }
}

impl Anchor {
    /// Opens a chain's anchor: `None` if it is not attached (any more).
    pub(crate) fn open(state: &State, directory: &Path, target: Target) -> Result<Option<Self>> {
        let Some(mode) = state.read_record(&directory.join("mode"))? else {
            return Ok(None);
        };
        let Some((hold, root)) = (match mode {
            Mode::Clsact => open_filter(state, directory, target)?,
            Mode::Native
            | Mode::Generic
            | Mode::Tcx
            | Mode::Netfilter
            | Mode::Cgroup
            | Mode::Namespace
            | Mode::Sockmap => open_links(state, directory, mode, target)?,
        }) else {
            return Ok(None);
        };
        let ours = state.has(&super::node_directory(directory, root))?;
        let netfilter = if mode == Mode::Netfilter {
            let record = state.read_record(&directory.join("netfilter"))?;
            Some(record.unwrap_or_default())
        } else {
            None
        };
        Ok(ours.then_some(Self {
            hold,
            root,
            mode,
            netfilter,
        }))
    }

    /// Takes away what a chain that is not attached left outside the state: part of a clsact.
    pub(crate) fn discard(state: &State, directory: &Path, target: Target) -> Result<()> {
        let filter: Option<Filter> = state.read_record(&directory.join("filter"))?;
        if let (Some(filter), Some((namespace, ifindex))) = (filter, interface(target)?) {
            // The interface may be gone, and all of this with it; or another's filter be there.
            let is_root = |program| super::node_directory(directory, program).exists();
            let _: io::Result<()> = filter.remove(&namespace, ifindex, is_root);
        }
        Ok(())
    }

    /// The root program's id.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// The program on another hook that it needs, if it does.
    pub(crate) fn helper(&self) -> Option<u32> {
        match (&self.hold, self.mode) {
            (Hold::Links(links), Mode::Sockmap) => {
                let described = link::describe(links.last()?).ok()?;
                Some(described.program_id)
            }
            (Hold::Links(_) | Hold::Filter { .. }, _) => None,
        }
    }

    /// Where the root is among what others have on the hook.
    pub(crate) fn own(&self) -> foreign::Own {
        foreign::Own {
            program_id: self.root,
            priority: self.netfilter.map(|at| at.priority.number()),
        }
    }

    /// The index that its interface has now, if it hangs on one by a link.
    pub(crate) fn ifindex(&self) -> Option<u32> {
        match (&self.hold, self.mode) {
            (Hold::Links(links), Mode::Native | Mode::Generic | Mode::Tcx) => {
                let described = link::describe(links.first()?).ok()?;
                Some(described.target)
            }
            (Hold::Links(_) | Hold::Filter { .. }, _) => None,
        }
    }

    /// Attaches a root to the hook, in the first mode that works of those that may be tried, and
    /// keeps it there.
    pub(crate) fn attach(
        state: &State,
        site: &Site<'_>,
        directory: &Path,
        root: &Root,
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
            if *mode == Mode::Netfilter {
                state.write_record(&directory.join("netfilter"), &site.netfilter)?;
            }
            match attach(state, site, directory, root, *mode)? {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
            if !lacking(*mode, &refused) {
                break;
            }
        }
        Err(explain(site, refused, Version::running()))
    }

    /// Puts another root in this one's place.
    pub(crate) fn update(&self, root: &OwnedFd) -> Result<()> {
        match &self.hold {
            Hold::Links(links) => links.iter().try_for_each(|link| link::update(link, root)),
            Hold::Filter {
                namespace,
                ifindex,
                filter,
            } => filter.replace(namespace, *ifindex, root),
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
    pub(crate) fn detach(&self) -> Result<()> {
        match &self.hold {
            Hold::Links(links) => links.iter().rev().try_for_each(link::detach),
            Hold::Filter {
                namespace,
                ifindex,
                filter,
            } => filter.remove(namespace, *ifindex, |program| program == self.root),
        }
        .map_err(|source| Error::Kernel {
            object: "chain root".to_owned(),
            stage: "detach",
            source,
            remedy: "try again",
        })
    }
}

/// The interface that a target is, if its namespace can be found.
fn interface(target: Target) -> Result<Option<(Namespace, u32)>> {
    let (Some(netns), Some(ifindex)) = (target.netns(), target.ifindex()) else {
        return Ok(None);
    };
    Ok(Namespace::seek(netns)?.map(|namespace| (namespace, ifindex)))
}

fn open_filter(state: &State, directory: &Path, target: Target) -> Result<Option<(Hold, u32)>> {
    let filter: Option<Filter> = state.read_record(&directory.join("filter"))?;
    let (Some(filter), Some((namespace, ifindex))) = (filter, interface(target)?) else {
        return Ok(None);
    };
    let root = filter.program(&namespace, ifindex);
    let root = root.map_err(|error| state.failed(directory, "query the filter of", error))?;
    Ok(root.map(|root| {
        (
            Hold::Filter {
                namespace,
                ifindex,
                filter,
            },
            root,
        )
    }))
}

fn open_links(
    state: &State,
    directory: &Path,
    mode: Mode,
    target: Target,
) -> Result<Option<(Hold, u32)>> {
    let mut links = Vec::new();
    let mut root = None;
    for pin in link_pins(mode).iter().map(|name| directory.join(name)) {
        if !state.has(&pin)? {
            return Ok(None);
        }
        let link = state.get(&pin)?;
        let described =
            link::describe(&link).map_err(|error| state.failed(&pin, "query", error))?;
        if !described.attached {
            return Ok(None);
        }
        root.get_or_insert(described.program_id);
        links.push(link);
    }
    if let (Mode::Netfilter, Some(netns)) = (mode, target.netns())
        && Namespace::seek(netns)?.is_none()
    {
        // Its links keep a namespace alive: one that nobody else can reach is gone.
        return Ok(None);
    }
    Ok(root.map(|root| (Hold::Links(links), root)))
}

/// The pins that together are a chain's links, of which the first calls the root: netfilter has one
/// for each family.
const fn link_pins(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Netfilter => &["link", "link6"],
        Mode::Sockmap => &sockhash::PINS,
        Mode::Native
        | Mode::Generic
        | Mode::Tcx
        | Mode::Clsact
        | Mode::Cgroup
        | Mode::Namespace => &["link"],
    }
}

/// Attaches in one mode; the inner error is the kernel's.
fn attach(
    state: &State,
    site: &Site<'_>,
    directory: &Path,
    root: &Root,
    mode: Mode,
) -> Result<io::Result<()>> {
    match (mode, site.spot) {
        (
            Mode::Clsact,
            Spot::Interface {
                namespace, index, ..
            },
        ) => add_filter(
            state,
            site.hook,
            directory,
            &root.program,
            (namespace, *index),
        ),
        _ => {
            let links = match make_links(site, root, mode)? {
                Ok(links) => links,
                Err(error) => return Ok(Err(error)),
            };
            let pins = link_pins(mode).iter().map(|name| directory.join(name));
            pins.zip(&links)
                .try_for_each(|(pin, link)| state.pin(link, &pin))
                .map(Ok)
        }
    }
}

/// Makes the links of a mode. They last only as long as this process until they are pinned.
fn make_links(site: &Site<'_>, root: &Root, mode: Mode) -> Result<io::Result<Vec<OwnedFd>>> {
    let program = &root.program;
    let attach_type = site.hook.row().attach_type;
    let one = |link: io::Result<OwnedFd>| link.map(|link| vec![link]);
    Ok(match site.spot {
        Spot::Interface {
            namespace, index, ..
        } => {
            let flags = link_flags(mode);
            one(namespace.within(|| link::create(program, *index, attach_type, flags))?)
        }
        Spot::Namespace(namespace) if mode == Mode::Namespace => {
            one(link::create_at(program, namespace, attach_type))
        }
        Spot::Namespace(namespace) => {
            let families = [libc::PF_INET, libc::PF_INET6].into_iter();
            let Netfilter { priority, defrag } = site.netfilter;
            let make = |family: i32| {
                let netfilter = link::Netfilter {
                    family: family.cast_unsigned(),
                    hook: attach_type,
                    priority: priority.number(),
                    defrag,
                };
                link::create_netfilter(program, netfilter)
            };
            namespace.within(|| families.map(make).collect())?
        }
        Spot::Cgroup(cgroup) if mode == Mode::Sockmap => root.hang(site.hook, cgroup)?,
        Spot::Cgroup(cgroup) => one(link::create_at(program, &cgroup.directory, attach_type)),
    })
}

fn add_filter(
    state: &State,
    hook: Hook,
    directory: &Path,
    root: &OwnedFd,
    (namespace, ifindex): (&Namespace, u32),
) -> Result<io::Result<()>> {
    let netns = namespace.inode();
    let back = if hook == Hook::INTERFACE_OUT {
        Hook::INTERFACE_IN
    } else {
        Hook::INTERFACE_OUT
    };
    let back = state.chain(back, Target::Interface { netns, ifindex });
    let other: Option<Filter> = state.read_record(&back.join("filter"))?;
    let filter = match clsact::plan(namespace, ifindex, hook, other.as_ref()) {
        Ok(filter) => filter,
        Err(error) => return Ok(Err(error)),
    };
    // Written first: a filter stays when nobody holds it, so it must be found again.
    state.write_record(&directory.join("filter"), &filter)?;
    let added = filter.add(namespace, ifindex, root);
    if added.is_err() {
        // What cannot be removed now, the next command sweeps.
        let is_root = |program| super::node_directory(directory, program).exists();
        let _: io::Result<()> = filter.remove(namespace, ifindex, is_root);
    }
    Ok(added)
}

/// Whether an error says that the driver or the kernel does not have this mode.
fn lacking(mode: Mode, error: &io::Error) -> bool {
    match mode {
        // The second is a driver's word for packets too large for one buffer.
        Mode::Native => matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ERANGE)),
        Mode::Tcx => {
            error.raw_os_error() == Some(libc::EINVAL)
                && Version::running() < clsact::NOT_NEEDED_SINCE
        }
        Mode::Generic
        | Mode::Clsact
        | Mode::Netfilter
        | Mode::Cgroup
        | Mode::Namespace
        | Mode::Sockmap => false,
    }
}

/// What an errno of attaching means on the kernel that runs.
fn explain(site: &Site<'_>, source: io::Error, running: Version) -> Error {
    let Site {
        hook,
        spot,
        mode,
        netfilter,
    } = *site;
    let place = spot.to_string();
    let too_old = |since| Error::TooOld {
        object: format!("{hook} of {place}"),
        feature: mode.map_or_else(|| "this hook".to_owned(), |mode| format!("mode {mode}")),
        since,
        running,
    };
    let older = running < hook.row().since && source.raw_os_error() == Some(libc::EINVAL);
    if hook.row().modes == [Mode::Netfilter] && !older {
        return explain_netfilter(hook, place, netfilter, source, running);
    }
    match (source.raw_os_error(), spot) {
        (
            Some(libc::EBUSY | libc::EEXIST),
            Spot::Interface {
                namespace, index, ..
            },
        ) => {
            let owner = foreign::owner(namespace, *index);
            Error::HookTaken {
                hook,
                interface: place,
                owner,
            }
        }
        (Some(libc::EOPNOTSUPP), Spot::Interface { .. }) => Error::NoNative {
            hook,
            interface: place,
        },
        // A mode may be younger than its hook.
        (Some(libc::EINVAL), _) if mode.is_some_and(|mode| lacking(mode, &source)) => {
            too_old(clsact::NOT_NEEDED_SINCE)
        }
        _ if older => too_old(hook.row().since),
        (Some(libc::ENODEV), Spot::Interface { namespace, .. }) => Error::NoInterface {
            name: place,
            namespace: namespace.describe(),
        },
        (_, Spot::Interface { .. }) => Error::Kernel {
            object: format!("{hook} of {place}"),
            stage: "attach",
            source,
            remedy: "the driver may want a smaller MTU or more queues; --mode generic works on all",
        },
        // The root is loaded by then, which takes the same capabilities.
        (Some(libc::EPERM), Spot::Cgroup(_)) => Error::Exclusive {
            hook,
            cgroup: place,
        },
        (Some(libc::E2BIG), Spot::Cgroup(_)) => Error::Kernel {
            object: format!("{hook} of {place}"),
            stage: "attach",
            source,
            remedy: "the cgroup has as many programs of others as the kernel takes; detach one",
        },
        _ => Error::Kernel {
            object: format!("{hook} of {place}"),
            stage: "attach",
            source,
            remedy: "check that the kernel has this hook",
        },
    }
}

/// Likewise of netfilter links, on a kernel that has them.
fn explain_netfilter(
    hook: Hook,
    place: String,
    at: Netfilter,
    source: io::Error,
    running: Version,
) -> Error {
    let Netfilter { priority, defrag } = at;
    match source.raw_os_error() {
        Some(libc::EBUSY) => Error::PriorityTaken {
            hook,
            place,
            priority,
        },
        Some(libc::EOPNOTSUPP) if defrag && running < DEFRAG_SINCE => Error::TooOld {
            object: format!("{hook} of {place}"),
            feature: "--defrag".to_owned(),
            since: DEFRAG_SINCE,
            running,
        },
        // No such code, or a module of it that is not there or does not load.
        Some(libc::EAFNOSUPPORT | libc::ENOENT | libc::EINVAL) if defrag => Error::NoDefrag {
            hook,
            place,
            source,
        },
        _ => Error::Kernel {
            object: format!("{hook} of {place}"),
            stage: "attach",
            source,
            remedy: "it takes a kernel with CONFIG_NETFILTER_BPF_LINK",
        },
    }
}
