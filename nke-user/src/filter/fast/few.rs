//! A few rules as instructions: load a field, compare it, go to the next rule if it differs.
//!
//! Every rule loads what it compares anew: the verifier would remember what earlier rules have found of a register,
//! and walk through the rest once for all that it may be.

use nke_ebpf::abi::{Count, FEW_AT, RULE_WORDS, Rule, facts};

use super::{
    FastPath, set,
    start::{DESTINATION, DESTINATION_PORT, PACKET, PROTOCOL, ROW, SOURCE, SOURCE_PORT, Start},
};
use crate::place::asm::{self, Code, Compare, Jump, R1};

/// Bytes of a count.
const COUNT: u32 = size_of::<Count>() as u32;

/// The rules of a set that has few.
pub(super) fn rules(path: &FastPath) -> impl Iterator<Item = Rule> {
    let places = (FEW_AT..).take(path.few());
    places.filter_map(|at| path.set.rule(at * RULE_WORDS))
}

/// Writes them, and the default.
pub(super) fn write(path: &FastPath, start: &mut Start) {
    for rule in rules(path) {
        let known = path.context.facts;
        let Some(mut differs) = differences(&rule, known, &mut start.code) else {
            continue;
        };
        let mut can_match = true;
        if let Some(test) = set::test_of(&path.set, &rule) {
            // There is none that cannot be asked: see `FastPath::can_ask`.
            let index = &path.asked[&test.slot];
            let (outside, can_hold) = set::ask(index, &test, start);
            differs.extend(outside);
            can_match = can_hold;
        }
        if can_match {
            decide(start, rule.outcome, rule.number);
        }
        if differs.is_empty() {
            // The kernel takes no instruction that is never reached.
            return;
        }
        for jump in differs {
            start.code.land(jump);
        }
    }
    let default = path.set.header.default & !Rule::ASKS;
    decide(start, default, 0);
}

/// Counts a packet for a number, and says what becomes of it; or hands it over, if more is to follow.
fn decide(start: &mut Start, outcome: u32, number: u32) {
    if outcome & !Rule::DROP != 0 {
        let jump = start.code.jump();
        start.to_slow.add(jump);
        return;
    }
    start.measure();
    // A few numbers, of sixteen bytes each.
    start.count(ROW, (number * COUNT) as i16);
    start.say(outcome);
}

/// Compares a packet with a rule: the jumps that are taken where they differ; nothing if they always do.
fn differences(rule: &Rule, known: u64, code: &mut Code) -> Option<Vec<Jump>> {
    let (mask, number) = (rule.facts_mask, rule.facts & rule.facts_mask);
    let of_protocol = facts::PROTOCOL_MASK;
    if (number ^ known) & mask & !of_protocol != 0 {
        return None;
    }
    let ports = [0, 32].map(|half| {
        let of = |word: u64| (word >> half) as u32 & 0x7fff_ffff;
        (
            of(rule.first_ports),
            of(rule.last_ports).min(u16::MAX.into()),
        )
    });
    if ports.iter().any(|(first, last)| first > last) {
        return None;
    }
    let ends = [
        (SOURCE, rule.front.source, rule.front.source_mask),
        (
            DESTINATION,
            rule.front.destination,
            rule.front.destination_mask,
        ),
    ];
    // What IPv4 has not is zero.
    if ends.iter().any(|(_, bits, mask)| (bits & mask) >> 32 != 0) {
        return None;
    }

    let mut jumps = Vec::new();
    if mask & of_protocol != 0 {
        let [mask, number] =
            [mask, number].map(|word| (word & of_protocol) >> facts::PROTOCOL_SHIFT);
        code.push(asm::load8(R1, PACKET, PROTOCOL));
        code.push(asm::and32_imm(R1, mask as i32));
        jumps.push(code.jump_if(Compare::NotEqual32, R1, number as i32));
    }
    for (at, bits, mask) in ends {
        let [bits, mask] = [bits & mask, mask].map(|word| (word as u32).cast_signed());
        if mask == 0 {
            continue;
        }
        code.push(asm::load32(R1, PACKET, at));
        if mask != -1 {
            code.push(asm::and32_imm(R1, mask));
        }
        jumps.push(code.jump_if(Compare::NotEqual32, R1, bits));
    }
    for (at, (first, last)) in [SOURCE_PORT, DESTINATION_PORT].into_iter().zip(ports) {
        if (first, last) == (0, u16::MAX.into()) {
            continue;
        }
        code.push(asm::load16(R1, PACKET, at));
        if first == last {
            let port = (first as u16).to_be();
            jumps.push(code.jump_if(Compare::NotEqual32, R1, port.into()));
            continue;
        }
        code.push(asm::to_network(R1, 16));
        if first > 0 {
            jumps.push(code.jump_if(Compare::Below, R1, first.cast_signed()));
        }
        if last < u16::MAX.into() {
            jumps.push(code.jump_if(Compare::Above, R1, last.cast_signed()));
        }
    }
    Some(jumps)
}
