//! Any number of rules for a plain packet: the search without a case.
//!
//! It answers where all that follows from the rule that matches is the verdict and a count, and where that rule has no
//! tests but one that asks a named set. For all else it says [`NOT`], and has changed nothing.
//!
//! It never looks at more rules than a packet usually meets: who has longer runs is judged the long way.
#![expect(unsafe_code, reason = "a map's value is reached through a pointer")]

use core::{mem::MaybeUninit, ptr::NonNull};

use super::{Case, Functions, RuleSet, count_of};
use crate::{
    Decision, Flow, Packet,
    abi::{Page, Rule, Subject, Test, facts, field},
    flow::Straight,
    rules,
    set::Answer,
    sets, tally,
};

/// What is no outcome: the packet must be judged the long way.
pub(crate) const NOT: u64 = u64::MAX;

/// So many rules of a run are compared at most.
const LONGEST: usize = 16;

/// Whether nothing follows from it but a verdict and a count.
#[inline(always)]
pub(super) const fn is_all(decision: Decision) -> bool {
    decision.outcome & !Rule::VERDICTS == 0
}

/// The outcome of a packet, which is counted for it; or [`NOT`].
#[inline(always)]
pub(crate) fn judge<F: Functions, P: Packet>(
    packet: &P,
    case: &mut MaybeUninit<Case>,
    set: &RuleSet,
    first: NonNull<Page>,
) -> u64 {
    // SAFETY: a value of the map, which is there as long as the map is; of its counts nothing is read.
    let page = unsafe { first.as_ref() };
    // Once: a moment later it can be another.
    let header = page.header();
    let decision = match Straight::of(packet, header.asks_more()) {
        Some(Straight::V4(flow)) if page.front().few_tested != 0 => {
            let subject = &Subject::of_flow(&flow, facts::direction(packet.direction()));
            rules::decide_few::<true>(page, page.front().few_tested, subject, |rule| {
                is_in_set_v4::<F>(page, rule, subject)
            })
        }
        Some(Straight::V4(flow)) => {
            let subject = subject_in(case, packet, &flow);
            rules::decide::<true, LONGEST>(set, (page, header), subject, decides_v4::<F>)
        }
        Some(Straight::V6(flow)) => {
            let subject = subject_in(case, packet, &flow);
            rules::decide::<false, LONGEST>(set, (page, header), subject, decides::<F>)
        }
        None => return NOT,
    };
    match decision {
        Some(decision) if is_all(decision) => {
            if let Some(count) = count_of(set, first, header, decision.number) {
                tally::add(count, packet.len(), packet);
            }
            decision.outcome.into()
        }
        _ => NOT,
    }
}

/// What is known of a packet, in the room of a case.
#[inline(always)]
fn subject_in<'a>(
    case: &'a mut MaybeUninit<Case>,
    packet: &impl Packet,
    flow: &Flow,
) -> &'a mut Subject {
    let facts = facts::direction(packet.direction());
    Case::subject_in(case).write(Subject::of_flow(flow, facts))
}

/// Whether a rule that matches is the one to go by: it decides, or only a case can tell.
#[inline(always)]
fn decides<F: Functions>(page: &Page, rule: &Rule, subject: &mut Subject) -> bool {
    if rule.outcome & Rule::CASE != 0 {
        return true;
    }
    let test = test(page, rule);
    F::ask_set(subject, sets::question(test)) ^ u32::from(test.not) == 1
}

/// The same of a packet of IPv4.
#[inline(always)]
fn decides_v4<F: Functions>(page: &Page, rule: &Rule, subject: &mut Subject) -> bool {
    match is_in_set_v4::<F>(page, rule, subject) {
        Some(holds) => holds,
        None => decides::<F>(page, rule, subject),
    }
}

/// Whether the tests of a rule hold for a packet of IPv4, if that can be said without a case: there is one, and it asks a
/// set of addresses.
#[inline(always)]
fn is_in_set_v4<F: Functions>(page: &Page, rule: &Rule, subject: &Subject) -> Option<bool> {
    if rule.outcome & Rule::CASE != 0 {
        return None;
    }
    let test = test(page, rule);
    let address = if test.field == field::SOURCE {
        subject.word(field::SOURCE)
    } else {
        subject.word(field::DESTINATION)
    };
    let answer = F::ask_set_v4(test.slot.into(), address);
    (answer != Answer::Nothing as u32).then_some(answer ^ u32::from(test.not) == 1)
}

/// The first test of a rule that lies in this page.
#[inline(always)]
fn test<'a>(page: &'a Page, rule: &Rule) -> &'a Test {
    let (line, _) = Test::place(rule.extra);
    page.test(line as usize)
}
