//! Entries of maps of any kind: one by one, and many at once.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    super::{Attribute, Command, address, address_mut, bpf, raw},
    check_sizes, describe, element,
};

/// How an entry is written or read.
pub mod flags {
    /// `BPF_ANY`
    pub const ANY: u64 = 0;
    /// `BPF_EXIST`: only where there is one.
    pub const EXIST: u64 = 2;
    /// `BPF_F_LOCK`: while the value's own spin lock is held (since 5.1).
    pub const LOCK: u64 = 4;
}

/// Whether a value's own spin lock is held while it is copied.
pub type Locked = bool;

const fn lock(locked: Locked) -> u64 {
    if locked { flags::LOCK } else { flags::ANY }
}

/// Writes an entry.
///
/// # Errors
///
/// `InvalidInput` when the key or value has not the map's size; else the kernel's: `E2BIG` and
/// `ENOSPC` when it is full.
pub fn update_with(map: impl AsFd, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    check_sizes(&map, key, value.len())?;
    let mut attribute = element(&map, address(key), address(value));
    attribute.flags = flags;
    bpf(Command::MapUpdate, &mut attribute).map(drop)
}

/// Reads an entry; whether there is one.
///
/// # Errors
///
/// `InvalidInput` when the key or value has not the map's size; else the kernel's.
pub fn lookup_with(
    map: impl AsFd,
    key: &[u8],
    value: &mut [u8],
    locked: Locked,
) -> io::Result<bool> {
    check_sizes(&map, key, value.len())?;
    let mut attribute = element(&map, address(key), address_mut(value));
    attribute.flags = lock(locked);
    found(bpf(Command::MapLookup, &mut attribute))
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|_| true),
    }
}

/// Deletes an entry; whether there was one.
///
/// # Errors
///
/// `InvalidInput` when the key has not the map's size; else the kernel's.
pub fn remove(map: impl AsFd, key: &[u8]) -> io::Result<bool> {
    if key.len() != describe(&map)?.key_size as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    found(bpf(Command::MapDelete, &mut element(&map, address(key), 0)))
}

/// Takes the next value out of a queue or stack; whether there was one.
///
/// # Errors
///
/// `InvalidInput` when the value has not the map's size; else the kernel's.
pub fn pop(map: impl AsFd, value: &mut [u8]) -> io::Result<bool> {
    check_sizes(&map, &[], value.len())?;
    let mut attribute = element(&map, 0, address_mut(value));
    found(bpf(Command::MapLookupAndDelete, &mut attribute))
}

/// The key behind another, or the first; `None` behind the last. Behind a key that is not there (any
/// more) is the first again, in most maps.
///
/// # Errors
///
/// `InvalidInput` when the key has not the map's size; else the kernel's.
pub fn next_key(map: impl AsFd, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
    let size = describe(&map)?.key_size as usize;
    if key.is_some_and(|key| key.len() != size) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut next = vec![0; size];
    let key = key.map_or(0, address);
    let next_address = address_mut(&mut next);
    let there = found(bpf(
        Command::MapNextKey,
        &mut element(&map, key, next_address),
    ))?;
    Ok(there.then_some(next))
}

#[repr(C)]
struct BatchAttribute {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}
// SAFETY: repr(C), no padding. `in_batch` and `out_batch` point to as many bytes as the kernel takes
// (4, or those of a key), `keys` and `values` to `count` of the map's, by `Batch::new`.
unsafe impl Attribute for BatchAttribute {}

/// A walk through a map, many entries at a time (`BPF_MAP_LOOKUP_BATCH`, since 5.6). What is
/// changed meanwhile may be seen or not.
#[derive(Debug)]
pub struct Batch {
    map: OwnedFd,
    key_size: usize,
    value_size: usize,
    /// Where the kernel goes on; what it is, only the kernel knows.
    at: Vec<u8>,
    started: bool,
    keys: Vec<u8>,
    values: Vec<u8>,
    locked: Locked,
}

impl Batch {
    /// Begins a walk, which takes so many entries at once.
    ///
    /// # Errors
    ///
    /// That of asking the kernel about the map.
    pub fn new(map: OwnedFd, count: usize, locked: Locked) -> io::Result<Self> {
        let described = describe(&map)?;
        let key_size = described.key_size as usize;
        let value_size = described.entry_size();
        Ok(Self {
            map,
            key_size,
            value_size,
            // A hash's walk is at a bucket, whose number has 4 bytes; others are at a key.
            at: vec![0; key_size.max(4)],
            started: false,
            keys: vec![0; key_size * count],
            values: vec![0; value_size * count],
            locked,
        })
    }

    /// The key that it is at, in maps whose walk is by keys.
    pub fn key(&self) -> Option<Vec<u8>> {
        let key = self.started.then(|| self.at.get(..self.key_size));
        key.flatten().map(<[u8]>::to_vec)
    }

    /// The next entries, and whether they are the last. When none fit, there is more room the next
    /// time.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOTSUPP` (524) or `EINVAL` where a map has no such walk; `EINTR` when entries
    /// went away under it.
    #[expect(clippy::type_complexity, reason = "keys with their values")]
    pub fn more(&mut self) -> io::Result<(Vec<(&[u8], &[u8])>, bool)> {
        let mut out = vec![0; self.at.len()];
        let room = self.keys.len() / self.key_size.max(1);
        let mut attribute = BatchAttribute {
            in_batch: if self.started { address(&self.at) } else { 0 },
            out_batch: address_mut(&mut out),
            keys: address_mut(&mut self.keys),
            values: address_mut(&mut self.values),
            count: u32::try_from(room).unwrap_or(u32::MAX),
            map_fd: raw(&self.map),
            elem_flags: lock(self.locked),
            flags: 0,
        };
        let done = bpf(Command::MapLookupBatch, &mut attribute);
        let last = match done {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // A bucket has more entries than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                self.keys.resize(self.keys.len() * 2, 0);
                self.values.resize(self.values.len() * 2, 0);
                return Ok((Vec::new(), false));
            }
            Err(error) => return Err(error),
        };
        self.started = true;
        self.at = out;
        let keys = self.keys.chunks_exact(self.key_size.max(1));
        let values = self.values.chunks_exact(self.value_size.max(1));
        let entries = keys.zip(values).take((attribute.count as usize).min(room));
        Ok((entries.collect(), last))
    }
}
