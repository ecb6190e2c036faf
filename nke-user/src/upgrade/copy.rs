//! Entries of one map into another that is laid out differently: I/O, by a decided conversion.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use super::Entries;
use crate::{
    error::{Error, Result},
    sys::map,
};

/// Only where there is none (`BPF_NOEXIST`, uapi/linux/bpf.h).
const NEW: u64 = 1;

/// Entries that are to be copied.
#[derive(Debug)]
pub(crate) struct Copy {
    map: String,
    from: OwnedFd,
    to: OwnedFd,
    entries: Entries,
}

impl Copy {
    /// From an old version's map to a new version's.
    pub(crate) fn new(map: &str, from: &OwnedFd, to: &OwnedFd, entries: &Entries) -> Result<Self> {
        let duplicate = |fd: &OwnedFd| {
            fd.as_fd()
                .try_clone_to_owned()
                .map_err(|source| Error::Kernel {
                    object: format!("map {map}"),
                    stage: "open",
                    source,
                    remedy: "raise the limit of open files",
                })
        };
        Ok(Self {
            map: map.to_owned(),
            from: duplicate(from)?,
            to: duplicate(to)?,
            entries: entries.clone(),
        })
    }

    /// Copies all entries. Programs may change them meanwhile: no more are read than there can be.
    pub(crate) fn run(&self, extension: &str) -> Result<()> {
        self.copy().map_err(|source| Error::Kernel {
            object: format!("{extension}: map {}", self.map),
            stage: "copy",
            remedy: match source.raw_os_error() {
                Some(libc::E2BIG) => {
                    "it has fewer entries in the new version; --reset-maps gives them up"
                }
                Some(libc::EEXIST) => "two entries have one key in the new version",
                _ => "--reset-maps gives its contents up",
            },
            source,
        })
    }

    fn copy(&self) -> io::Result<()> {
        let (old, new) = (map::describe(&self.from)?, map::describe(&self.to)?);
        let step = |described: &map::Described| (described.value_size as usize).next_multiple_of(8);
        let mut behind: Option<Vec<u8>> = None;
        let most = u64::from(old.max_entries).saturating_mul(2);
        for _ in 0..most {
            let Some(key) = map::next_key(&self.from, behind.as_deref())? else {
                return Ok(());
            };
            let mut value = vec![0; old.entry_size()];
            if map::lookup_with(&self.from, &key, &mut value, false)? {
                let mut to_key = vec![0; new.key_size as usize];
                self.entries.key.apply(&key, &mut to_key);
                let mut to_value = vec![0; new.entry_size()];
                if self.entries.is_array {
                    map::lookup_with(&self.to, &to_key, &mut to_value, false)?;
                }
                if old.is_per_cpu() {
                    let pairs = value
                        .chunks(step(&old))
                        .zip(to_value.chunks_mut(step(&new)));
                    pairs.for_each(|(from, to)| self.entries.value.apply(from, to));
                } else {
                    self.entries.value.apply(&value, &mut to_value);
                }
                let flags = if self.entries.is_array {
                    map::flags::ANY
                } else {
                    NEW
                };
                match map::update_with(&self.to, &to_key, &to_value, flags) {
                    // It went and came back while the others were read.
                    Err(error)
                        if error.raw_os_error() == Some(libc::EEXIST) && self.keeps_keys() => {}
                    done => done?,
                }
            }
            behind = Some(key);
        }
        Ok(())
    }

    /// Whether two keys can never become one.
    fn keeps_keys(&self) -> bool {
        self.entries.same_keys
    }
}
