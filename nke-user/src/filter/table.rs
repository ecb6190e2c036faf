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
//! A rule set is one map, and is never changed but for its counts. An edit makes another map and
//! puts that into the place of the old one: a single pointer, so that a packet is judged by all of
//! the old rules or by all of the new ones. The kernel returns from that write only when no packet
//! goes by the old ones any more; what they have counted till then is carried over.
//!
//! This must never write rules in place. It takes no lock: whoever reads, edits and writes holds
//! nke's.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use aya::maps::{MapData, MapError};
use nke_ebpf::abi::{
    self, HEADER_LINES, Header, LINE_WORDS, PAGE_WORDS, RULES_IN_PAGE, RUN, TREES, map,
};

use super::counts::Counts;
use super::error::Error;
use super::further::Asked;
use super::rule::{Rule, RuleSet};
use super::{Sets, carry, encode, sets, tree};
use crate::sys::{self, map::Shape};

/// The maps of one rule set, which one attachment has or several share.
pub struct Table {
    id: u32,
    sets: OwnedFd,
    /// The named sets that rules can ask for.
    named: Option<Sets>,
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
    set: Set,
    old: Option<Set>,
    /// For each new rule, the place of the old one that it is.
    staying: Vec<Option<usize>>,
}

/// A rule set's own map.
pub(super) struct Set {
    map: OwnedFd,
    pub(super) header: Header,
}

impl Set {
    /// The words of a page.
    pub(super) fn page(&self, index: u32) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; PAGE_WORDS * 8];
        sys::map::lookup(&self.map, &index.to_ne_bytes(), &mut bytes)?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().copied().map(u64::from_ne_bytes).collect())
    }

    /// Writes pages from this one on.
    pub(super) fn write(&self, from: u32, words: &[u64]) -> io::Result<()> {
        for (index, page) in (from..).zip(words.chunks(PAGE_WORDS)) {
            let mut bytes: Vec<u8> = page.iter().flat_map(|word| word.to_ne_bytes()).collect();
            bytes.resize(PAGE_WORDS * 8, 0);
            sys::map::update(&self.map, &index.to_ne_bytes(), &bytes)?;
        }
        Ok(())
    }
}

/// `BPF_F_MMAPABLE`, for what the kernel aligns to pages, and `BPF_F_INNER_MAP`.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The only entry of the map of rule sets.
const KEY: [u8; 4] = [0; 4];

const fn failed(operation: &'static str) -> impl Fn(io::Error) -> Error {
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
    /// Packets that could not be judged, and were dropped for it.
    pub obscured_hits: Hits,
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
        Self::made_of(&path, MapData::from_pin(&path))
    }

    /// The map of a program that is attached to nothing, among its maps by their names.
    ///
    /// # Errors
    ///
    /// [`Error::NoMap`] if it is not among them, or is no map of rules.
    pub(crate) fn of(maps: &BTreeMap<String, OwnedFd>) -> Result<Self, Error> {
        let map = maps.get(map::RULES).ok_or(MapError::KeyNotFound);
        let own = map.and_then(|map| map.try_clone().map_err(MapError::IoError));
        Self::made_of(Path::new(map::RULES), own.and_then(MapData::from_fd))
    }

    fn made_of(path: &Path, opened: Result<MapData, MapError>) -> Result<Self, Error> {
        let table = opened.and_then(|opened| {
            let id = opened.info()?.id();
            let sets = opened.fd().as_fd().try_clone_to_owned()?;
            let named = None;
            Ok(Self { id, sets, named })
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

    /// The rules in force and their hits.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses, and [`Error::ForeignRule`] if it holds what this
    /// version cannot have written.
    pub fn read(&self) -> Result<Listing, Error> {
        let Some(set) = self.in_force()? else {
            let RuleSet { default, rules: _ } = RuleSet::default();
            return Ok(Listing {
                default,
                rules: Vec::new(),
                default_hits: Hits::default(),
                obscured_hits: Hits::default(),
            });
        };
        let rules = rules_of(&set)?;
        let counts = Counts::of(&set).map_err(failed("read hits"))?;
        Ok(Listing {
            default: encode::action(set.header.default),
            rules: rules.into_iter().zip(counts.rules().copied()).collect(),
            default_hits: counts.default(),
            obscured_hits: counts.obscured(),
        })
    }

    /// How many bytes of the kernel's memory the rules in force take, counts included.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses.
    pub fn memory(&self) -> Result<u64, Error> {
        let Some(set) = self.in_force()? else {
            return Ok(0);
        };
        let described = sys::map::describe(&set.map).map_err(failed("ask about the rules"))?;
        Ok(u64::from(described.max_entries) * (PAGE_WORDS * 8) as u64)
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
    pub fn prepare(self, new: &RuleSet) -> Result<Prepared, Error> {
        let made = self.make(new)?;
        Ok(Prepared { table: self, made })
    }

    fn make(&self, new: &RuleSet) -> Result<Made, Error> {
        let full = || Error::Full {
            wanted: new.rules.len(),
            limit: RUN * TREES,
        };
        let old = self.in_force()?;
        let old_rules = old.as_ref().map(rules_of).transpose()?;
        let staying = carry::staying(old_rules.as_deref().unwrap_or_default(), &new.rules);

        let cpus = sys::map::cpu_ids().map_err(failed("count the processors"))?;
        let (encoded, mut tests) = encode::encode_all(&new.rules);
        self.find_sets(new, &mut tests)?;
        let default = encode::default_outcome(new);
        let built = tree::build(&encoded, &tests, default, cpus).ok_or_else(full)?;
        let shape = Shape {
            flags: FLAGS,
            max_entries: built.pages,
            ..Shape::array(map::RULES, (PAGE_WORDS * 8) as u32)
        };
        let map = sys::map::create(shape).map_err(failed("make a map for the new rules"))?;
        let header = built.header;
        let made = Made {
            set: Set { map, header },
            old,
            staying,
        };
        let write = failed("write the new rules");
        made.set.write(0, &built.words).map_err(&write)?;
        made.carry().map_err(&write)?;
        Ok(made)
    }

    /// Writes into tests where the sets lie that they ask for.
    fn find_sets(&self, new: &RuleSet, tests: &mut [abi::Test]) -> Result<(), Error> {
        let asks = |rule: &Rule| rule.memberships().next().is_some();
        if !new.rules.iter().any(asks) {
            return Ok(());
        }
        let none = Error::NoSets;
        let named = self.named.as_ref().ok_or(none)?.all()?;
        let of_rules = new.rules.iter().flat_map(|rule| {
            let tests = rule.tests.iter();
            tests.map(move |test| (rule, test))
        });
        for ((rule, test), encoded) in of_rules.zip(tests) {
            if let Asked::In(membership) = &test.what {
                encoded.slot = sets::slot_for(&named, membership, rule)?;
            }
        }
        Ok(())
    }

    fn put_in_force(&mut self, made: &Made) -> Result<(), Error> {
        let value = made.set.map.as_raw_fd().to_ne_bytes();
        sys::map::update(&self.sets, &KEY, &value).map_err(failed("put the new rules in force"))?;
        // The old ones may have counted since.
        let carried = made.carry().map_err(failed("carry hits over"));
        if carried.is_err() {
            self.take_back(made)?;
        }
        carried
    }

    fn take_back(&mut self, made: &Made) -> Result<(), Error> {
        match &made.old {
            Some(old) => sys::map::update(&self.sets, &KEY, &old.map.as_raw_fd().to_ne_bytes()),
            None => sys::map::delete(&self.sets, &KEY),
        }
        .map_err(failed("put the old rules in force again"))
    }

    fn in_force(&self) -> Result<Option<Set>, Error> {
        let failed = failed("read the rules");
        let mut id = [0; 4];
        let there = sys::map::lookup(&self.sets, &KEY, &mut id).map_err(&failed)?;
        if there.is_none() {
            // No rules have been written yet.
            return Ok(None);
        }
        let map = sys::map::open(u32::from_ne_bytes(id)).map_err(&failed)?;
        let mut set = Set {
            map,
            header: Header::from_words(&[0; HEADER_LINES * LINE_WORDS]),
        };
        let first = set.page(0).map_err(&failed)?;
        if let Some(words) = first.first_chunk() {
            set.header = Header::from_words(words);
        }
        if set.header.format != abi::FORMAT {
            return Err(Error::ForeignRule { number: 1 });
        }
        Ok(Some(set))
    }
}

impl Made {
    /// Writes what the old rules have counted.
    fn carry(&self) -> io::Result<()> {
        let Some(old) = &self.old else {
            return Ok(());
        };
        let words = Counts::of(old)?.carried(&self.staying, self.set.header.row);
        self.set.write(self.set.header.carried, &words)
    }
}

/// The rules of a set, in order.
fn rules_of(set: &Set) -> Result<Vec<Rule>, Error> {
    let length = set.header.length as usize;
    let mut tests = Vec::new();
    for page in set.header.tests..set.header.carried {
        let words = set.page(page).map_err(failed("read the rules"))?;
        tests.extend(tree::tests_in(&words));
    }
    let mut rules = Vec::new();
    let pages = length.div_ceil(RULES_IN_PAGE);
    for page in (set.header.list..).take(pages) {
        let words = set.page(page).map_err(failed("read the rules"))?;
        for encoded in tree::list(&words).take(length - rules.len()) {
            let number = rules.len() + 1;
            let own = tree::tests_of(&encoded, &tests);
            let rule = own.and_then(|tests| encode::decode(&encoded, tests));
            rules.push(rule.ok_or(Error::ForeignRule { number })?);
        }
    }
    Ok(rules)
}
