//! Rules made ready to be put in force: as an edit of those that are, or as a rule set with a map of its own.
//!
//! This never changes what packets are judged by.

use std::collections::{BTreeMap, btree_map::Entry};
use std::{io, iter};

use nke_ebpf::abi::{self, ROOTS, RUN};

use super::{Made, New, Table, failed, gone};
use crate::filter::{
    InterfaceName, Revision, Rule, RuleSet, carry, edit, encode,
    error::Error,
    expression,
    room::refuse_many_limits,
    seen::{Places, Seen},
    sets,
    states::{DEFAULT_LIMIT, Fresh},
    stored::Set,
    tree,
};
use crate::sys;

impl Table {
    pub(super) fn make(&mut self, new: &RuleSet) -> Result<Made, Error> {
        let states = self.make_states(&new.rules)?;
        let rules = self.make_rules(new)?;
        Ok(Made { rules, states })
    }

    /// A table of flows, if these rules are the first that need one.
    pub(super) fn make_states(&self, new: &[Rule]) -> Result<Option<Fresh>, Error> {
        if new.iter().any(|rule| rule.keep_state) && !self.states()?.are_kept()? {
            return Fresh::make(DEFAULT_LIMIT).map(Some);
        }
        Ok(None)
    }

    fn make_rules(&self, new: &RuleSet) -> Result<New, Error> {
        let Some(seen) = self.see()? else {
            return self.anew(new, None, vec![None; new.rules.len()], &[]);
        };
        let staying = &carry::staying(&seen.rules()?, &new.rules);
        let coming = new.rules.iter().zip(staying).filter(|it| it.1.is_none());
        let edit = edit::New {
            default: new.default,
            staying,
            coming: coming.map(|(rule, _)| rule).collect(),
        };
        let Seen { set, places, .. } = seen;
        // In place, rules that stay would name the interfaces that they have named.
        let in_place = !self.names_others(&set);
        let edit = in_place
            .then(|| edit::prepare(&set, &places, &edit))
            .flatten();
        match edit {
            Some(edit) => Ok(New::InPlace { set, edit }),
            None => self.anew(new, Some(set), numbers(&places, staying), &[]),
        }
    }

    pub(super) fn make_revised(&mut self, revision: &Revision) -> Result<New, Error> {
        let seen = self.seen.take();
        let id = self.in_force_id()?;
        let is_last = |seen: &Seen| Some(seen.id) == id && seen.set.is_current();
        if !seen.as_ref().map_or(id.is_none(), is_last) {
            let changed = io::Error::other("others have changed them meanwhile; try again");
            return Err(failed("edit the rules")(changed));
        }
        let Revision {
            default,
            staying,
            coming,
        } = revision;
        let Some(seen) = seen else {
            let new = revision.rules(Vec::new());
            return self.anew(&new, None, vec![None; coming.len()], &[]);
        };
        let edit = edit::New {
            default: *default,
            staying,
            coming: coming.iter().collect(),
        };
        if let Some(edit) = edit::prepare(&seen.set, &seen.places, &edit) {
            let set = seen.set;
            return Ok(New::InPlace { set, edit });
        }
        let new = revision.rules(seen.rules()?);
        let Seen { set, places, .. } = seen;
        let staying = numbers(&places, staying);
        // What an edit does not touch stays as it is, whatever has become of the interfaces.
        let given = gone::given(&set, &staying);
        self.anew(&new, Some(set), staying, &given)
    }

    /// Writes a set with a map of its own. Rules that have been given indexes of interfaces keep them.
    fn anew(
        &self,
        new: &RuleSet,
        old: Option<Set>,
        staying: Vec<Option<u32>>,
        given: &[Vec<u32>],
    ) -> Result<New, Error> {
        let full = || Error::Full {
            wanted: new.rules.len(),
            limit: RUN * ROOTS,
        };
        let cpus = sys::map::cpu_ids().map_err(failed("count the processors"))?;
        let (expressions, page) = expression::page::laid_out(&new.rules)?;
        let (mut encoded, mut tests) = encode::encode_all(&new.rules, &expressions);
        refuse_many_limits(&tests)?;
        self.find_sets(new, &mut tests)?;
        self.find_interfaces(new, given, &mut tests)?;
        let per_source = carry::keys((&encoded, &mut tests), old.as_ref(), &staying);
        let default = encode::default_outcome(new);
        let mut built = || {
            let mut built = tree::build(&mut encoded, &mut tests, default, cpus)?;
            if !page.is_empty() {
                built.add_expressions(&page)?;
            }
            if per_source {
                built.add_sources()?;
            }
            Some(built)
        };
        let built = built().ok_or_else(full)?;
        let set = Set::create(built.pages, &built.words, built.header);
        let set = set.map_err(failed("make a map for the new rules"))?;
        let made = New::Anew { set, old, staying };
        made.carry().map_err(failed("write the new rules"))?;
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
            let all = rule.memberships();
            all.map(move |membership| (rule, membership))
        });
        let encoded = tests.iter_mut().filter(|test| test.kind == abi::Test::IN);
        for ((rule, membership), encoded) in of_rules.zip(encoded) {
            encoded.slot = sets::slot_for(&named, membership, rule)?;
        }
        Ok(())
    }

    /// Whether the interface of a name that rules have is another one now than when they were written, or none.
    fn names_others(&self, set: &Set) -> bool {
        let all = set.tests();
        let mut named = all.iter().filter(|test| InterfaceName::is_in(test));
        named.any(|test| {
            let name = InterfaceName::decode(test);
            let now = name.and_then(|name| self.interfaces.index(name));
            now != Some(InterfaceName::index(test))
        })
    }

    /// Writes into tests the indexes of the interfaces that they name: those that a rule has been given, or else those
    /// of today.
    fn find_interfaces(
        &self,
        new: &RuleSet,
        given: &[Vec<u32>],
        tests: &mut [abi::Test],
    ) -> Result<(), Error> {
        let is_named = |test: &&mut abi::Test| InterfaceName::is_in(test);
        let mut known = BTreeMap::new();
        let of_rules = new.rules.iter().enumerate().flat_map(|(place, rule)| {
            let given = given.get(place).into_iter().flatten();
            let given = given.copied().map(Some).chain(iter::repeat(None));
            let names = rule.named_interfaces().zip(given);
            names.map(move |(name, given)| (rule, name, given))
        });
        for ((rule, name, given), test) in of_rules.zip(tests.iter_mut().filter(is_named)) {
            let index = match given {
                Some(index) => index,
                None => match known.entry(name) {
                    Entry::Occupied(index) => *index.get(),
                    Entry::Vacant(place) => *place.insert(self.find_interface(rule, name)?),
                },
            };
            InterfaceName::place(index, test);
        }
        Ok(())
    }

    fn find_interface(&self, rule: &Rule, name: InterfaceName) -> Result<u32, Error> {
        let namespace = || self.interfaces.namespace()?.name().map(str::to_owned);
        self.interfaces
            .index(name)
            .ok_or_else(|| Error::NoInterface {
                rule: Box::new(rule.clone()),
                name,
                namespace: namespace(),
            })
    }
}

/// The numbers of the rules that stay.
fn numbers(places: &Places, staying: &[Option<usize>]) -> Vec<Option<u32>> {
    let number = |place: &Option<usize>| place.and_then(|place| places.numbers.get(place).copied());
    staying.iter().map(number).collect()
}
