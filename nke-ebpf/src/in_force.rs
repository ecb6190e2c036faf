//! The rule set in force, as an extension sees it: the search, and the counts.
//!
//! ```ignore
//! #[btf_map]
//! static RULES: RuleSets = RuleSets::new();
//!
//! let Some(rules) = InForce::of(&RULES) else { return Verdict::Pass };
//! let decision = rules.decide(&flow, facts::IN);
//! rules.count(decision.number, packet);
//! ```
//!
//! It never waits, and never changes anything but counts.
#![expect(unsafe_code, reason = "a map's value is reached through a pointer")]

use core::ptr::NonNull;

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    helpers::generated::bpf_get_smp_processor_id,
};

use crate::{
    Decision, Flow, Obscured, Packet,
    abi::{COUNTS_IN_PAGE, Count, Header, Page, Rule, Subject},
    branchless::forget,
    rules::{self, Pages},
    subject::tests_hold,
    tally,
};

/// `BPF_F_MMAPABLE`, so that user space writes it as memory (since 5.5), and `BPF_F_INNER_MAP`, so that
/// one of any size can take its place (since 5.10).
const FLAGS: usize = 1 << 10 | 1 << 12;

/// A rule set: as many pages as it needs.
type RuleSet = Array<Page, 1, FLAGS>;

/// The rule set in force, in a map of its own so that another can take its place at once.
pub type RuleSets = ArrayOfMaps<RuleSet, 1>;

/// The rule set in force. A packet is judged and counted by one.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    set: &'a RuleSet,
    /// The first page, which the counts may be in.
    first: NonNull<Page>,
}

impl Pages for RuleSet {
    #[inline(always)]
    fn page(&self, index: u32) -> Option<&Page> {
        self.get(index)
    }
}

impl<'a> InForce<'a> {
    /// The rule set in force, if there is one.
    #[inline(always)]
    #[must_use]
    pub fn of(sets: &'a RuleSets) -> Option<Self> {
        let set = sets.get(0)?;
        let first = NonNull::new(set.get_ptr_mut(0)?)?;
        Some(Self { set, first })
    }

    /// The flow of a packet, with what more some rule asks for.
    ///
    /// # Errors
    ///
    /// As [`Flow::of`].
    #[inline(always)]
    pub fn flow(&self, packet: &impl Packet) -> Result<Flow, Obscured> {
        let first = self.first();
        let flow = Flow::asked(packet, first.asks_more())?;
        // Or the verifier walks through all behind this once for each way of finding it.
        Ok(flow.with_facts_forgotten(first.words[0]))
    }

    /// What the first rule says that matches the flow and these facts beside those of the flow,
    /// where no rule has tests.
    #[inline(always)]
    #[must_use]
    pub fn decide(&self, flow: &Flow, facts: u64) -> Decision {
        match rules::decide_few(self.first(), flow, facts) {
            Some(decision) => decision,
            None => rules::decide(self.set, self.first(), flow, facts, |_, _| true),
        }
    }

    /// The same for a packet, whatever the rules ask of it.
    #[inline(always)]
    #[must_use]
    pub fn decide_packet(&self, packet: &impl Packet, flow: &Flow, facts: u64) -> Decision {
        let noise = u64::from(packet.len());
        let decision = if self.first().asks_tests() {
            let subject = Subject::of(packet, flow, facts);
            let tests = |page: &Page, rule: &Rule| tests_hold(page, rule.extra, &subject);
            rules::decide(self.set, self.first(), flow, facts, tests)
        } else {
            self.decide(flow, facts)
        };
        Decision {
            outcome: forget(decision.outcome.into(), noise) as u32,
            number: forget(decision.number.into(), noise) as u32,
        }
    }

    /// Counts a packet for the rule of this number, or 0 for the default.
    #[inline(always)]
    pub fn count<P: Packet>(&self, number: u32, packet: &P) {
        if let Some(count) = self.count_of(number) {
            tally::add(count, packet.len(), packet);
        }
    }

    /// Counts a packet that could not be judged.
    #[inline(always)]
    pub fn count_obscured<P: Packet>(&self, packet: &P) {
        self.count(self.header().row.wrapping_sub(1), packet);
    }

    /// Counts a socket call, which has no bytes.
    #[inline(always)]
    pub fn count_call(&self, number: u32) {
        if let Some(count) = self.count_of(number) {
            tally::add_one(count);
        }
    }

    /// The first page: its header, nodes and rules, which nobody writes. What it may have of
    /// counts is never looked at through this.
    #[inline(always)]
    fn first(&self) -> &'a Page {
        // SAFETY: a value of the map, which is there as long as the map is.
        unsafe { self.first.as_ref() }
    }

    #[inline(always)]
    fn header(&self) -> &'a Header {
        self.first().header()
    }

    /// This CPU's count of this number.
    #[inline(always)]
    fn count_of(&self, number: u32) -> Option<*mut Count> {
        let header = self.header();
        // SAFETY: the helper reads one number of the kernel.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let place =
            u64::from(cpu) * u64::from(header.row) + u64::from(number) + u64::from(header.counts);
        let page = if place < COUNTS_IN_PAGE as u64 {
            self.first.as_ptr()
        } else {
            self.set
                .get_ptr_mut((place / COUNTS_IN_PAGE as u64) as u32)?
        };
        // SAFETY: the index is below what fits into the page.
        Some(unsafe { page.cast::<Count>().add(place as usize % COUNTS_IN_PAGE) })
    }
}
