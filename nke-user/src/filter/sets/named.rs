//! One named set in the kernel: read, and changed member by member.

use std::{collections::HashMap, io, os::fd::OwnedFd};

use nke_ebpf::set::Line;

use super::{
    super::{
        Error,
        set::{About, Index, Inserted, Lasting, Mapped, Member, Set, Store as _},
    },
    Sets, copied, failed, now,
};

/// One of an extension's named sets.
pub struct NamedSet {
    pub(super) slot: u32,
    pub(super) about: About,
    pub(super) set: Set<Mapped>,
}

/// How many members were added, and how many had been there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// New ones.
    pub new: usize,
    /// Others, of which nothing is otherwise now.
    pub known: usize,
    /// Others whose time begins anew.
    pub renewed: usize,
    /// Others that had a time, and stay now.
    pub kept: usize,
}

impl Added {
    /// Counts one that had been there and lasts otherwise now.
    const fn other_time(&mut self, Lasting { member: _, until }: &Lasting) {
        match until {
            Some(_) => self.renewed += 1,
            None => self.kept += 1,
        }
    }
}

impl NamedSet {
    /// The set that this map is.
    pub(super) fn of(slot: u32, about: &About, map: OwnedFd) -> Result<Self, Error> {
        let store = Mapped::few(map).map_err(failed(about.name, "open"))?;
        let set = Set::in_store(store);
        Ok(Self {
            slot,
            about: *about,
            set,
        })
    }

    /// What it is.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Its place among the sets: rules ask by it.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// How many bytes of the kernel's memory it takes, with what fast paths have of it.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let lines = u64::from(self.set.store().length());
        lines * size_of::<Line>() as u64 + Index::bytes_of(&self.set)
    }

    /// All members that have not ended, in no order.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`].
    pub fn for_each(&self, then: impl FnMut(Lasting)) -> Result<(), Error> {
        self.all()?
            .for_each(now(), then)
            .map_err(failed(self.about.name, "read"))
    }

    /// The same set, whose lines are all going to be read.
    fn all(&self) -> Result<Set<Mapped>, Error> {
        let store = self.set.store().again();
        store
            .map(Set::in_store)
            .map_err(failed(self.about.name, "read"))
    }

    /// A copy of it as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`], [`Error::SetTooLarge`].
    pub fn snapshot(&self) -> Result<Set, Error> {
        let mut members = Vec::new();
        self.for_each(|member| members.push(member))?;
        copied(&self.about, &members)
    }

    /// The member that this is, or is in: of an address the longest prefix.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`].
    pub fn member(&self, wanted: Member) -> Result<Option<Lasting>, Error> {
        self.around(wanted).next().transpose()
    }

    /// All members that this is, or is in: of an address the longest prefix first.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`].
    pub fn around(&self, wanted: Member) -> impl Iterator<Item = Result<Lasting, Error>> {
        let now = now();
        let found = wanted.wider().into_iter();
        found.filter_map(move |wider| {
            let found = self.set.lasts(wider, now);
            found.map_err(failed(self.about.name, "read")).transpose()
        })
    }

    /// Adds members, or changes how long they last.
    ///
    /// # Errors
    ///
    /// As [`Sets::create`]; the set is as it was then.
    pub fn add(&mut self, sets: &Sets, new: &[Lasting]) -> Result<Added, Error> {
        let failed = failed(self.about.name, "write");
        let now = now();
        let index = Index::hold(&self.set).map_err(&failed)?;
        let mut added = Added::default();
        let mut put = Vec::new();
        for (nth, member) in new.iter().enumerate() {
            let inserted = self.set.insert(*member, now);
            match inserted.map_err(&failed)? {
                Inserted::New => {
                    put.push(member.member);
                    added.new += 1;
                }
                Inserted::Known => added.known += 1,
                Inserted::Lasts => added.other_time(member),
                Inserted::NoRoom | Inserted::ManyLengths | Inserted::OtherKind => {
                    // What has ended makes room in another array.
                    let grown = self.grow(sets, &new[nth..], &mut added);
                    if grown.is_err() {
                        for member in put {
                            let _: io::Result<bool> = self.set.remove(member, now);
                        }
                    }
                    return grown.map(|()| added);
                }
            }
        }
        let members = new.iter().map(|it| it.member);
        self.follow(index, members).map_err(&failed)?;
        Ok(added)
    }

    /// Has the index follow what has been edited, if it was in force.
    fn follow(
        &self,
        index: Option<Index>,
        members: impl IntoIterator<Item = Member>,
    ) -> io::Result<()> {
        index.map_or(Ok(()), |index| index.follow(&self.set, members))
    }

    /// Makes the set anew, with these beside all that it has.
    fn grow(&mut self, sets: &Sets, new: &[Lasting], added: &mut Added) -> Result<(), Error> {
        let mut all = Vec::new();
        self.for_each(|member| all.push(member))?;
        let mut known: HashMap<_, _> = all.iter().map(|it| (it.member, it.until)).collect();
        for lasting in new {
            let Lasting { member, until } = lasting;
            match known.insert(*member, *until) {
                None => added.new += 1,
                Some(None) if until.is_none() => added.known += 1,
                Some(_) => added.other_time(lasting),
            }
        }
        all.extend(new);
        *self = sets.put(self.slot, &self.about, &all)?;
        Ok(())
    }

    /// Takes members out.
    ///
    /// # Errors
    ///
    /// [`Error::NotInSet`] if one is not in it: then none is taken out.
    pub fn delete(&mut self, members: &[Member]) -> Result<(), Error> {
        let now = now();
        let failed = failed(self.about.name, "write");
        for member in members {
            if self.set.lasts(*member, now).map_err(&failed)?.is_none() {
                return Err(Error::NotInSet {
                    name: self.about.name.to_string(),
                    member: member.to_string(),
                    stage: "delete",
                });
            }
        }
        let index = Index::hold(&self.set).map_err(&failed)?;
        for member in members {
            self.set.remove(*member, now).map_err(&failed)?;
        }
        let members = members.iter().copied();
        self.follow(index, members).map_err(&failed)
    }
}
