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

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    helpers::generated::bpf_get_smp_processor_id,
};

use crate::{
    Decision, Flow, Packet,
    abi::{COUNTS_IN_PAGE, Count, Header, Page, RULES_IN_PAGE, Rule, Subject},
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
    first: &'a Page,
    header: &'a Header,
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
        let first = set.get(0)?;
        let header = first.header();
        Some(Self { set, first, header })
    }

    /// Whether some rule asks for what is read of a packet only then: see [`Flow::with_more`].
    #[inline(always)]
    #[must_use]
    pub fn asks_more(&self) -> bool {
        self.header.asks_more()
    }

    /// What the first rule says that matches the flow and these facts beside those of the flow,
    /// where no rule has tests.
    #[inline(always)]
    #[must_use]
    pub fn decide(&self, flow: &Flow, facts: u64) -> Decision {
        let first = (self.first, self.header);
        rules::decide(self.set, first, flow, facts, |_, _| true)
    }

    /// The same for a packet, whatever the rules ask of it.
    #[inline(always)]
    #[must_use]
    pub fn decide_packet(&self, packet: &impl Packet, flow: &Flow, facts: u64) -> Decision {
        let noise = u64::from(packet.len());
        let decision = if self.header.asks_tests() {
            let subject = Subject::of(packet, flow, facts);
            let tests = |page: &Page, rule: &Rule| tests_hold(page, rule.extra, &subject);
            rules::decide(self.set, (self.first, self.header), flow, facts, tests)
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
        self.count(self.header.row.wrapping_sub(1), packet);
    }

    /// Counts a socket call, which has no bytes.
    #[inline(always)]
    pub fn count_call(&self, number: u32) {
        if let Some(count) = self.count_of(number) {
            tally::add_one(count);
        }
    }

    /// The place of a rule among those that are there, from 1, by its number; 0 of the default.
    #[inline(always)]
    #[must_use]
    pub fn place(&self, number: u32) -> u32 {
        let Some(index) = number.checked_sub(1) else {
            return 0;
        };
        let page = u64::from(self.header.list) + u64::from(index) / RULES_IN_PAGE as u64;
        let page = self.set.page(page as u32);
        page.map_or(0, |page| page.place(index as usize, self.header.edition))
    }

    /// This CPU's count of this number.
    #[inline(always)]
    fn count_of(&self, number: u32) -> Option<*mut Count> {
        let header = self.header;
        // SAFETY: the helper reads one number of the kernel.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let index = u64::from(cpu) * u64::from(header.row) + u64::from(number);
        let page = u64::from(header.counts) + index / COUNTS_IN_PAGE as u64;
        let page: *mut Count = self.set.get_ptr_mut(page as u32)?.cast();
        // SAFETY: the index is below what fits into the page.
        Some(unsafe { page.add(index as usize % COUNTS_IN_PAGE) })
    }
}
