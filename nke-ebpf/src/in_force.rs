//! The rule set in force, as an extension sees it: the search, and the counts.
//!
//! ```ignore
//! nke_ebpf::rules!(RULES, nke_judge);
//! nke_ebpf::logs!(nke_log => line);
//! nke_ebpf::keeps_state!(STATES, Flows);
//!
//! let Some(rules) = InForce::of(&RULES) else { return Verdict::Pass };
//! let outcome = rules.judge::<Functions, Flows>(packet);
//! ```
//!
//! A few rules are compared where they are asked. A longer list is searched for a plain packet in the `straight`
//! module; for all else it is searched by a function of its own, which the verifier goes through once, and not on
//! each way that leads to it. Where there is a table of flows, a plain packet is asked about its flow before that.
//!
//! It never waits, and never changes anything but counts.
#![expect(unsafe_code, reason = "a map's value is reached through a pointer")]

pub(crate) mod straight;

use core::{mem::MaybeUninit, num::NonZero, ptr::NonNull};

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
};

use crate::{
    Decision, Flow, Obscured, Packet, SocketCall,
    abi::{
        COUNTS_IN_PAGE, Count, Header, PAGE_LINES, Page, RULES_IN_PAGE, RUN, Rule, Subject, facts,
        field, split,
    },
    branchless::forget,
    classic::answers,
    flow::Straight,
    rules::{self, Pages},
    states::{self, KeepsState},
    tally,
};

/// `BPF_F_MMAPABLE`, so that user space writes it as memory (since 5.5), and `BPF_F_INNER_MAP`, so that
/// one of any size can take its place (since 5.10).
const FLAGS: usize = 1 << 10 | 1 << 12;

/// A rule set: as many pages as it needs.
pub(crate) type RuleSet = Array<Page, 1, FLAGS>;

/// The rule set in force, in a map of its own so that another can take its place at once.
pub type RuleSets = ArrayOfMaps<RuleSet, 1>;

/// The rule set in force. A packet is judged and counted by one.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    sets: &'a RuleSets,
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
        Some(Self { sets, set, first })
    }

    /// What the first rule says that matches a packet: its outcome, and where that has [`Rule::REDIRECT`] the index of the
    /// interface. The packet is counted for it, or as one that could not be judged.
    ///
    /// # Errors
    ///
    /// As [`Flow::of`].
    #[inline(always)]
    pub fn judge<F: Functions, S: KeepsState>(
        &self,
        packet: &impl Packet,
    ) -> Result<(u32, u32), Obscured> {
        let mut case = MaybeUninit::uninit();
        // The rule of its flow: nobody's (0), or nobody knows yet.
        let known = if S::tables().get(0).is_some() {
            packet.find_flow::<S>()
        } else {
            0
        };
        if known != states::NOT {
            if known != 0 {
                self.count_known(known, packet);
                return Ok((0, 0));
            }
            if let Some(outcome) = self.judge_straight::<F, _>(packet, &mut case) {
                return Ok((outcome, 0));
            }
        }
        // Asked for anew each time: what is remembered lies on the stack, which is short.
        if !packet.read_case(&mut case, self.first().header().asks()) {
            let header = self.first().header();
            self.count(header, header.row.wrapping_sub(1), packet);
            return Err(Obscured);
        }
        // SAFETY: a packet that could be read has made a case.
        let subject = unsafe { &case.assume_init_ref().subject };
        if known == states::NOT
            && let Some(rule) = NonZero::new(packet.ask_flow::<S>(subject, 0))
        {
            self.count_known(rule.get(), packet);
            return Ok((0, 0));
        }
        self.ask_expressions(packet, &mut case);
        // Between this look at the rule set and that, another one can have been put in force, which asks for more, or
        // other expressions. Who does that waits until no packet goes by the old one any more: it happens once.
        if F::judge(case.as_mut_ptr()) == AGAIN
            && let Some(rules) = Self::of(self.sets)
            && packet.read_case(&mut case, Rule::ASKS)
        {
            rules.ask_expressions(packet, &mut case);
            F::judge(case.as_mut_ptr());
        }
        // SAFETY: a packet that could be read has made a case.
        let case = unsafe { case.assume_init_ref() };
        let outcome = case.decision.outcome;
        if case.asked & Rule::ASKS_TESTS != 0 && case.mark() != packet.mark() {
            packet.set_mark(case.mark());
        }
        if outcome & Rule::LOG != 0 {
            F::log(case, packet.interface());
        }
        if outcome & Rule::KEEP_STATE != 0 {
            packet.ask_flow::<S>(&case.subject, case.rule);
        }
        Ok((outcome, case.rule as u32))
    }

    /// Asks the expressions of the rules of a packet that has made a case, where there are any.
    #[inline(always)]
    fn ask_expressions(&self, packet: &impl Packet, case: &mut MaybeUninit<Case>) {
        let header = self.first().header();
        if header.expressions != 0
            && let Some(page) = self.set.page(header.expressions)
        {
            // SAFETY: a packet that could be read has made a case.
            let case = unsafe { case.assume_init_mut() };
            case.subject.words[usize::from(field::EXPRESSIONS)] = answers(packet, page);
            case.rule = header.rule(0);
        }
    }

    /// Counts a packet of a flow that is known: for the rule that let the flow through, if that is one of these rules,
    /// else by itself.
    #[inline(always)]
    fn count_known<P: Packet>(&self, rule: u64, packet: &P) {
        let header = self.first().header();
        let (number, stamp) = split(rule);
        let number = if stamp == header.stamp {
            number
        } else {
            header.row.wrapping_sub(2)
        };
        self.count(header, number, packet);
    }

    /// The same for a packet as nearly all are, where nothing else follows from that which matches. Of the case, it
    /// may use the room.
    #[inline(always)]
    fn judge_straight<F: Functions, P: Packet>(
        &self,
        packet: &P,
        case: &mut MaybeUninit<Case>,
    ) -> Option<u32> {
        if !packet.has_link() {
            return None;
        }
        let first = self.first();
        let few = first.front().few;
        if few == 0 {
            let outcome = packet.judge_straight::<F>(case, self.set, self.first);
            return u32::try_from(outcome).ok();
        }
        let header = first.header_at(1);
        let facts = facts::direction(packet.direction());
        let decision = match Straight::of(packet, header.asks_more())? {
            Straight::V4(flow) => {
                let subject = Subject::of_flow(&flow, facts);
                rules::decide_few::<true>(first, few, &subject, |_| Some(true))
            }
            Straight::V6(flow) => {
                let subject = Subject::of_flow(&flow, facts);
                rules::decide_few::<false>(first, few, &subject, |_| Some(true))
            }
        }?;
        if !straight::is_all(decision) {
            return None;
        }
        self.count(header, decision.number, packet);
        Some(decision.outcome)
    }

    /// What the first rule says that matches a socket call, which is counted without bytes.
    #[inline(always)]
    #[must_use]
    pub fn judge_call(call: &impl SocketCall, judge: Judge) -> u32 {
        let subject = Subject::of_flow(&call.flow(), call.facts());
        let mut case = Case::new(subject, Rule::ASKS, 0);
        judge(&raw mut case);
        case.decision.outcome
    }

    /// Counts a packet for the rule of this number, or 0 for the default.
    #[inline(always)]
    fn count<P: Packet>(&self, header: &Header, number: u32, packet: &P) {
        if let Some(count) = count_of(self.set, self.first, header, number) {
            tally::add(count, packet.len(), packet);
        }
    }

    /// The first page: its header, nodes and rules, which nobody writes. What it may have of
    /// counts is never looked at through this.
    #[inline(always)]
    fn first(&self) -> &'a Page {
        // SAFETY: a value of the map, which is there as long as the map is.
        unsafe { self.first.as_ref() }
    }

    /// Writes of a case that is to be logged which rule decides, by its place among those that are there, from 1, or 0
    /// for the default; and perhaps that it is not to be logged after all, for the rule has one of so many logged.
    //
    // Not of this type, and not inline: the caller's stack is short.
    #[inline(never)]
    fn note_for_log(set: &RuleSet, header: &Header, decision: &mut Decision) {
        let Some(index) = decision.number.checked_sub(1) else {
            return;
        };
        let index = u64::from(header.list) + u64::from(index);
        let Some(page) = set.page((index / RULES_IN_PAGE as u64) as u32) else {
            return;
        };
        let index = index as usize;
        decision.number = page.place(index, header.edition);
        if decision.outcome & Rule::SAMPLED == 0 {
            return;
        }
        let line = u64::from(header.tests) + u64::from(page.rule(index).listed);
        let Some(tests) = set.page((line / PAGE_LINES as u64) as u32) else {
            return;
        };
        let one_of = tests.test(line as usize).first[0] as u32;
        // SAFETY: the helper takes nothing and cannot fail.
        let drawn = unsafe { bpf_get_prandom_u32() };
        if one_of != 0 && drawn % one_of != 0 {
            decision.outcome &= !Rule::LOG;
        }
    }

    /// The index of the interface that a packet leaves by, as the rule of this number says; 0, which there is none of, if it says none.
    //
    // As above.
    #[inline(never)]
    fn target(set: &RuleSet, header: &Header, number: u32) -> u64 {
        let index = u64::from(header.list) + u64::from(number.wrapping_sub(1));
        let Some(page) = set.page((index / RULES_IN_PAGE as u64) as u32) else {
            return 0;
        };
        let line = u64::from(header.tests) + u64::from(page.rule(index as usize).listed);
        match set.page((line / PAGE_LINES as u64) as u32) {
            Some(tests) => tests.test(line as usize).first[1],
            None => 0,
        }
    }

    /// Counts a case for a rule that goes on. The verifier walks through this for every rule that there may be, and so the
    /// first page is looked up like any other.
    #[inline(never)]
    fn count_and_go_on(set: &RuleSet, header: &Header, number: u32, (bytes, alone): (u32, bool)) {
        let place = place_of_count(header, number);
        if let Some(page) = set.get_ptr_mut((place / COUNTS_IN_PAGE as u64) as u32) {
            // SAFETY: the index is below what fits into the page.
            let count = unsafe { page.cast::<Count>().add(place as usize % COUNTS_IN_PAGE) };
            tally::add_case(count, bytes, alone);
        }
    }
}

/// This CPU's count of this number, in a rule set of which this is the first page.
#[inline(always)]
fn count_of(
    set: &RuleSet,
    first: NonNull<Page>,
    header: &Header,
    number: u32,
) -> Option<*mut Count> {
    let place = place_of_count(header, number);
    let page = if place < COUNTS_IN_PAGE as u64 {
        first.as_ptr()
    } else {
        set.get_ptr_mut((place / COUNTS_IN_PAGE as u64) as u32)?
    };
    // SAFETY: the index is below what fits into the page.
    Some(unsafe { page.cast::<Count>().add(place as usize % COUNTS_IN_PAGE) })
}

/// Where this CPU's count of this number lies, in counts from the beginning of the first page on.
#[inline(always)]
fn place_of_count(header: &Header, number: u32) -> u64 {
    // SAFETY: the helper reads one number of the kernel.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    u64::from(cpu) * u64::from(header.row) + u64::from(number) + u64::from(header.counts)
}

/// The function that [`rules!`](crate::rules) declares: it judges a case, and counts it.
pub type Judge = extern "C" fn(*mut Case) -> u32;

/// What a packet is judged by. Each is a function of its own, which the verifier goes through once.
pub trait Functions {
    /// See [`rules!`](crate::rules).
    fn judge(case: *mut Case) -> u32;

    /// Whether a side of a packet is in a set, an [`Answer`](crate::set::Answer): see [`rules!`](crate::rules).
    fn ask_set(subject: *const Subject, question: u32) -> u32;

    /// Whether an IPv4 address is in the set of a slot, alike; nothing where only [`Self::ask_set`] can tell: see
    /// [`asks_v4!`](crate::asks_v4).
    fn ask_set_v4(slot: u32, address: u64) -> u32;

    /// See [`logs!`](crate::logs).
    fn log(case: *const Case, interface: u32) -> u32;
}

/// A packet or a socket call before the rules, and what they say of it.
#[derive(Debug)]
#[repr(C)]
pub struct Case {
    subject: Subject,
    /// How many bytes to count.
    bytes: u32,
    /// Of [`Rule::ASKS`], what has been read; and [`Case::ALONE`].
    asked: u32,
    /// The number of the rule that matches in the low half, the [`Header::stamp`] of its rule set in the high one; where
    /// it has [`Rule::REDIRECT`], the index of the interface. Till then that of the expressions that have been asked, or 0.
    rule: u64,
    decision: Decision,
}

impl Case {
    /// A bit of what has been asked: nobody else counts on this CPU meanwhile.
    const ALONE: u32 = 1 << 31;

    /// A case that is open: if rules have been taken away meanwhile, nothing is dropped.
    #[inline(always)]
    fn new(subject: Subject, asked: u32, bytes: u32) -> Self {
        Self {
            subject,
            bytes,
            asked,
            // Two zeros that the compiler knows of become a call of a function that fills bytes.
            rule: forget(0, bytes.into()),
            decision: Decision::NONE,
        }
    }

    /// Makes a case of a packet, with what is asked for of [`Rule::ASKS`]. False if it is obscured: see
    /// [`Obscured`].
    #[inline(always)]
    pub(crate) fn read<P: Packet>(packet: &P, case: &mut MaybeUninit<Self>, asks: u32) -> bool {
        let Ok(flow) = Flow::asked(packet, asks & Rule::ASKS_MORE != 0) else {
            return false;
        };
        let alone = if P::PREEMPTIBLE { 0 } else { Self::ALONE };
        let facts = facts::direction(packet.direction());
        let case = case.write(Self::new(
            Subject::of_flow(&flow, facts),
            asks | alone,
            packet.len(),
        ));
        if asks & Rule::ASKS_TESTS != 0 {
            case.subject.read(packet);
        }
        true
    }

    /// The room that its subject will have.
    #[inline(always)]
    const fn subject_in(case: &mut MaybeUninit<Self>) -> &mut MaybeUninit<Subject> {
        // SAFETY: the subject lies within the case, which is borrowed as long; nothing is read.
        unsafe { &mut *(&raw mut (*case.as_mut_ptr()).subject).cast() }
    }

    /// What is known of it.
    #[inline(always)]
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What has been decided. Of a packet that is to be logged the number is the rule's place in the list, from
    /// 1, or 0 of the default.
    #[inline(always)]
    #[must_use]
    pub const fn decision(&self) -> Decision {
        self.decision
    }

    /// The mark that the packet has, or is to get, if it was read.
    #[inline(always)]
    const fn mark(&self) -> u32 {
        (self.subject.word(field::MARK) >> 32) as u32
    }

    /// How many bytes it has, as they are counted.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }
}

/// What a [`Judge`] answers of a case of which too little has been read, or which has asked the expressions of
/// another rule set than is in force.
const AGAIN: u32 = 1;

/// Decides a case by the rule set in force, and counts it; or says [`AGAIN`].
///
/// # Safety
///
/// The case must be null or valid.
#[inline(always)]
pub unsafe fn judge(
    sets: &RuleSets,
    case: *mut Case,
    tests: extern "C" fn(*const Page, *mut Page, *mut Subject, u32) -> u32,
) -> u32 {
    // SAFETY: promised by the caller. (Since Linux 6.8 the verifier wants it tested.)
    let (Some(case), Some(rules)) = (unsafe { case.as_mut() }, InForce::of(sets)) else {
        return 0;
    };
    let (bytes, alone) = (case.bytes, case.asked & Case::ALONE != 0);
    let subject = &mut case.subject;
    let first = rules.first();
    // Once: a moment later it can be another.
    let header = first.header();
    let has_asked = header.expressions == 0 || header.rule(0) == case.rule;
    if header.asks() & !case.asked != 0 || !has_asked {
        return AGAIN;
    }
    let decides = |page: &Page, rule: &Rule, subject: &mut Subject| {
        let holds = tests(page, rules.first.as_ptr(), subject, rule.extra) != 0;
        if holds && rule.outcome & Rule::GO_ON != 0 {
            InForce::count_and_go_on(rules.set, header, rule.number, (bytes, alone));
            return false;
        }
        holds
    };
    let decision = rules::decide::<false, RUN>(rules.set, (first, header), subject, decides);
    let decision = decision.unwrap_or(Decision::NONE);
    if let Some(count) = count_of(rules.set, rules.first, header, decision.number) {
        tally::add_case(count, bytes, alone);
    }
    case.decision = decision;
    case.rule = header.rule(decision.number);
    if decision.outcome & Rule::REDIRECT != 0 {
        case.rule = InForce::target(rules.set, header, decision.number);
    }
    if decision.outcome & Rule::LOG != 0 {
        InForce::note_for_log(rules.set, header, &mut case.decision);
    }
    0
}

/// Declares the rule sets of an extension, its named sets, and the function that judges by them:
/// `rules!(RULES, judge)`.
///
/// What it declares is in an extension's object only where the extension says so. The functions are global, so that
/// the verifier goes through each once (memory of a known size as an argument: Linux 5.12).
#[macro_export]
macro_rules! rules {
    ($rules:ident, $judge:ident) => {
        /// The rule set in force, and its counts.
        #[$crate::aya_ebpf::macros::btf_map]
        static $rules: $crate::RuleSets = $crate::RuleSets::new();

        /// The named sets.
        #[$crate::aya_ebpf::macros::btf_map]
        static SETS: $crate::sets::Sets = $crate::sets::Sets::new();

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $judge(case: *mut $crate::Case) -> u32 {
            // SAFETY: null, or a case of the caller's: the verifier knows its size.
            unsafe { $crate::judge(&$rules, case, nke_tests_hold) }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_tests_hold(
            page: *const $crate::abi::Page,
            first: *mut $crate::abi::Page,
            subject: *mut $crate::abi::Subject,
            extra: u32,
        ) -> u32 {
            // SAFETY: the caller's references; the verifier knows nothing of that, and wants to see it tested.
            let (Some(page), Some(subject)) = (unsafe { (page.as_ref(), subject.as_mut()) }) else {
                return 0;
            };
            let holds = $crate::tests_hold(page, subject, extra, |test, subject| {
                if test.kind == $crate::abi::Test::LIMIT {
                    return nke_within(first, test, subject.length());
                }
                if test.kind == $crate::abi::Test::LIMIT_PER_SOURCE {
                    return nke_within_per_source(first, test, subject);
                }
                nke_set_answer(subject, $crate::sets::question(test))
            });
            holds.into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_within(
            first: *mut $crate::abi::Page,
            limit: *const $crate::abi::Test,
            bytes: u32,
        ) -> u32 {
            // SAFETY: as above.
            unsafe { $crate::within(first, limit, bytes) }.into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_within_per_source(
            first: *const $crate::abi::Page,
            limit: *const $crate::abi::Test,
            subject: *const $crate::abi::Subject,
        ) -> u32 {
            // SAFETY: as above.
            unsafe { $crate::sources::within_per_source(&$rules, first, limit, subject) }.into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_set_answer(subject: *const $crate::abi::Subject, question: u32) -> u32 {
            // SAFETY: as above.
            match unsafe { subject.as_ref() } {
                Some(subject) => $crate::sets::answer(&SETS, subject, question),
                None => $crate::set::Answer::Nothing as u32,
            }
        }
    };
}

/// Declares beside [`rules!`] the function that asks a set about an IPv4 address alone: `asks_v4!(ask)`.
#[macro_export]
macro_rules! asks_v4 {
    ($ask:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $ask(slot: u32, address: u64) -> u32 {
            $crate::sets::answer_v4(&SETS, slot, address)
        }
    };
}

/// Makes `line`, a function that takes a [`Case`] and the index of the interface that its packet comes in by, or goes out
/// by if it only goes out, the global function `log`: `logs!(log => line)`.
#[macro_export]
macro_rules! logs {
    ($log:ident => $line:path) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $log(case: *const $crate::Case, interface: u32) -> u32 {
            // SAFETY: null, or a case of the caller's: the verifier knows its size.
            if let Some(case) = unsafe { case.as_ref() } {
                $line(case, interface);
            }
            0
        }
    };
}
