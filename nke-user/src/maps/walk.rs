//! All entries of a map, many at a time, while programs go on to change it.
//!
//! The kernel's own walk by batches ends by itself in a hash. In other maps, and where there is no
//! such walk, entries that come and go could keep it going for ever: no more are read than the map
//! can have.

use std::io;

use super::{Entry, Map, variable_entry};
use crate::{
    error::Result,
    sys::map::{self, Batch},
};

/// Bytes of keys and values that are read at once, about.
const AT_ONCE: usize = 256 << 10;

/// How often a batch is tried again that entries went away from.
const TRIES: usize = 16;

/// What bpf(2) answers where it does not know a command for a kind of map.
const ENOTSUPP: i32 = 524;

/// A walk through a map's entries.
#[derive(Debug)]
pub struct Walk<'a> {
    map: &'a Map,
    step: Step,
    seen: u64,
    complete: bool,
}

#[derive(Debug)]
enum Step {
    /// The variables of a data section are one step.
    Section,
    Batch(Batch),
    /// Behind this key.
    Key(Option<Vec<u8>>),
    Done,
}

impl<'a> Walk<'a> {
    pub(super) fn new(map: &'a Map) -> Result<Self> {
        let step = if map.is_section() {
            Step::Section
        } else {
            let size = map.described.key_size as usize + map.described.entry_size();
            let most = usize::try_from(map.described.max_entries).unwrap_or(usize::MAX);
            let count = (AT_ONCE / size.max(1)).clamp(1, 4096).min(most.max(1));
            let fd = map
                .fd
                .try_clone()
                .map_err(|source| map.failed("dump", source))?;
            let batch = Batch::new(fd, count, map.locks());
            Step::Batch(batch.map_err(|source| map.failed("dump", source))?)
        };
        Ok(Self {
            map,
            step,
            seen: 0,
            complete: true,
        })
    }

    /// Whether the walk came to the map's end; not, where entries came as fast as they were read.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The next entries; `None` at the end. There may be none among them for once.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Kernel`].
    pub fn more(&mut self) -> Result<Option<Vec<Entry>>> {
        let failed = |source| self.map.failed("dump", source);
        let entries = match &mut self.step {
            Step::Done => return Ok(None),
            Step::Section => {
                let section = self.map.section()?;
                let entries = self
                    .map
                    .variables
                    .iter()
                    .map(|v| variable_entry(v, &section));
                let entries = entries.collect();
                self.step = Step::Done;
                return Ok(Some(entries));
            }
            Step::Batch(batch) => match read_batch(self.map, batch) {
                Ok((entries, last)) => {
                    if last {
                        self.step = Step::Done;
                    }
                    entries
                }
                Err(error) if is_unknown(&error) => {
                    self.step = Step::Key(batch.key());
                    return Ok(Some(Vec::new()));
                }
                Err(error) => return Err(failed(error)),
            },
            Step::Key(behind) => {
                let next = map::next_key(&self.map.fd, behind.as_deref()).map_err(failed)?;
                let Some(key) = next else {
                    self.step = Step::Done;
                    return Ok(Some(Vec::new()));
                };
                let mut value = vec![0; self.map.described.entry_size()];
                let found = map::lookup_with(&self.map.fd, &key, &mut value, self.map.locks());
                let found = found.map_err(failed)?;
                let entry = found.then(|| self.map.entry(&key, &value));
                *behind = Some(key);
                self.seen += u64::from(!found);
                entry.into_iter().collect()
            }
        };
        let room = u64::from(self.map.described.max_entries).saturating_sub(self.seen);
        self.seen += entries.len() as u64;
        if room == 0 && !entries.is_empty() && !self.map.is_hash() {
            self.complete = false;
            self.step = Step::Done;
            return Ok(None);
        }
        Ok(Some(entries))
    }
}

impl Map {
    /// Whether the kernel walks it by buckets, each once.
    fn is_hash(&self) -> bool {
        matches!(
            self.kind.name,
            "hash" | "lru_hash" | "percpu_hash" | "lru_percpu_hash"
        )
    }
}

fn read_batch(map: &Map, batch: &mut Batch) -> io::Result<(Vec<Entry>, bool)> {
    for _ in 0..TRIES {
        match batch.more() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok((entries, last)) => {
                let entries = entries.iter().map(|(key, value)| map.entry(key, value));
                return Ok((entries.collect(), last));
            }
        }
    }
    Err(io::Error::from_raw_os_error(ENOTSUPP))
}

/// Whether the kernel has no such walk for the map, so that it is gone through key by key.
fn is_unknown(error: &io::Error) -> bool {
    let unknown = [ENOTSUPP, libc::EOPNOTSUPP, libc::EINVAL];
    error
        .raw_os_error()
        .is_some_and(|errno| unknown.contains(&errno))
}
