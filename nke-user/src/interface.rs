//! Interfaces and the network namespaces that they are in.
//!
//! Interface indexes are not unique across namespaces, so a namespace is always part of what an
//! interface is known by: its inode, which is what the kernel itself shows (`ip netns`, lsns(8)).
//!
//! ```no_run
//! use nke::interface::Namespace;
//!
//! let namespace = Namespace::open(Some("blue"))?;
//! let index = namespace.index("eth0")?;
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use netlink_packet_route::{
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkMessage},
};
use rustix::thread::LinkNameSpaceType;

use crate::{
    error::{Error, Result},
    netlink::{self, Message},
    state::names_in,
};

/// Where `ip netns add` keeps named namespaces.
const NAMED: &str = "/run/netns";
const OWN: &str = "/proc/self/ns/net";
const NOT_ONE: &str = "it is not a network namespace";

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    inode: u64,
    name: Option<String>,
}

impl Namespace {
    /// Opens a namespace: the caller's own, one of a name in /run/netns, or one at a path (what
    /// holds a `/`).
    ///
    /// # Errors
    ///
    /// [`Error::NoNamespace`].
    pub fn open(name: Option<&str>) -> Result<Self> {
        let path = match name {
            None => PathBuf::from(OWN),
            Some(path) if path.contains('/') => PathBuf::from(path),
            Some(name) => Path::new(NAMED).join(name),
        };
        let failed = |source| {
            let name = name.unwrap_or("of this process").to_owned();
            Error::NoNamespace { name, source }
        };
        let file = File::open(&path).map_err(failed)?;
        let is_namespace = rustix::fs::fstatfs(&file).is_ok_and(|f| f.f_type == NSFS_MAGIC);
        if !is_namespace {
            return Err(failed(io::Error::other(NOT_ONE)));
        }
        let inode = file.metadata().map_err(failed)?.ino();
        let own = fs::metadata(OWN).is_ok_and(|own| own.ino() == inode);
        let name = if own { None } else { name.map(str::to_owned) };
        Ok(Self { file, inode, name })
    }

    /// The namespace of this inode, if any path to it can be found: the caller's own, a named
    /// one, or that of a process.
    pub fn find(inode: u64) -> Option<Self> {
        Self::seek(inode).ok().flatten()
    }

    /// The same, but that it cannot be looked for is an error: then it is not gone.
    pub(crate) fn seek(inode: u64) -> Result<Option<Self>> {
        if is_namespace(Path::new(OWN), inode)? {
            return Self::open(None).map(Some);
        }
        for name in listed(Path::new(NAMED))? {
            if is_namespace(&Path::new(NAMED).join(&name), inode)? {
                return Self::open(Some(&name)).map(Some);
            }
        }
        for process in listed(Path::new("/proc"))? {
            let path = format!("/proc/{process}/ns/net");
            if is_namespace(Path::new(&path), inode)? {
                return Self::open(Some(&path)).map(Some);
            }
        }
        Ok(None)
    }

    /// Every namespace that any path to can be found: the caller's own, those with a name, and
    /// those of processes, which may be the same.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let named = crate::state::names(Path::new(NAMED)).into_iter();
        let processes = crate::state::names(Path::new("/proc")).into_iter();
        let processes = processes.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
        let paths = named.chain(processes.map(|pid| format!("/proc/{pid}/ns/net")));
        let mut seen = HashSet::new();
        let others = paths.filter_map(|path| Self::open(Some(&path)).ok());
        Self::open(None)
            .into_iter()
            .chain(others)
            .filter(move |namespace| seen.insert(namespace.inode))
    }

    /// The inode, by which the kernel and nke's state know it.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Its name or path, as given or found; `None` for the caller's own.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Runs `work` with the calling thread in this namespace.
    ///
    /// # Errors
    ///
    /// [`Error::NoNamespace`] if it cannot be entered.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        if self.name.is_none() {
            return Ok(work());
        }
        let failed = |source: io::Error| Error::NoNamespace {
            name: self.name.clone().unwrap_or_default(),
            source,
        };
        let home = File::open("/proc/thread-self/ns/net").map_err(failed)?;
        enter(&self.file).map_err(|error| {
            // One of another kind: of mounts, of processes.
            let other = error.kind() == io::ErrorKind::InvalidInput;
            failed(if other {
                io::Error::other(NOT_ONE)
            } else {
                error
            })
        })?;
        let _home = Home(home);
        Ok(work())
    }

    /// The addresses of all interfaces in it, each once.
    ///
    /// # Errors
    ///
    /// [`Error::NoNamespace`] if it cannot be asked.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let question = Message::GetAddress(AddressMessage::default());
        let answers = netlink::dump(self, question).map_err(|source| Error::NoNamespace {
            name: self.describe(),
            source,
        })?;
        let mut all = Vec::new();
        for answer in answers {
            let Message::NewAddress(message) = answer else {
                continue;
            };
            // Of a link between two hosts, the own end is the local one.
            let (mut local, mut any) = (None, None);
            for attribute in &message.attributes {
                if let AddressAttribute::Local(address) = attribute {
                    local = Some(*address);
                } else if let AddressAttribute::Address(address) = attribute {
                    any = Some(*address);
                }
            }
            let own = local.or(any);
            all.extend(own.filter(|own| !all.contains(own)));
        }
        Ok(all)
    }

    /// The index of an interface.
    ///
    /// # Errors
    ///
    /// [`Error::NoInterface`]; [`Error::NoNamespace`] if it cannot be asked.
    pub fn index(&self, interface: &str) -> Result<u32> {
        let index = self.within(|| rustix::net::netdevice::name_to_index(socket()?, interface))?;
        index.map_err(|error| match error {
            rustix::io::Errno::NODEV => Error::NoInterface {
                name: interface.to_owned(),
                namespace: self.describe(),
            },
            other => Error::NoNamespace {
                name: self.describe(),
                source: other.into(),
            },
        })
    }

    /// The name of an interface; `None` if it is gone.
    pub fn interface(&self, index: u32) -> Option<String> {
        self.within(|| rustix::net::netdevice::index_to_name(socket()?, index))
            .ok()?
            .ok()
    }

    /// The names of its interfaces, in the order of their indexes; none if they cannot be asked for.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let links = netlink::dump(self, Message::GetLink(LinkMessage::default()));
        let mut found: Vec<_> = links
            .unwrap_or_default()
            .into_iter()
            .filter_map(|answer| {
                let Message::NewLink(link) = answer else {
                    return None;
                };
                let name = link.attributes.into_iter().find_map(|attribute| {
                    if let LinkAttribute::IfName(name) = attribute {
                        Some(name)
                    } else {
                        None
                    }
                });
                Some((link.header.index, name?))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// How a message speaks of it.
    pub fn describe(&self) -> String {
        match &self.name {
            Some(name) => format!("network namespace {name}"),
            None => "this network namespace".to_owned(),
        }
    }
}

/// The names in a directory; none if it does not exist.
fn listed(directory: &Path) -> Result<Vec<String>> {
    names_in(directory).map_err(|source| Error::NoNamespace {
        name: directory.display().to_string(),
        source,
    })
}

/// Whether this path is the namespace of this inode. What is not there, or may not be seen, is not.
fn is_namespace(path: &Path, inode: u64) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.ino() == inode),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH | libc::EACCES | libc::EPERM) => {
                Ok(false)
            }
            _ => Err(Error::NoNamespace {
                name: path.display().to_string(),
                source: error,
            }),
        },
    }
}

/// The magic number of the file system that namespaces live in (uapi/linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Goes back to the namespace that a thread came from, even when its work panics.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        // A thread that cannot go home would do the rest of its work in the wrong place.
        if enter(&self.0).is_err() {
            std::process::abort();
        }
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).map_err(Into::into)
}

fn socket() -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
