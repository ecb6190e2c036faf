//! The fast path of a rule set: a small program that judges plain packets of IPv4, and hands all others to
//! the packet filter.
//!
//! ```text
//! start     is it whole IPv4 of TCP or UDP, without tags and options; are these rules still in force
//! few       a few rules: compared one after the other, with their numbers in the instructions
//! set       what one of these asks of a named set, of the set's index
//! walk      more: the search of `nke_ebpf::rules`, with what this rule set's header says in the instructions
//! end       the count of the rule, and the verdict
//! ```
//!
//! It knows its rule set by address, and so looks up nothing that a small set has. It counts where the packet filter
//! counts. Where it cannot tell what becomes of a packet (the rule that matches logs it, say) it has changed nothing when it
//! hands it over. Edits in place it follows; and as soon as another rule set is in force, or there are flows that are known, it
//! hands over everything. So whoever changes rules need not know of it.
//!
//! It must say of a packet what the packet filter says, always: `tests/packet_filter` and its fuzzer run packets by both.

mod few;
mod set;
mod start;
mod walk;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    os::fd::{OwnedFd, RawFd},
};

use aya_obj::generated::bpf_insn;
use nke_ebpf::abi::{Front, Header, PAGE_WORDS, Rule, facts};
use serde::{Deserialize, Serialize};

use self::start::Start;
use super::error::Error;
use super::set::Index;
use super::sets::Sets;
use super::stored::Set;
use super::table::Table;
use crate::{
    hook::{Hook, ProgramType, Way},
    place::asm::{Code, Jump},
};

/// The fast path that a rule set can have at a hook.
pub(crate) struct FastPath {
    set: Set,
    id: u32,
    /// See `abi::states::KEPT`.
    kept: OwnedFd,
    /// What few rules ask of the named sets, by their slots.
    asked: BTreeMap<u16, Index>,
    memory: Memory,
    context: Context,
    cpus: u32,
}

/// The kernel's numbers of maps that a fast path is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeOf {
    /// Of the rules.
    pub(crate) rules: u32,
    /// Of the indexes of sets.
    pub(crate) indexes: Vec<u32>,
}

impl MadeOf {
    /// Whether it decides while these rules are in force: they have been edited in place at most, and the sets likewise.
    pub(crate) fn is_in_force(&self, rules: Option<u32>) -> bool {
        rules == Some(self.rules) && self.indexes.iter().copied().all(Index::is_in_force)
    }
}

/// What differs between hooks.
#[derive(Clone, Copy)]
struct Context {
    /// Where a context has the beginning of the packet, and its end.
    data: i16,
    data_end: i16,
    /// Where it has the length; nothing where that is from the beginning to the end.
    length: Option<i16>,
    /// What is known of every packet.
    facts: u64,
    pass: i32,
    drop: i32,
}

impl Context {
    fn of(hook: Hook) -> Option<Self> {
        let row = hook.row();
        let known = facts::V4 | facts::PROTOCOL | facts::PORTS;
        let is_in = row.way == Way::In;
        if !is_in && row.way != Way::Out {
            return None;
        }
        let way = if is_in { facts::IN } else { facts::OUT };
        // struct xdp_md and struct __sk_buff, include/uapi/linux/bpf.h.
        let (data, data_end, length) = if row.program_type == ProgramType::Xdp {
            (0, 4, None)
        } else if row.program_type == ProgramType::SchedCls {
            (76, 80, Some(0))
        } else {
            return None;
        };
        Some(Self {
            data,
            data_end,
            length,
            facts: known | way,
            pass: row.pass,
            drop: row.drop?,
        })
    }

    /// The verdict of an outcome that says nothing else.
    const fn verdict(&self, outcome: u32) -> i32 {
        if outcome & Rule::DROP != 0 {
            self.drop
        } else {
            self.pass
        }
    }
}

impl Table {
    /// The kernel's number of the map of the rules in force, where they alone say what becomes of a packet.
    pub(crate) fn rules_without_flows(&self) -> Option<u32> {
        let kept = self.states().and_then(|states| states.are_kept());
        let alone = matches!(kept, Ok(false));
        self.in_force_id().ok().flatten().filter(|_| alone)
    }

    /// The fast path that the rules in force can have at a hook; nothing where there can be none, or it would be of no
    /// use.
    pub(crate) fn fast_path(&self, hook: Hook) -> Result<Option<FastPath>, Error> {
        let Some(context) = Context::of(hook) else {
            return Ok(None);
        };
        // A flow that is known passes, whatever the rules say.
        if self.rules_without_flows().is_none() {
            return Ok(None);
        }
        let Some(kept) = self.states()?.kept() else {
            return Ok(None);
        };
        let kept = kept.try_clone();
        let kept = kept.map_err(super::table::failed("open the flows"))?;
        let Some((id, set)) = self.in_force()? else {
            return Ok(None);
        };
        let cpus = crate::sys::map::cpu_ids();
        let cpus = cpus.map_err(super::table::failed("count the processors"))?;
        let memory = match set.bytes() / (PAGE_WORDS as u64 * 8) {
            1 => Memory::One,
            _ => Memory::Many,
        };
        let mut path = FastPath {
            set,
            id,
            kept,
            asked: BTreeMap::new(),
            memory,
            context,
            cpus,
        };
        let can = path.is_of_use() && path.can_ask(self.sets());
        Ok(can.then_some(path))
    }
}

impl FastPath {
    /// The kernel's numbers of the maps that it is made of: of the rules, and of the indexes of sets.
    pub(crate) fn made_of(&self) -> MadeOf {
        MadeOf {
            rules: self.id,
            indexes: self.asked.values().map(Index::id).collect(),
        }
    }

    /// Its body, which hands packets over by this array: see `chain::Wanted`.
    pub(crate) fn body(&self, slow: RawFd) -> Vec<bpf_insn> {
        let mut start = Start::write(self);
        if self.has_few() {
            few::write(self, &mut start);
        } else {
            walk::write(self, &mut start);
        }
        start.finish(slow)
    }

    const fn has_few(&self) -> bool {
        self.set.front.has_few()
    }

    /// How many rules there are, where they are few.
    fn few(&self) -> usize {
        let Front {
            few, few_tested, ..
        } = self.set.front;
        usize::from(few | few_tested)
    }

    /// Whether few rules ask named sets.
    const fn asks_sets(&self) -> bool {
        self.set.front.few_tested != 0
    }

    /// Finds out what few rules ask of the named sets, or makes it. Whether they can ask all.
    fn can_ask(&mut self, sets: Option<&Sets>) -> bool {
        let tested: Vec<_> = few::rules(self).filter(|rule| rule.extra != 0).collect();
        for rule in tested {
            let slot = set::test_of(&self.set, &rule).map(|test| test.slot);
            let (Some(slot), Some(sets)) = (slot, sets) else {
                return false;
            };
            let Entry::Vacant(unknown) = self.asked.entry(slot) else {
                continue;
            };
            match sets.index(slot.into()) {
                Ok(Some(index)) => unknown.insert(index),
                Ok(None) | Err(_) => return false,
            };
        }
        true
    }

    /// How many counts there are, of all CPUs.
    fn counts(&self) -> u32 {
        self.set.header.row.saturating_mul(self.cpus)
    }

    /// Whether it would decide, and not only hand over.
    fn is_of_use(&self) -> bool {
        let Header {
            tested,
            default,
            counts,
            ..
        } = *self.set.header;
        let (asks, plain) = if self.asks_sets() {
            (Rule::ASKS_TESTS, true)
        } else {
            (0, tested == 0)
        };
        let plain = plain && default & !(Rule::DROP | asks) == 0;
        let behind = counts.checked_add(self.counts());
        let counted = behind.is_some_and(|behind| behind <= i32::MAX.cast_unsigned() >> 4);
        // Few rules are counted in their only page.
        let known = if self.has_few() {
            self.memory == Memory::One
        } else {
            walk::can(self)
        };
        plain && counted && known
    }
}

/// How a rule set lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// In one page, which has an address.
    One,
    /// In several, which are looked up.
    Many,
}

/// Where jumps go that hand a packet over.
#[derive(Default)]
struct ToSlow(Vec<Jump>);

impl ToSlow {
    fn add(&mut self, jump: Jump) {
        self.0.push(jump);
    }

    fn land(self, code: &mut Code) {
        for jump in self.0 {
            code.land(jump);
        }
    }
}
