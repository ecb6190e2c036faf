//! The rules of one attachment, or of several that share them, in the kernel.
//!
//! ```no_run
//! use std::path::Path;
//! use nke::filter::Table;
//!
//! let mut table = Table::open(Path::new("/run/nke/chains/…/maps"))?;
//! let mut revision = table.revision()?;
//! revision.insert(0, &["drop in proto udp to any port 53".parse()?]);
//! table.revise(&revision)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A rule set is one map. Where few rules come or go, they do so in its place (see `edit`); else another map is made
//! and put into the place of the old one. Both are a single word that is written, so that a packet is judged
//! by all of the old rules or by all of the new ones. With another map, the kernel returns from that write only
//! when no packet goes by the old ones any more; what they have counted till then is carried over.
//!
//! This must never change what a packet may be judged by. It takes no lock: whoever reads, edits and writes
//! holds nke's.

mod gone;
mod interfaces;
mod make;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::maps::{MapData, MapError};
use nke_ebpf::abi::{self, map};

pub use self::gone::GoneInterface;
use self::interfaces::Interfaces;
use super::counts::Counts;
use super::edit::Edit;
use super::error::Error;
use super::interface_name::InterfaceName;
use super::revision::Revision;
use super::rule::{Rule, RuleSet};
use super::seen::{Places, Seen, rules_of};
use super::states::{Fresh, Numbers, States};
use super::stored::Set;
use super::{Sets, carry, encode};
use crate::interface::Namespace;
use crate::sys;

/// The maps of one rule set, which one attachment has or several share.
pub struct Table {
    id: u32,
    sets: OwnedFd,
    /// The named sets that rules can ask for.
    named: Option<Sets>,
    interfaces: Interfaces,
    /// Where the flows are that rules keep state of; calls have none.
    states: Option<States>,
    /// What is to be edited.
    seen: Option<Seen>,
}

/// Rules that are written and not yet in force; dropped, they never were.
pub struct Prepared {
    table: Table,
    made: Made,
}

impl Prepared {
    /// Puts them in force, all at once.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses; then the old rules are in force, whole.
    pub fn put_in_force(&mut self) -> Result<(), Error> {
        self.table.put_in_force(&self.made)
    }

    /// Puts the rules in force again that were there when these were prepared.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses; then these are in force, whole.
    pub fn take_back(&mut self) -> Result<(), Error> {
        self.table.take_back(&self.made)
    }
}

/// New rules, written and not yet in force.
struct Made {
    rules: New,
    /// A table of flows, if these are the first rules here that keep state.
    states: Option<Fresh>,
}

/// Where new rules are.
enum New {
    /// A map of their own.
    Anew {
        set: Set,
        old: Option<Set>,
        /// For each new rule, the number of the old one that it is.
        staying: Vec<Option<u32>>,
    },
    /// An edit of the set that is in force.
    InPlace { set: Set, edit: Edit },
}

/// The only entry of the map of rule sets.
const KEY: [u8; 4] = [0; 4];

pub(super) const fn failed(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Map {
        operation,
        source: MapError::IoError(source),
    }
}

/// How many packets something has happened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Packets; or calls.
    pub packets: u64,
    /// Their bytes, link headers included; calls have none.
    pub bytes: u64,
}

/// The rules in force, and how many packets each has decided about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What happens to a packet that no rule matches.
    pub default: super::Action,
    /// The rules in order, each with its hits.
    pub rules: Vec<(Rule, Hits)>,
    /// Packets that no rule matched.
    pub default_hits: Hits,
    /// Packets that passed because their flow was known, and not by one of these rules.
    pub known_hits: Hits,
    /// Packets that could not be judged, and were dropped for it.
    pub obscured_hits: Hits,
    /// Sources of limits `per source` that went for want of room before they had their whole burst again: what came by of
    /// them is forgotten too early.
    pub evicted_sources: u64,
    /// Interfaces that rules name and that are not there any more.
    pub gone_interfaces: Vec<GoneInterface>,
}

impl Listing {
    /// The rules alone.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        let rules = self.rules.iter().map(|(rule, _)| rule.clone()).collect();
        RuleSet {
            default: self.default,
            rules,
        }
    }
}

impl Table {
    /// Opens the map that is pinned in the directory of an attachment.
    ///
    /// # Errors
    ///
    /// [`Error::NoMap`] if it is not there, or is no map of rules.
    pub fn open(maps: &Path) -> Result<Self, Error> {
        let path = maps.join(map::RULES);
        let mut table = Self::made_of(&path, MapData::from_pin(&path))?;
        let path = maps.join(abi::states::MAP);
        if path.exists() {
            let states = States::new(opened(&path, MapData::from_pin(&path))?);
            let path = maps.join(abi::states::KEPT);
            let kept = path
                .exists()
                .then(|| opened(&path, MapData::from_pin(&path)));
            table.states = Some(states.with_kept(kept.transpose()?));
        }
        Ok(table)
    }

    /// The map of a program that is attached to nothing, among its maps by their names.
    ///
    /// # Errors
    ///
    /// [`Error::NoMap`] if it is not among them, or is no map of rules.
    pub(crate) fn of(maps: &BTreeMap<String, OwnedFd>) -> Result<Self, Error> {
        let map = maps.get(map::RULES).ok_or(MapError::KeyNotFound);
        let own = map.and_then(|map| map.try_clone().map_err(MapError::IoError));
        let mut table = Self::made_of(Path::new(map::RULES), own.and_then(MapData::from_fd))?;
        if let Some(map) = maps.get(abi::states::MAP) {
            let copy = |map: &OwnedFd| map.try_clone().map_err(failed("open the flows"));
            let kept = maps.get(abi::states::KEPT).map(copy).transpose()?;
            table.states = Some(States::new(copy(map)?).with_kept(kept));
        }
        Ok(table)
    }

    fn made_of(path: &Path, opened: Result<MapData, MapError>) -> Result<Self, Error> {
        let table = opened.and_then(|opened| {
            let id = opened.info()?.id();
            let sets = opened.fd().as_fd().try_clone_to_owned()?;
            Ok(Self {
                id,
                sets,
                named: None,
                states: None,
                seen: None,
                interfaces: Interfaces::Unknown,
            })
        });
        table.map_err(|source| Error::NoMap {
            path: path.to_owned(),
            source,
        })
    }

    /// The same, with these named sets for rules to ask for.
    #[must_use]
    pub fn with_sets(self, named: Option<Sets>) -> Self {
        Self { named, ..self }
    }

    /// The same, of packets in this network namespace, whose interfaces rules can ask for; without one, rules that
    /// do are refused.
    #[must_use]
    pub fn in_namespace(self, namespace: Option<Namespace>) -> Self {
        Self {
            interfaces: namespace.map_or(Interfaces::Unknown, Interfaces::Of),
            ..self
        }
    }

    /// The same, of rules that may name interfaces which are not there: they mean nobody, as they would if they had stayed
    /// while the interface went.
    #[must_use]
    pub fn with_absent_interfaces(self) -> Self {
        let interfaces = match self.interfaces {
            Interfaces::Of(namespace) => Interfaces::OrNone(namespace),
            other @ (Interfaces::Unknown | Interfaces::OrNone(_) | Interfaces::Tried(_)) => other,
        };
        Self { interfaces, ..self }
    }

    /// Has rules that are written from now on take packets of the kernel's test runs for packets of this interface, and
    /// no others. It need not be there.
    pub fn try_on(&mut self, interface: InterfaceName) {
        self.interfaces = Interfaces::Tried(interface);
    }

    /// The named sets that rules can ask for.
    #[must_use]
    pub const fn sets(&self) -> Option<&Sets> {
        self.named.as_ref()
    }

    /// The kernel's number of the rule set: attachments with the same one share it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The flows that are known here.
    ///
    /// # Errors
    ///
    /// [`Error::NoStates`] where there can be none: attached by an older version, or calls.
    pub fn states(&self) -> Result<&States, Error> {
        self.states.as_ref().ok_or(Error::NoStates)
    }

    /// The same, to forget them.
    ///
    /// # Errors
    ///
    /// As [`Table::states`].
    pub fn states_mut(&mut self) -> Result<&mut States, Error> {
        self.states.as_mut().ok_or(Error::NoStates)
    }

    /// The rules in force and their hits.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses, and [`Error::ForeignRule`] if it holds what this
    /// version cannot have written.
    pub fn read(&self) -> Result<Listing, Error> {
        let Some((_, set)) = self.in_force()? else {
            let RuleSet { default, rules: _ } = RuleSet::default();
            return Ok(Listing {
                default,
                rules: Vec::new(),
                default_hits: Hits::default(),
                known_hits: Hits::default(),
                obscured_hits: Hits::default(),
                evicted_sources: 0,
                gone_interfaces: Vec::new(),
            });
        };
        let places = Places::of(&set)?;
        let rules = rules_of(&set, &places)?;
        let counts = Counts::of(&set).map_err(failed("read hits"))?;
        let hits = places.numbers.iter().map(|number| counts.rule(*number));
        Ok(Listing {
            default: encode::action(set.header.default),
            rules: rules.into_iter().zip(hits).collect(),
            default_hits: counts.default(),
            known_hits: counts.known(),
            obscured_hits: counts.obscured(),
            evicted_sources: carry::evicted(&set),
            gone_interfaces: gone::of_rules(&set, &places, &self.interfaces),
        })
    }

    /// By what the table of flows knows the rules in force.
    ///
    /// # Errors
    ///
    /// As [`Table::read`].
    pub fn numbers(&self) -> Result<Numbers, Error> {
        let numbers = self.see()?.map(|seen| Numbers {
            stamp: seen.set.header.stamp,
            numbers: seen.places.numbers,
        });
        Ok(numbers.unwrap_or_default())
    }

    /// The rules in force, to be edited and [written](Table::revise). What they say is not read.
    ///
    /// # Errors
    ///
    /// As [`Table::read`].
    pub fn revision(&mut self) -> Result<Revision, Error> {
        self.seen = self.see()?;
        let seen = self.seen.as_ref();
        Ok(match seen {
            Some(seen) => Revision::of(seen.default(), seen.places.numbers.len()),
            None => Revision::of(RuleSet::default().default, 0),
        })
    }

    /// What the rules say that a [revision](Table::revision) begins with.
    ///
    /// # Errors
    ///
    /// As [`Table::read`].
    pub fn rules(&self) -> Result<Vec<Rule>, Error> {
        self.seen.as_ref().map_or(Ok(Vec::new()), Seen::rules)
    }

    /// The same of those of these places, from 0.
    ///
    /// # Errors
    ///
    /// As [`Table::read`].
    pub fn rules_at(&self, places: &[usize]) -> Result<Vec<Rule>, Error> {
        let seen = self.seen.as_ref();
        seen.map_or(Ok(Vec::new()), |seen| seen.rules_at(places))
    }

    /// How many bytes of the kernel's memory the rules in force take, counts included.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses.
    pub fn memory(&self) -> Result<u64, Error> {
        Ok(self.in_force()?.map_or(0, |(_, set)| set.bytes()))
    }

    /// Puts other rules in force, all at once. Rules that were in force before keep their hits.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] before anything is changed. [`Error::Map`] if the kernel refuses; then the
    /// old rules are in force, whole.
    pub fn write(&mut self, new: &RuleSet) -> Result<(), Error> {
        let made = self.make(new)?;
        self.put_in_force(&made)
    }

    /// Puts a revision in force of the rules that it was begun with, all at once. Rules that stay keep their hits.
    ///
    /// # Errors
    ///
    /// As [`Table::write`]; [`Error::Map`] if other rules are in force by now.
    pub fn revise(&mut self, revision: &Revision) -> Result<(), Error> {
        let states = self.make_states(&revision.coming)?;
        let rules = self.make_revised(revision)?;
        self.put_in_force(&Made { rules, states })
    }

    /// Does all of [`Table::write`] that can well fail, and changes nothing that packets meet.
    ///
    /// # Errors
    ///
    /// As [`Table::write`].
    pub fn prepare(mut self, new: &RuleSet) -> Result<Prepared, Error> {
        let made = self.make(new)?;
        Ok(Prepared { table: self, made })
    }

    fn see(&self) -> Result<Option<Seen>, Error> {
        let set = self.in_force()?;
        set.map(|(id, set)| Seen::of(id, set)).transpose()
    }

    fn put_in_force(&mut self, made: &Made) -> Result<(), Error> {
        // Before the rules, which would find no table to enter flows into.
        if let (Some(states), Some(fresh)) = (&mut self.states, &made.states)
            && !states.are_kept()?
        {
            states.put_in_force(fresh)?;
        }
        match &made.rules {
            New::InPlace { set, edit } => {
                set.put_in_force(edit.behind);
                Ok(())
            }
            New::Anew { set, old, .. } => {
                if let Some(old) = old {
                    // Before, so that nobody counts there any more when the kernel returns.
                    old.slow_down();
                }
                let put = sys::map::update(&self.sets, &KEY, &set.key());
                if let (Err(_), Some(old)) = (&put, old) {
                    old.hasten();
                }
                put.map_err(failed("put the new rules in force"))?;
                // The old ones may have counted since.
                let carried = made.rules.carry().map_err(failed("carry hits over"));
                if carried.is_err() {
                    self.take_back(made)?;
                }
                carried
            }
        }
    }

    fn take_back(&mut self, made: &Made) -> Result<(), Error> {
        match &made.rules {
            New::InPlace { set, edit } => {
                set.put_in_force(edit.before);
                Ok(())
            }
            New::Anew { old: Some(old), .. } => {
                let put = sys::map::update(&self.sets, &KEY, &old.key());
                old.hasten();
                put
            }
            New::Anew { old: None, .. } => sys::map::delete(&self.sets, &KEY),
        }
        .map_err(failed("put the old rules in force again"))?;
        match (&mut self.states, &made.states) {
            (Some(states), Some(_)) => states.take_away(),
            (_, _) => Ok(()),
        }
    }

    pub(super) fn in_force(&self) -> Result<Option<(u32, Set)>, Error> {
        let Some(id) = self.in_force_id()? else {
            // No rules have been written yet.
            return Ok(None);
        };
        let set = Set::open(id).map_err(failed("read the rules"))?;
        let set = set.ok_or(Error::ForeignRule { number: 1 })?;
        Ok(Some((id, set)))
    }

    /// The number of the map of the rule set in force.
    pub(super) fn in_force_id(&self) -> Result<Option<u32>, Error> {
        let mut id = [0; 4];
        let there = sys::map::lookup(&self.sets, &KEY, &mut id);
        let there = there.map_err(failed("read the rules"))?;
        Ok(there.map(|_| u32::from_ne_bytes(id)))
    }
}

impl New {
    /// Writes what the old rules have counted, where they are in another map, and how far their limits have been used.
    fn carry(&self) -> io::Result<()> {
        if let Self::Anew {
            set,
            old: Some(old),
            staying,
        } = self
        {
            let words = Counts::of(old)?.carried(staying, set.header.row);
            set.write(set.carried(), &words)?;
            carry::limits(old, set, staying)?;
            carry::sources(old, set)?;
        }
        Ok(())
    }
}

/// A map's own descriptor.
fn opened(path: &Path, map: Result<MapData, MapError>) -> Result<OwnedFd, Error> {
    let own = map.and_then(|map| Ok(map.fd().as_fd().try_clone_to_owned()?));
    own.map_err(|source| Error::NoMap {
        path: path.to_owned(),
        source,
    })
}
