//! Sets as they are stated: made aside, and put in the place of what was there, until they are to stay.
//!
//! A file of rules has them before its rules, and puts them back if those fail; a declaration has them with all else
//! that it changes.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{
    super::{
        Error,
        set::{About, Lasting, SetName},
    },
    Sets, failed, made,
};

/// What is to be in a slot instead of what is there: made, and not yet in force.
pub(crate) struct Instead {
    /// The map of sets.
    sets: Sets,
    slot: u32,
    name: SetName,
    /// The set that is there.
    before: Option<OwnedFd>,
    /// The one that is to be; nothing if it goes.
    after: Option<OwnedFd>,
}

impl Instead {
    /// Whether there is no such set yet, so that no rule can ask for it.
    pub(crate) const fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Whether the set goes.
    pub(crate) const fn goes(&self) -> bool {
        self.after.is_none()
    }

    /// Puts it in force.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`] if the kernel refuses.
    pub(crate) fn put_in_force(&self) -> Result<(), Error> {
        self.write(&self.sets, self.after.as_ref())
    }

    /// Puts what was there in force again.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`] if the kernel refuses.
    pub(crate) fn take_back(&self) -> Result<(), Error> {
        self.write(&self.sets, self.before.as_ref())
    }

    /// Has other sets be as if it were in force: those that rules on trial ask for.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`] if the kernel refuses.
    pub(crate) fn put_on_trial(&self, others: &Sets) -> Result<(), Error> {
        self.write(others, self.after.as_ref())
    }

    fn write(&self, sets: &Sets, map: Option<&OwnedFd>) -> Result<(), Error> {
        let operation = match map {
            Some(_) => "put in force",
            None => "remove",
        };
        sets.put_in_slot(self.slot, map)
            .map_err(failed(self.name, operation))
    }
}

/// Sets that are as they were stated, until this goes: then they are as they were before, unless they
/// are [kept](Restated::keep).
#[must_use]
pub struct Restated(Vec<Instead>);

impl Restated {
    /// Puts sets in force, one behind the other.
    pub(crate) fn put(sets: Vec<Instead>) -> Result<Self, Error> {
        let mut restated = Self(Vec::new());
        for set in sets {
            set.put_in_force()?;
            restated.0.push(set);
        }
        Ok(restated)
    }

    /// Leaves them as they were stated.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Restated {
    fn drop(&mut self) {
        for set in self.0.drain(..).rev() {
            // A slot that could be written a moment ago takes what it had.
            let _: Result<(), Error> = set.take_back();
        }
    }
}

impl Sets {
    /// Makes those of these sets that are not there, and puts their members, with their timeouts, in the place of
    /// what the others have. Each of them at once, one behind the other.
    ///
    /// # Errors
    ///
    /// As [`Sets::create`]: [`Error::SetExists`] where a set of the name has members of another type. Nothing
    /// is changed then.
    pub fn restate(&self, stated: &[(About, Vec<Lasting>)]) -> Result<Restated, Error> {
        Restated::put(self.prepare(stated, &[])?)
    }

    /// The same, made and not yet in force; and without the sets of these names.
    ///
    /// # Errors
    ///
    /// As [`Sets::restate`].
    pub(crate) fn prepare(
        &self,
        stated: &[(About, Vec<Lasting>)],
        gone: &[SetName],
    ) -> Result<Vec<Instead>, Error> {
        let all = self.all()?;
        let map_of = |name: SetName| {
            let there = all.iter().find(|set| set.about.name == name);
            let map = there.map(|set| set.set.store().map().as_fd().try_clone_to_owned());
            map.transpose().map_err(failed(name, "keep"))
        };
        let sets = |name| self.try_clone().map_err(failed(name, "keep"));
        let mut free =
            (0..nke_ebpf::set::SETS as u32).filter(|slot| !all.iter().any(|set| set.slot == *slot));
        let mut prepared = Vec::new();
        for (about, members) in stated {
            let there = all.iter().find(|set| set.about.name == about.name);
            if there.is_some_and(|set| set.about.kind != about.kind) {
                let name = about.name.to_string();
                return Err(Error::SetExists { name });
            }
            let slot = there.map(|set| set.slot).or_else(|| free.next());
            let limit = nke_ebpf::set::SETS;
            prepared.push(Instead {
                sets: sets(about.name)?,
                slot: slot.ok_or(Error::ManySets { limit })?,
                name: about.name,
                before: map_of(about.name)?,
                after: Some(made(about, members)?),
            });
        }
        for set in all.iter().filter(|set| gone.contains(&set.about.name)) {
            let name = set.about.name;
            prepared.push(Instead {
                sets: sets(name)?,
                slot: set.slot,
                name,
                before: map_of(name)?,
                after: None,
            });
        }
        Ok(prepared)
    }
}
