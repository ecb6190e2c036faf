//! The rules of one attachment, or of several that share them, in the kernel.
//!
//! ```no_run
//! use std::path::Path;
//! use nke::filter::Table;
//!
//! let mut table = Table::open(Path::new("/run/nke/chains/…/maps"))?;
//! let mut rules = table.read()?.rules();
//! rules.rules.insert(0, "drop in proto udp to any port 53".parse()?);
//! table.write(&rules)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A rule set is one value of one map, and is never changed. An edit makes another map of it and
//! puts that into the place of the old one: a single pointer, so that a packet is judged by all of
//! the old rules or by all of the new ones. The kernel returns from that write only when no packet
//! goes by the old ones any more.
//!
//! This must never write a rule set in place, and never empty a count that a rule in force adds
//! to. It takes no lock: whoever reads, edits and writes holds nke's.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use nke_ebpf::abi::{
    CAPACITY, DEFAULT_SLOT, OBSCURED_SLOT, RULE_SET_WORDS, RULE_WORDS, Rule as EncodedRule, join,
    map, split,
};

use super::encode;
use super::error::Error;
use super::rule::{Rule, RuleSet};
use super::slots;
use crate::sys::{self, map::Shape};

/// A count as the kernel has it: packets, bytes.
type CountWords = [u64; 2];

/// The maps of one rule set, which one attachment has or several share.
pub struct Table {
    id: u32,
    rules: OwnedFd,
    hits: PerCpuArray<MapData, CountWords>,
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

/// A map of new rules.
struct Made {
    next: OwnedFd,
    /// The map of the old ones, if any were written.
    old: Option<OwnedFd>,
    /// Slots of hits that old rules still count in until then.
    contested: Vec<u32>,
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
    /// Packets that could not be judged, and were dropped for it.
    pub obscured_hits: Hits,
}

impl Listing {
    /// The rules alone.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        let rules = self.rules.iter().map(|(rule, _)| *rule).collect();
        RuleSet {
            default: self.default,
            rules,
        }
    }
}

/// The rules in force, each with the slot of its hits.
struct InForce {
    default: super::Action,
    rules: Vec<(Rule, u32)>,
}

impl Table {
    /// Opens the maps that are pinned in the directory of an attachment.
    ///
    /// # Errors
    ///
    /// [`Error::NoMap`] if they are not there, or are no maps of rules.
    pub fn open(maps: &Path) -> Result<Self, Error> {
        Self::made_of(|name| {
            let path = maps.join(name);
            let map = MapData::from_pin(&path);
            map.map_err(|source| Error::NoMap { path, source })
        })
    }

    /// The maps of a program that is attached to nothing, by their names.
    ///
    /// # Errors
    ///
    /// [`Error::NoMap`] if one is not among them, or is no map of rules.
    pub(crate) fn of(maps: &BTreeMap<String, OwnedFd>) -> Result<Self, Error> {
        Self::made_of(|name| {
            let map = maps.get(name).ok_or(MapError::KeyNotFound);
            let own = map.and_then(|map| map.try_clone().map_err(MapError::IoError));
            own.and_then(MapData::from_fd).map_err(|source| {
                let path = name.into();
                Error::NoMap { path, source }
            })
        })
    }

    fn made_of(open: impl Fn(&'static str) -> Result<MapData, Error>) -> Result<Self, Error> {
        let no_map = |name: &'static str| {
            move |source| {
                let path = name.into();
                Error::NoMap { path, source }
            }
        };
        let opened = open(map::RULES)?;
        let id = opened.info().map_err(no_map(map::RULES))?.id();
        let rules = opened.fd().as_fd().try_clone_to_owned();
        let rules = rules.map_err(|error| no_map(map::RULES)(MapError::IoError(error)))?;
        let hits = Map::from_map_data(open(map::HITS)?);
        let hits = hits
            .and_then(PerCpuArray::try_from)
            .map_err(no_map(map::HITS))?;
        Ok(Self { id, rules, hits })
    }

    /// The kernel's number of the rule set: attachments with the same one share it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The rules in force and their hits.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses, and [`Error::ForeignRule`] if it holds what this
    /// version cannot have written.
    pub fn read(&self) -> Result<Listing, Error> {
        let InForce { default, rules } = self.in_force()?;
        let rules = rules
            .into_iter()
            .map(|(rule, slot)| Ok((rule, self.hits_of(slot)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Listing {
            default,
            rules,
            default_hits: self.hits_of(DEFAULT_SLOT)?,
            obscured_hits: self.hits_of(OBSCURED_SLOT)?,
        })
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

    /// Does all of [`Table::write`] that can well fail, and changes nothing that packets meet.
    ///
    /// # Errors
    ///
    /// As [`Table::write`].
    pub fn prepare(mut self, new: &RuleSet) -> Result<Prepared, Error> {
        let made = self.make(new)?;
        Ok(Prepared { table: self, made })
    }

    fn make(&mut self, new: &RuleSet) -> Result<Made, Error> {
        let full = || Error::Full {
            wanted: new.rules.len(),
            limit: CAPACITY,
        };
        let old = self.in_force()?;
        let slots = slots::assign(&old.rules, &new.rules).ok_or_else(full)?;
        let words = encode_set(new, &slots.of_rules).ok_or_else(full)?;

        let failed = |operation| {
            move |source| Error::Map {
                operation,
                source: MapError::IoError(source),
            }
        };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let shape = Shape::array(map::RULES, (RULE_SET_WORDS * 8) as u32);
        let next = sys::map::create(shape).map_err(failed("make a map for the new rules"))?;
        sys::map::update(&next, &KEY, &bytes).map_err(failed("write the new rules"))?;
        self.empty(&slots.free)?;
        Ok(Made {
            next,
            old: self.set_in_force()?,
            contested: slots.contested,
        })
    }

    fn put_in_force(&mut self, made: &Made) -> Result<(), Error> {
        let value = made.next.as_raw_fd().to_ne_bytes();
        sys::map::update(&self.rules, &KEY, &value).map_err(|source| Error::Map {
            operation: "put the new rules in force",
            source: MapError::IoError(source),
        })?;
        let emptied = self.empty(&made.contested);
        if emptied.is_err() {
            self.take_back(made)?;
        }
        emptied
    }

    fn take_back(&mut self, made: &Made) -> Result<(), Error> {
        match &made.old {
            Some(old) => sys::map::update(&self.rules, &KEY, &old.as_raw_fd().to_ne_bytes()),
            None => sys::map::delete(&self.rules, &KEY),
        }
        .map_err(|source| Error::Map {
            operation: "put the old rules in force again",
            source: MapError::IoError(source),
        })
    }

    /// The map of the rules in force; `None` if none have been written yet.
    fn set_in_force(&self) -> Result<Option<OwnedFd>, Error> {
        let mut id = [0; 4];
        sys::map::lookup(&self.rules, &KEY, &mut id)
            .and_then(|found| {
                let id = found.map(|()| u32::from_ne_bytes(id));
                id.map(sys::map::open).transpose()
            })
            .map_err(|source| Error::Map {
                operation: "read the rules",
                source: MapError::IoError(source),
            })
    }

    fn in_force(&self) -> Result<InForce, Error> {
        let failed = |source| Error::Map {
            operation: "read the rules",
            source: MapError::IoError(source),
        };
        let Some(set) = self.set_in_force()? else {
            let RuleSet { default, rules: _ } = RuleSet::default();
            return Ok(InForce {
                default,
                rules: Vec::new(),
            });
        };
        // As bytes: a value as long as this must not come by the stack.
        let mut bytes = vec![0; RULE_SET_WORDS * 8];
        sys::map::lookup(&set, &KEY, &mut bytes).map_err(failed)?;
        let (words, _) = bytes.as_chunks();
        let words: Vec<u64> = words.iter().copied().map(u64::from_ne_bytes).collect();
        decode_set(&words)
    }

    fn hits_of(&self, slot: u32) -> Result<Hits, Error> {
        let failed = |source| Error::Map {
            operation: "read hits",
            source,
        };
        let mut hits = Hits::default();
        for [packets, bytes] in self.hits.get(&slot, 0).map_err(failed)?.iter() {
            hits.packets += packets;
            hits.bytes += bytes;
        }
        Ok(hits)
    }

    fn empty(&mut self, slots: &[u32]) -> Result<(), Error> {
        if slots.is_empty() {
            return Ok(());
        }
        let failed = |source| Error::Map {
            operation: "empty the hits of a new rule",
            source,
        };
        let cpus = nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        for slot in slots {
            let zeros = PerCpuValues::try_from(vec![[0; 2]; cpus])
                .map_err(|error| failed(MapError::IoError(error)))?;
            self.hits.set(*slot, zeros, 0).map_err(failed)?;
        }
        Ok(())
    }
}

/// The kernel's form of a rule set; nothing if it has more rules than fit.
fn encode_set(new: &RuleSet, slots: &[u32]) -> Option<Vec<u64>> {
    let length = u32::try_from(new.rules.len()).ok()?;
    let mut words = Vec::with_capacity(RULE_SET_WORDS);
    words.push(join(length, encode::default_outcome(new)));
    for (rule, slot) in new.rules.iter().zip(slots) {
        words.extend(encode::encode(rule, *slot).to_words());
    }
    if words.len() > RULE_SET_WORDS {
        return None;
    }
    words.resize(RULE_SET_WORDS, 0);
    Some(words)
}

/// The only entry of a rule set's map.
const KEY: [u8; 4] = [0; 4];

fn decode_set(words: &[u64]) -> Result<InForce, Error> {
    let (length, default) = split(words[0]);
    let (encoded, _) = words[1..].as_chunks::<RULE_WORDS>();
    let rules = (1..)
        .zip(encoded)
        .take(length as usize)
        .map(|(number, words)| {
            let encoded = EncodedRule::from_words(words);
            let rule = encode::decode(&encoded).ok_or(Error::ForeignRule { number })?;
            Ok((rule, encoded.slot))
        })
        .collect::<Result<_, Error>>()?;
    Ok(InForce {
        default: encode::action(default),
        rules,
    })
}
