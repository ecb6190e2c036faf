//! Changes of a map's entries.

use aya_obj::generated::BPF_F_MMAPABLE;

use super::{Access, Entry, Map};
use crate::{
    error::Result,
    object::Variable,
    sys::map::{self, Memory, flags},
};

/// The largest value that a processor writes at once.
const AT_ONCE: usize = 8;

const FROZEN: &str = "it is frozen: the verifier has relied on its contents; unload the extension, and load it anew (load --set)";
const DESCRIPTORS: &str =
    "its values are descriptors of programs, maps or sockets, which cannot be typed";
const NOT_MEMORY: &str = "its bytes cannot be written at once: give the array BPF_F_MMAPABLE, or its element \
    a bpf_spin_lock";
const WHOLE: &str = "its bytes cannot be written at once, and a program could see half of them; \
    give it when the extension is loaded (load --set)";

impl Map {
    /// Writes an entry; a queue gets one more. Of a per-CPU map all CPUs get the value, or only one.
    /// For one CPU the others' values are read and written back: what programs change of them in
    /// between is lost.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Value`], [`crate::error::Error::MapUse`],
    /// [`crate::error::Error::Kernel`].
    pub fn update(&self, key: Option<&str>, value: &str, cpu: Option<usize>) -> Result<()> {
        const STAGE: &str = "update";
        match self.kind.access {
            Access::Nothing(reason) => return Err(self.refused(STAGE, reason)),
            Access::Ids | Access::Sockets => return Err(self.refused(STAGE, DESCRIPTORS)),
            Access::Entries | Access::Queue if self.frozen => {
                return Err(self.refused(STAGE, FROZEN));
            }
            Access::Entries | Access::Queue => {}
        }
        if cpu.is_some() && !self.described.is_per_cpu() {
            return Err(self.refused(STAGE, "it has no value for each CPU: leave --cpu out"));
        }
        if self.is_section() {
            let variable = self.variable(self.wanted_key(STAGE, key)?)?;
            let bytes = variable.of.parse(value);
            let bytes = bytes.map_err(|source| self.not_a_value(STAGE, source))?;
            return self
                .check(STAGE, variable)
                .and_then(|()| self.put(variable, &bytes));
        }
        let key = self.key_bytes(STAGE, key)?;
        let value = self.value.parse(value);
        let value = value.map_err(|source| self.not_a_value(STAGE, source))?;
        let value = if self.described.is_per_cpu() {
            self.of_cpus(&key, &value, cpu)?
        } else {
            value
        };
        self.write(&key, &value)
    }

    /// Writes an entry's bytes.
    pub(crate) fn write(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let how = if self.locks() {
            flags::LOCK | flags::EXIST
        } else {
            flags::ANY
        };
        let written = match map::update_with(&self.fd, key, value, how) {
            // There is no lock of an entry that is not there.
            Err(error) if self.locks() && error.raw_os_error() == Some(libc::ENOENT) => {
                map::update_with(&self.fd, key, value, flags::ANY)
            }
            written => written,
        };
        written.map_err(|source| self.failed("update", source))
    }

    /// The values of all CPUs, with this one for one of them or for all.
    fn of_cpus(&self, key: &[u8], value: &[u8], cpu: Option<usize>) -> Result<Vec<u8>> {
        let row = value.len().next_multiple_of(8);
        let mut all = vec![0; self.described.entry_size()];
        let chosen = match cpu {
            None => 0..all.len() / row,
            Some(cpu) if cpu < all.len() / row => {
                let found = map::lookup_with(&self.fd, key, &mut all, false);
                found.map_err(|source| self.failed("update", source))?;
                cpu..cpu + 1
            }
            Some(_) => return Err(self.refused("update", "there is no such CPU")),
        };
        for cpu in chosen {
            all[row * cpu..][..value.len()].copy_from_slice(value);
        }
        Ok(all)
    }

    /// Whether a variable, or a part of an array's first element, can be written while programs use
    /// it.
    pub(crate) fn check(&self, stage: &'static str, place: &Variable) -> Result<()> {
        let size = place.of.size;
        if self.frozen {
            return Err(self.refused(stage, FROZEN));
        }
        if self.locks() {
            return Ok(());
        }
        if !size.is_power_of_two() || size > AT_ONCE || !place.offset.is_multiple_of(size) {
            return Err(self.refused(stage, WHOLE));
        }
        if self.described.flags & BPF_F_MMAPABLE == 0 {
            return Err(self.refused(stage, NOT_MEMORY));
        }
        Ok(())
    }

    /// Writes a variable, or a part of an array's first element, at once: by one store, or while its
    /// spin lock is held.
    pub(crate) fn put(&self, place: &Variable, bytes: &[u8]) -> Result<()> {
        if self.locks() {
            let key = 0u32.to_ne_bytes();
            let mut value = vec![0; self.described.entry_size()];
            map::lookup_with(&self.fd, &key, &mut value, true)
                .map_err(|source| self.failed("read", source))?;
            if let Some(there) = value.get_mut(place.offset..place.offset + bytes.len()) {
                there.copy_from_slice(bytes);
            }
            return self.write(&key, &value);
        }
        Memory::map(&self.fd)
            .and_then(|memory| memory.store(place.offset, bytes))
            .map_err(|source| self.failed("update", source))
    }

    /// Deletes an entry. Of a queue the next value is taken out, and is the result.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::NoEntry`], [`crate::error::Error::Value`],
    /// [`crate::error::Error::MapUse`], [`crate::error::Error::Kernel`].
    pub fn delete(&self, key: Option<&str>) -> Result<Option<Entry>> {
        const STAGE: &str = "delete";
        match self.kind.access {
            Access::Nothing(reason) => return Err(self.refused(STAGE, reason)),
            _ if self.frozen => return Err(self.refused(STAGE, FROZEN)),
            _ if self.is_section() => {
                return Err(self.refused(STAGE, "its entries are variables, which stay"));
            }
            Access::Queue => {
                let mut value = self.key_bytes(STAGE, key)?;
                value.resize(self.described.entry_size(), 0);
                let taken = map::pop(&self.fd, &mut value);
                return match taken.map_err(|source| self.failed(STAGE, source))? {
                    true => Ok(Some(self.entry(&[], &value))),
                    false => Err(self.no_entry(STAGE, None)),
                };
            }
            Access::Entries | Access::Ids | Access::Sockets => {}
        }
        let bytes = self.key_bytes(STAGE, key)?;
        let deleted = map::remove(&self.fd, &bytes);
        let deleted = deleted.map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL) if kind_is_array(self.kind.name) => {
                self.refused(STAGE, "the entries of an array stay: update it")
            }
            _ => self.failed(STAGE, source),
        })?;
        if deleted {
            Ok(None)
        } else {
            Err(self.no_entry(STAGE, key))
        }
    }
}

fn kind_is_array(kind: &str) -> bool {
    matches!(kind, "array" | "percpu_array")
}
