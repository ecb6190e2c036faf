//! Sets that a file of rules states: made or replaced before its rules, and put back if those fail.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{
    super::{
        Error,
        set::{About, Lasting, SetName},
    },
    Sets, failed, made,
};
use crate::sys;

/// Sets that are as they were stated, until this goes: then they are as they were before, unless they
/// are [kept](Restated::keep).
#[must_use]
pub struct Restated<'a> {
    sets: &'a Sets,
    /// The slots that were changed, with what was there.
    before: Vec<(u32, SetName, Option<OwnedFd>)>,
}

impl Sets {
    /// Makes those of these sets that are not there, and puts their members, with their timeouts, in the place of
    /// what the others have. Each of them at once, one behind the other.
    ///
    /// # Errors
    ///
    /// As [`Sets::create`]: [`Error::SetExists`] where a set of the name has members of another type. Nothing
    /// is changed then.
    pub fn restate(&self, stated: &[(About, Vec<Lasting>)]) -> Result<Restated<'_>, Error> {
        let all = self.all()?;
        let mut free =
            (0..nke_ebpf::set::SETS as u32).filter(|slot| !all.iter().any(|set| set.slot == *slot));
        let mut maps = Vec::new();
        for (about, members) in stated {
            let there = all.iter().find(|set| set.about.name == about.name);
            if there.is_some_and(|set| set.about.kind != about.kind) {
                let name = about.name.to_string();
                return Err(Error::SetExists { name });
            }
            let slot = there.map(|set| set.slot).or_else(|| free.next());
            let limit = nke_ebpf::set::SETS;
            let slot = slot.ok_or(Error::ManySets { limit })?;
            let map = there.map(|set| set.set.store().map().as_fd().try_clone_to_owned());
            let before = map.transpose().map_err(failed(about.name, "keep"))?;
            maps.push((slot, about.name, before, made(about, members)?));
        }
        let mut restated = Restated {
            sets: self,
            before: Vec::new(),
        };
        for (slot, name, before, map) in maps {
            self.put_map(slot, name, &map)?;
            restated.before.push((slot, name, before));
        }
        Ok(restated)
    }
}

impl Restated<'_> {
    /// Leaves them as they were stated.
    pub fn keep(mut self) {
        self.before.clear();
    }
}

impl Drop for Restated<'_> {
    fn drop(&mut self) {
        for (slot, name, before) in self.before.drain(..) {
            // A slot that could be written a moment ago takes what it had.
            let _: Result<(), Error> = match before {
                Some(map) => self.sets.put_map(slot, name, &map),
                None => sys::map::delete(&self.sets.map, &slot.to_ne_bytes())
                    .map_err(failed(name, "remove")),
            };
        }
    }
}
