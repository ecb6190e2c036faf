//! The named sets of an extension, in the kernel: found by name, made, changed, removed.
//!
//! ```no_run
//! use nke::{control::Control, filter::{About, Lasting, SetKind}};
//!
//! let control = Control::open("/run/nke".as_ref())?;
//! let sets = control.sets("packet-filter")?;
//! let about = About::new("blocklist".parse()?, SetKind::Addresses);
//! let mut blocklist = sets.create(&about, &[])?;
//! blocklist.add(&sets, &[Lasting::forever("192.0.2.0/24".parse()?)])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All attachments of the extension share its sets. Each is a map of its own in one slot of a map of
//! maps; what a set is called stands in the set itself, so that there is nothing to agree with. A whole
//! set is put in the place of another by one write of its slot; one member is added or taken away in
//! place (see [`Set`]). Whoever changes sets holds the lock of the state.
//!
//! A set is never removed here that rules ask for: who removes it asks for them first.

mod named;
mod restate;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use nke_ebpf::set::{Line, SETS};
use rustix::time::{ClockId, Timespec, clock_gettime};

pub(crate) use self::restate::Instead;
pub use self::{
    named::{Added, NamedSet},
    restate::Restated,
};
use super::{
    Error, KnownSets, Membership, Rule,
    hint::nearest_of,
    set::{About, Index, Lasting, Mapped, Member, Set, SetName},
};
use crate::sys::{
    self,
    map::{Batch, Shape},
};

/// The name of the map of sets.
pub(crate) const MAP: &str = "SETS";

/// `BPF_F_MMAPABLE`, so that members are written one word at a time, and `BPF_F_INNER_MAP`.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The sets of an extension.
#[derive(Debug)]
pub struct Sets {
    map: OwnedFd,
    /// Whether rules are only tried by them: then some may be another's, in force there.
    on_trial: bool,
}

/// Nanoseconds since the machine was started, by which members end (`CLOCK_BOOTTIME`).
#[must_use]
pub fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(tv_nsec).unwrap_or_default()
}

fn failed(name: SetName, operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::SetMap {
        name: name.to_string(),
        operation,
        source,
    }
}

/// The set in a slot, whose map has this number.
fn opened(slot: u32, id: u32) -> io::Result<NamedSet> {
    let set = Set::in_store(Mapped::few(sys::map::open(id)?)?);
    let about = set.about()?;
    Ok(NamedSet { slot, about, set })
}

impl Sets {
    pub(crate) const fn new(map: OwnedFd) -> Self {
        let on_trial = false;
        Self { map, on_trial }
    }

    /// Those by which rules are tried.
    pub(crate) const fn on_trial(map: OwnedFd) -> Self {
        let on_trial = true;
        Self { map, on_trial }
    }

    /// The same once more.
    fn try_clone(&self) -> io::Result<Self> {
        let map = self.map.try_clone()?;
        Ok(Self { map, ..*self })
    }

    /// The number of the map in a slot.
    fn id_in(&self, slot: u32) -> io::Result<Option<u32>> {
        let mut id = [0; 4];
        let found = sys::map::lookup(&self.map, &slot.to_ne_bytes(), &mut id)?;
        Ok(found.map(|()| u32::from_ne_bytes(id)))
    }

    /// The set in a slot, if there is one.
    fn in_slot(&self, slot: u32) -> io::Result<Option<Set<Mapped>>> {
        let map = self.id_in(slot)?.map(sys::map::open).transpose()?;
        let store = map.map(Mapped::few).transpose()?;
        Ok(store.map(Set::in_store))
    }

    /// What a fast path can ask of the set in a slot; nothing where it can ask nothing.
    pub(super) fn index(&self, slot: u32) -> io::Result<Option<Index>> {
        match self.in_slot(slot)? {
            Some(set) if self.on_trial => Index::aside(&set),
            Some(mut set) => Index::followed(&mut set),
            None => Ok(None),
        }
    }

    /// Puts a map into a slot, or nothing.
    fn put_in_slot(&self, slot: u32, map: Option<&OwnedFd>) -> io::Result<()> {
        // Fast paths would go on asking the set that is there now.
        if let Some(set) = self.in_slot(slot)?.filter(|_| !self.on_trial) {
            Index::hold(&set)?;
        }
        let key = slot.to_ne_bytes();
        match map {
            Some(map) => sys::map::update(&self.map, &key, &map.as_raw_fd().to_ne_bytes()),
            None => sys::map::delete(&self.map, &key),
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`] if the kernel refuses, or has what this version cannot have written.
    pub fn all(&self) -> Result<Vec<NamedSet>, Error> {
        let failed = |slot: u32| {
            move |source| Error::SetMap {
                name: format!("in slot {slot}"),
                operation: "read",
                source,
            }
        };
        let mut all = Vec::new();
        for (slot, id) in self.ids().map_err(failed(0))? {
            all.push(opened(slot, id).map_err(failed(slot))?);
        }
        all.sort_unstable_by_key(|set| set.about.name);
        Ok(all)
    }

    /// The slots that have a map, with its number.
    fn ids(&self) -> io::Result<Vec<(u32, u32)>> {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
        let mut batch = Batch::new(self.map.try_clone()?, SETS, false)?;
        if let Ok((entries, _)) = batch.more() {
            let pair = |(slot, id): &(&[u8], &[u8])| (number(slot), number(id));
            return Ok(entries.iter().map(pair).collect());
        }
        // Before Linux 5.13 maps of maps have no such walk.
        let mut ids = Vec::new();
        for slot in 0..SETS as u32 {
            if let Some(id) = self.id_in(slot)? {
                ids.push((slot, id));
            }
        }
        Ok(ids)
    }

    /// Copies of those that these rules ask for, as far as they are there.
    ///
    /// # Errors
    ///
    /// Those of [`Sets::all`] and [`NamedSet::snapshot`].
    pub fn known<'a>(&self, rules: impl IntoIterator<Item = &'a Rule>) -> Result<KnownSets, Error> {
        self.copies(rules, NamedSet::snapshot)
    }

    /// Refuses rules that ask for a set which is not there, or as what it is not; `but` says which sets there will be.
    ///
    /// # Errors
    ///
    /// [`Error::NoSet`], [`Error::SetKind`]; those of [`Sets::all`].
    pub fn refuse_what_is_not_there(
        &self,
        rules: &[Rule],
        but: &dyn Fn(SetName) -> bool,
    ) -> Result<(), Error> {
        let all = self.all()?;
        for rule in rules {
            for membership in rule.memberships().filter(|it| !but(it.set)) {
                slot_for(&all, membership, rule)?;
            }
        }
        Ok(())
    }

    /// Those that these rules ask for, each copied in this way.
    fn copies<'a>(
        &self,
        rules: impl IntoIterator<Item = &'a Rule>,
        copy: impl Fn(&NamedSet) -> Result<Set, Error>,
    ) -> Result<KnownSets, Error> {
        let asked = rules.into_iter().flat_map(Rule::memberships);
        let names: HashSet<_> = asked.map(|membership| membership.set).collect();
        if names.is_empty() {
            return Ok(KnownSets::default());
        }
        let all = self.all()?.into_iter();
        let asked = all.filter(|set| names.contains(&set.about.name));
        asked.map(|set| Ok((set.about.name, copy(&set)?))).collect()
    }

    /// What the ends of a connection are in, of those sets that these rules ask for: copies, which have no other members.
    ///
    /// # Errors
    ///
    /// As [`Sets::known`].
    pub fn known_of<'a>(
        &self,
        rules: impl IntoIterator<Item = &'a Rule>,
        ends: [SocketAddr; 2],
    ) -> Result<KnownSets, Error> {
        self.copies(rules, |set| {
            let ends = ends.map(|end| Member::of_end(set.about.kind, end));
            let members = ends.into_iter().flat_map(|end| set.member(end).transpose());
            copied(&set.about, &members.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Takes over all sets of another extension, or of another build of one, as they are: what becomes
    /// of a member becomes of it in both.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`].
    pub fn adopt(&self, other: &Self) -> Result<(), Error> {
        for set in other.all()? {
            self.put_in_slot(set.slot, Some(set.set.store().map()))
                .map_err(failed(set.about.name, "take over"))?;
        }
        Ok(())
    }

    /// The one of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSet`], with what it may have been meant; those of [`Sets::all`].
    pub fn find(&self, name: SetName, stage: &'static str) -> Result<NamedSet, Error> {
        let mut all = self.all()?;
        match all.iter().position(|set| set.about.name == name) {
            Some(found) => Ok(all.swap_remove(found)),
            None => Err(no_set(name, stage, &all)),
        }
    }

    /// Makes a set of these members.
    ///
    /// # Errors
    ///
    /// [`Error::SetExists`], [`Error::SetTooLarge`], [`Error::ManySets`], [`Error::SetMap`]. Nothing
    /// is changed then.
    pub fn create(&self, about: &About, members: &[Lasting]) -> Result<NamedSet, Error> {
        let all = self.all()?;
        if all.iter().any(|set| set.about.name == about.name) {
            return Err(Error::SetExists {
                name: about.name.to_string(),
            });
        }
        let taken: HashSet<_> = all.iter().map(|set| set.slot).collect();
        let free = (0..SETS as u32).find(|slot| !taken.contains(slot));
        let slot = free.ok_or(Error::ManySets { limit: SETS })?;
        self.put(slot, about, members)
    }

    /// Puts these members in the place of all that a set has, at once; its name, kind and timeout stay.
    ///
    /// # Errors
    ///
    /// As [`Sets::create`]; the set is as it was then.
    pub fn replace(&self, set: &NamedSet, members: &[Lasting]) -> Result<NamedSet, Error> {
        self.put(set.slot, &set.about, members)
    }

    /// Makes a map of these members, and puts it into a slot.
    fn put(&self, slot: u32, about: &About, members: &[Lasting]) -> Result<NamedSet, Error> {
        let map = made(about, members)?;
        self.put_map(slot, about.name, &map)?;
        NamedSet::of(slot, about, map)
    }

    fn put_map(&self, slot: u32, name: SetName, map: &OwnedFd) -> Result<(), Error> {
        self.put_in_slot(slot, Some(map))
            .map_err(failed(name, "put in force"))
    }

    /// Takes a set away, which no rule may ask for.
    ///
    /// # Errors
    ///
    /// [`Error::SetMap`] if the kernel refuses.
    pub fn remove(&self, set: NamedSet) -> Result<(), Error> {
        let NamedSet {
            slot,
            about,
            set: _,
        } = set;
        self.put_in_slot(slot, None)
            .map_err(failed(about.name, "remove"))
    }
}

fn no_set(name: SetName, stage: &'static str, all: &[NamedSet]) -> Error {
    let names: Vec<_> = all.iter().map(|set| set.about.name.to_string()).collect();
    let meant = nearest_of(name.as_str(), names.iter().map(String::as_str));
    Error::NoSet {
        name: name.to_string(),
        stage,
        meant: meant.map(str::to_owned),
    }
}

/// The slot of the set that a rule asks for, which must have what it takes it for.
pub(super) fn slot_for(
    all: &[NamedSet],
    membership: &Membership,
    rule: &Rule,
) -> Result<u16, Error> {
    let set = membership.set;
    let found = all.iter().find(|found| found.about.name == set);
    let found = found.ok_or_else(|| no_set(set, "write rules", all))?;
    if let Some(is) = membership.is_not(found.about.kind) {
        return Err(Error::SetKind {
            name: set.to_string(),
            rule: Box::new(rule.clone()),
            is,
            wanted: membership.takes_for(),
        });
    }
    u16::try_from(found.slot).map_err(|_| Error::ManySets { limit: SETS })
}

/// How many bytes the host has to spare, if it says so.
fn available() -> Option<u64> {
    let all = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn too_large(about: &About, problem: String) -> Error {
    let name = about.name.to_string();
    Error::SetTooLarge { name, problem }
}

/// The set of these members, in memory.
fn copied(about: &About, members: &[Lasting]) -> Result<Set, Error> {
    Set::of(about, members).map_err(|problem| too_large(about, problem.to_string()))
}

/// A map of these members, which nobody searches yet.
fn made(about: &About, members: &[Lasting]) -> Result<OwnedFd, Error> {
    let set = copied(about, members)?;
    let lines = set.lines();
    let bytes = size_of_val(lines) as u64;
    if available().is_some_and(|available| bytes > available) {
        let problem = format!("it needs {bytes} bytes, and the host has not so many to spare");
        return Err(too_large(about, problem));
    }
    make_map(about.name, lines).map_err(failed(about.name, "make a map for"))
}

fn make_map(name: SetName, lines: &[Line]) -> io::Result<OwnedFd> {
    let map = sys::map::create(Shape {
        max_entries: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        flags: FLAGS,
        ..Shape::array(name.as_str(), size_of::<Line>() as u32)
    })?;
    let own = map.as_fd().try_clone_to_owned()?;
    Mapped::all(own)?.fill(lines).map(|()| map)
}
