//! The fast path of a rule set: a small program that judges plain packets of IPv4, and hands all others to
//! the packet filter.
//!
//! ```text
//! start     is it whole IPv4 of TCP or UDP, without tags and options; are these rules still in force
//! few       a few rules: compared one after the other, with their numbers in the instructions; what one asks of a named
//!           set, by its table of blocks
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

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use aya_obj::generated::bpf_insn;
use nke_ebpf::abi::{Front, Header, PAGE_WORDS, Rule, facts};

use self::start::Start;
use super::error::Error;
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
    /// The map of the named sets, if it is known.
    sets: Option<OwnedFd>,
    memory: Memory,
    context: Context,
    cpus: u32,
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
        let sets = self.sets().and_then(|sets| sets.map().try_clone().ok());
        let Some((id, set)) = self.in_force()? else {
            return Ok(None);
        };
        let cpus = crate::sys::map::cpu_ids();
        let cpus = cpus.map_err(super::table::failed("count the processors"))?;
        let memory = match set.bytes() / (PAGE_WORDS as u64 * 8) {
            1 => Memory::One,
            _ => Memory::Many,
        };
        let path = FastPath {
            set,
            id,
            kept,
            sets,
            memory,
            context,
            cpus,
        };
        Ok(path.is_of_use().then_some(path))
    }
}

impl FastPath {
    /// The kernel's number of the rules' map that it is made of.
    pub(crate) const fn rules(&self) -> u32 {
        self.id
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

    /// The map of the named sets.
    fn sets(&self) -> Option<RawFd> {
        self.sets.as_ref().map(AsRawFd::as_raw_fd)
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
        let can_ask = |rule: Rule| {
            let test = set::test_of(&self.set, &rule);
            let asked = test.zip(self.sets.as_ref());
            rule.extra == 0 || asked.is_some_and(|(test, sets)| set::has_blocks(sets, &test))
        };
        let (asks, plain) = if self.asks_sets() {
            (Rule::ASKS_TESTS, few::rules(self).all(can_ask))
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
