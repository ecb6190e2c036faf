//! Maps: the shapes that nke makes itself, and bytes in and out of any map.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{Attribute, Command, Info, address, address_mut, bpf, bpf_fd, by_id, ids, info, raw};

mod entries;
mod memory;

pub use self::{
    entries::{Batch, Locked, flags, lookup_with, next_key, pop, remove, update_with},
    memory::Memory,
};

/// What `BPF_MAP_CREATE` is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape<'a> {
    /// `enum bpf_map_type`
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// `BPF_F_…`
    pub flags: u32,
    /// The name that the kernel shows; cut to 15 characters.
    pub name: &'a str,
}

const PROG_ARRAY: u32 = 3;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const ARRAY_OF_MAPS: u32 = 12;
const SOCKHASH: u32 = 18;

impl<'a> Shape<'a> {
    /// A program array of one entry.
    pub const fn program_array(name: &'a str) -> Self {
        Self {
            map_type: PROG_ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
            name,
        }
    }

    /// An array of one value of `value_size` bytes.
    pub const fn array(name: &'a str, value_size: u32) -> Self {
        Self {
            map_type: ARRAY,
            key_size: 4,
            value_size,
            max_entries: 1,
            flags: 0,
            name,
        }
    }

    /// A hash of sockets, whose keys and values are their cookies.
    pub const fn sockhash(name: &'a str, max_entries: u32) -> Self {
        Self {
            map_type: SOCKHASH,
            key_size: 8,
            value_size: 8,
            max_entries,
            flags: 0,
            name,
        }
    }

    /// An array of one value of `value_size` bytes for each CPU.
    pub const fn per_cpu_array(name: &'a str, value_size: u32) -> Self {
        Self {
            map_type: PERCPU_ARRAY,
            key_size: 4,
            value_size,
            max_entries: 1,
            flags: 0,
            name,
        }
    }
}

#[derive(Default)]
#[repr(C)]
struct CreateAttribute {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for CreateAttribute {}

fn create_attribute(shape: Shape<'_>) -> CreateAttribute {
    CreateAttribute {
        map_type: shape.map_type,
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        map_flags: shape.flags,
        map_name: super::object_name(shape.name),
        ..CreateAttribute::default()
    }
}

fn create_with(shape: Shape<'_>, inner_map_fd: u32) -> io::Result<OwnedFd> {
    let mut attribute = CreateAttribute {
        inner_map_fd,
        ..create_attribute(shape)
    };
    bpf_fd(Command::MapCreate, &mut attribute)
}

/// Makes a storage of 4 bytes for each socket that has one (`BPF_MAP_TYPE_SK_STORAGE`, since 5.2).
/// The key is a socket's descriptor; what is stored goes with the socket.
///
/// # Errors
///
/// As [`create`].
pub fn create_socket_storage(name: &str) -> io::Result<OwnedFd> {
    const SK_STORAGE: u32 = 24;
    const BPF_F_NO_PREALLOC: u32 = 1;
    // The kernel wants to know what is in it (`bpf_local_storage_map_alloc_check`,
    // kernel/bpf/bpf_local_storage.c): the plain number that is type 1 here.
    const NUMBER: u32 = 1;
    let (types, _) = crate::place::plain_btf();
    let btf = super::load_btf(&types)?;
    let mut attribute = CreateAttribute {
        btf_fd: raw(&btf),
        btf_key_type_id: NUMBER,
        btf_value_type_id: NUMBER,
        ..create_attribute(Shape {
            map_type: SK_STORAGE,
            key_size: 4,
            value_size: 4,
            max_entries: 0,
            flags: BPF_F_NO_PREALLOC,
            name,
        })
    };
    bpf_fd(Command::MapCreate, &mut attribute)
}

/// Makes a map.
///
/// # Errors
///
/// The kernel's: `EINVAL`, `ENOMEM`, `EPERM`, `E2BIG`.
pub fn create(shape: Shape<'_>) -> io::Result<OwnedFd> {
    create_with(shape, 0)
}

/// Makes a map of maps, whose members look like `inner`.
///
/// # Errors
///
/// As [`create`].
pub fn create_of_maps(shape: Shape<'_>, inner: impl AsFd) -> io::Result<OwnedFd> {
    create_with(shape, raw(&inner))
}

#[repr(C)]
struct ElementAttribute {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}
// SAFETY: repr(C), no implicit padding; `key` and `value` point to as many bytes as the map's
// keys and values have, which the functions below check against the map's own info.
unsafe impl Attribute for ElementAttribute {}

fn element(map: impl AsFd, key: u64, value: u64) -> ElementAttribute {
    ElementAttribute {
        map_fd: raw(&map),
        padding: 0,
        key,
        value,
        flags: 0,
    }
}

fn check_sizes(map: &impl AsFd, key: &[u8], value: usize) -> io::Result<()> {
    let described = describe(map)?;
    if key.len() == described.key_size as usize && value == described.entry_size() {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidInput))
    }
}

/// Writes an entry; for a map of programs or maps the value is a descriptor.
///
/// # Errors
///
/// `InvalidInput` when the key or value has not the map's size; else the kernel's.
pub fn update(map: impl AsFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    check_sizes(&map, key, value.len())?;
    bpf(
        Command::MapUpdate,
        &mut element(&map, address(key), address(value)),
    )
    .map(drop)
}

/// Reads an entry; for a map of programs or maps the value is an id. `None` if there is none.
///
/// # Errors
///
/// `InvalidInput` when the key or value has not the map's size; else the kernel's.
pub fn lookup(map: impl AsFd, key: &[u8], value: &mut [u8]) -> io::Result<Option<()>> {
    check_sizes(&map, key, value.len())?;
    match bpf(
        Command::MapLookup,
        &mut element(&map, address(key), address_mut(value)),
    ) {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes an entry; nothing happens if there is none.
///
/// # Errors
///
/// `InvalidInput` when the key has not the map's size; else the kernel's.
pub fn delete(map: impl AsFd, key: &[u8]) -> io::Result<()> {
    if key.len() != describe(&map)?.key_size as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    match bpf(Command::MapDelete, &mut element(&map, address(key), 0)) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes what a [socket storage](create_socket_storage) has of a socket; whether there was any.
///
/// # Errors
///
/// The kernel's: `ENOTSOCK` when the descriptor is no socket.
pub fn delete_of_socket(storage: impl AsFd, socket: impl AsFd) -> io::Result<bool> {
    let key = raw(&socket).to_ne_bytes();
    if describe(&storage)?.key_size as usize != key.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    match bpf(Command::MapDelete, &mut element(&storage, address(&key), 0)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        deleted => deleted.map(|_| true),
    }
}

#[repr(C)]
struct FreezeAttribute {
    map_fd: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for FreezeAttribute {}

/// Makes a map read-only for user space, for good.
///
/// # Errors
///
/// The kernel's: `EBUSY` while it is mapped writable.
pub fn freeze(map: impl AsFd) -> io::Result<()> {
    bpf(
        Command::MapFreeze,
        &mut FreezeAttribute { map_fd: raw(&map) },
    )
    .map(drop)
}

#[derive(Default)]
#[repr(C)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}
// SAFETY: repr(C), integers only, no padding: a prefix of struct bpf_map_info.
unsafe impl Info for MapInfo {}

/// What the kernel says of a map.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The kernel's id, not used again until reboot.
    pub id: u32,
    /// `enum bpf_map_type`
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's, in a per-CPU map).
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// `BPF_F_…`
    pub flags: u32,
}

impl Described {
    /// Whether an entry has a value for each CPU.
    pub const fn is_per_cpu(&self) -> bool {
        matches!(self.map_type, 5 | 6 | 10 | 21)
    }

    /// Bytes of an entry's value; those of each CPU are rounded up to 8.
    pub fn entry_size(&self) -> usize {
        let size = self.value_size as usize;
        if self.is_per_cpu() {
            size.next_multiple_of(8) * cpus()
        } else {
            size
        }
    }
}

/// Asks the kernel about a map.
///
/// # Errors
///
/// The kernel's: `EBADF` if this is not a map.
pub fn describe(map: impl AsFd) -> io::Result<Described> {
    let MapInfo {
        id,
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags: flags,
        ..
    } = info(map)?;
    Ok(Described {
        id,
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
    })
}

/// Whether user space can change a map's values no more; the kernel tells it of a descriptor only.
///
/// # Errors
///
/// That of reading `/proc/self/fdinfo`.
pub fn is_frozen(map: impl AsFd) -> io::Result<bool> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", raw(&map)))?;
    let mut lines = about
        .lines()
        .filter_map(|line| line.strip_prefix("frozen:"));
    Ok(lines.any(|frozen| frozen.trim() == "1"))
}

/// The ids of all maps in the kernel.
pub fn all_ids() -> impl Iterator<Item = u32> {
    ids(Command::MapNextId)
}

/// Whether the kernel has a map of this id.
pub fn exists(id: u32) -> bool {
    super::exists(Command::MapNextId, id)
}

/// Opens a map by its id.
///
/// # Errors
///
/// The kernel's: `ENOENT` if it is gone.
pub fn open(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::MapById, id)
}

/// How many values a per-CPU entry holds: the possible CPUs.
pub fn cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

/// One more than the highest number of a CPU that may ever be there: numbers can have gaps.
///
/// # Errors
///
/// That of reading `/sys/devices/system/cpu/possible`; `InvalidData` when it has no number.
pub fn cpu_ids() -> io::Result<u32> {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = possible.trim_end().rsplit(['-', ',']).next();
    last.and_then(|number| number.parse::<u32>().ok()?.checked_add(1))
        .ok_or(io::ErrorKind::InvalidData.into())
}

/// A grace period where membarrier(2) has none: changing a map of maps waits for one
/// (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c).
pub(super) fn grace_period_by_update() {
    let key = 0u32.to_ne_bytes();
    let shape = Shape::array("nke_wait", 4);
    let outer = Shape {
        map_type: ARRAY_OF_MAPS,
        ..shape
    };
    // Nothing is left to try if even this fails, for want of memory.
    let _: Option<()> = create(shape).ok().and_then(|inner| {
        let maps = create_of_maps(outer, &inner).ok()?;
        update(maps, &key, &raw(&inner).to_ne_bytes()).ok()
    });
}
