//! Any number of rules: the search of [`nke_ebpf::rules::decide`] for IPv4, with what the header says in the
//! instructions.
//!
//! ```text
//! each tree    the first table's entry, by a field of the packet; further tables, each a step of the same few instructions;
//!              the run: its rules, one after the other, the first that matches
//! behind all   the rule of lowest order, or the default
//! ```
//!
//! A rule that asks more than its fields, a run of more rules than [`LONGEST`], and a tree of more tables than there are
//! steps are left to the packet filter.

use aya_obj::generated::bpf_func_id;
use nke_ebpf::abi::{
    At, COUNTS_IN_PAGE, Count, Field, HEADER_WORDS, HEADERS, LATER_WORD, PAGE_WORDS, PAGES,
    PORT_GUARD, Root, Rule, facts,
};

use super::{
    FastPath, Memory, ToSlow,
    start::{self, DESTINATION, DESTINATION_PORT, PACKET, PROTOCOL, SOURCE, SOURCE_PORT, Start},
};
use crate::place::asm::{self, Code, Compare, FP, R0, R1, R2, R3, R4, Reg};

/// Rules of a run that are compared at most.
const LONGEST: i32 = 16;
/// Tables that are passed at most in the first page, and in another.
const STEPS: usize = nke_ebpf::rules::TOP_DEPTH;
const STEPS_BELOW: usize = nke_ebpf::rules::DEPTH;

/// Free, also over calls.
const OTHER: Reg = Reg(7);
/// The page where the search is.
const PAGE: Reg = Reg(8);
/// The order of the best rule so far.
const ORDER: Reg = Reg(9);

// On the stack: the numbers that tables ask for, as the host has them, at the place of their fields.
const FIELDS: i16 = -(Field::COUNT as i16) * 4;
/// Both ports, as rules compare them: see `abi::ports`.
const PORTS: i16 = FIELDS - 8;
/// The same with `PORT_GUARD`.
const GUARDED: i16 = PORTS - 8;
/// The facts.
const FACTS: i16 = GUARDED - 8;
/// The outcome of the best rule so far, and above it its number.
const BEST: i16 = FACTS - 8;
/// The edition in force, and where its later tree begins.
const EDITION: i16 = BEST - 8;
const LATER: i16 = EDITION - 8;
/// The entry of a table that is being followed, and the packet, over a call.
const ENTRY: i16 = LATER - 8;
const KEPT_PACKET: i16 = ENTRY - 8;
/// The first page.
const FIRST: i16 = KEPT_PACKET - 8;
/// The lowest word of the stack that is used: what is looked up.
pub(super) const KEY: i16 = FIRST - 8;

/// Reads the header whose place is in r1: all that can be another after an edit.
pub(super) fn header(code: &mut Code, to_slow: &mut ToSlow) {
    const PLACES: i32 = (HEADERS + 1).next_power_of_two() as i32;
    code.push(asm::and_imm(R1, PLACES - 1));
    code.push(asm::shift_left_imm(R1, (HEADER_WORDS * 8).ilog2() as i32));
    code.push(asm::add(R1, start::FIRST));
    code.push(asm::load32(R2, R1, HEADER_EDITION));
    code.push(asm::store64(FP, EDITION, R2));
    code.push(asm::load64(R2, R1, LATER_WORD as i16 * 8));
    code.push(asm::store64(FP, LATER, R2));
    // Since an edit, some rule may ask for more, or the default not only pass or drop.
    code.push(asm::load32(R2, R1, HEADER_DEFAULT));
    to_slow.add(code.jump_if(Compare::AnyOf32, R2, !Rule::DROP.cast_signed()));
    code.push(asm::store64(FP, BEST, R2));
}

/// Whether it is known how a packet goes through the trees of a set.
pub(super) fn can(path: &FastPath) -> bool {
    let known = |root: &Root| root.first < i32::MAX.cast_unsigned() && !root.is_ordered();
    trees(path).all(|root| known(&root))
}

/// The trees of IPv4 that were there when the set was written, in their order.
fn trees(path: &FastPath) -> impl Iterator<Item = Root> {
    let [_, v4, ..] = path.set.header.roots;
    let there = v4.into_iter().filter(|root| *root != Root::NONE);
    there.filter(|root| !root.is_later())
}

/// Writes the search of a set, and what follows from it.
pub(super) fn write(path: &FastPath, start: &mut Start) {
    fields(path, &mut start.code);
    let mut decided = Vec::new();
    for root in trees(path) {
        // The best so far is before all that are in this tree.
        let next = root.first.cast_signed() + 1;
        decided.push(start.code.jump_if(Compare::Below, ORDER, next));
        tree(path, start, Some(root.at));
    }
    for jump in decided {
        start.code.land(jump);
    }
    // What has come later is of any order.
    tree(path, start, None);
    end(path, start);
}

/// Reads what tables and rules ask for.
fn fields(path: &FastPath, code: &mut Code) {
    let place = |field: u32| FIELDS + field as i16 * 4;
    for (from, field) in [(SOURCE, Field::SOURCE), (DESTINATION, Field::DESTINATION)] {
        code.push(asm::load32(R1, PACKET, from));
        code.push(asm::to_network(R1, 32));
        code.push(asm::store32(FP, place(field), R1));
    }
    code.push(asm::load16(R1, PACKET, SOURCE_PORT));
    code.push(asm::to_network(R1, 16));
    code.push(asm::store32(FP, place(Field::SOURCE_PORT), R1));
    code.push(asm::load16(R2, PACKET, DESTINATION_PORT));
    code.push(asm::to_network(R2, 16));
    code.push(asm::store32(FP, place(Field::DESTINATION_PORT), R2));
    code.push(asm::shift_left_imm(R2, 32));
    code.push(asm::or(R1, R2));
    code.push(asm::store64(FP, PORTS, R1));
    code.extend(asm::mov_imm64(R2, PORT_GUARD));
    code.push(asm::or(R1, R2));
    code.push(asm::store64(FP, GUARDED, R1));
    code.push(asm::load8(R1, PACKET, PROTOCOL));
    code.push(asm::store32(FP, place(Field::PROTOCOL), R1));
    code.push(asm::shift_left_imm(R1, facts::PROTOCOL_SHIFT as i32));
    // Nothing that is known of every packet is where the protocol stands.
    code.push(asm::add_imm(R1, path.context.facts as i32));
    code.push(asm::store64(FP, FACTS, R1));
    code.push(asm::mov_imm(ORDER, i32::MAX));
    if path.memory == Memory::Many {
        code.push(asm::store64(FP, KEPT_PACKET, PACKET));
        code.push(asm::store64(FP, FIRST, start::FIRST));
    }
}

/// Asks the tree that begins there, or that has come later: if it has a better rule, that is the best.
fn tree(path: &FastPath, start: &mut Start, at: Option<At>) {
    let Start { code, to_slow, .. } = start;
    match path.memory {
        Memory::One => code.extend(asm::load_map_value(PAGE, path.set.descriptor(), 0)),
        Memory::Many => code.push(asm::load64(PAGE, FP, FIRST)),
    }
    let mut runs = Vec::new();
    let mut left = STEPS;
    let mut none = None;
    if let Some(at) = at.filter(|at| at.is_table() && at.page() == 0) {
        // What the first table asks for is known.
        code.push(asm::load32(R1, FP, FIELDS + at.field() as i16 * 4));
        code.push(asm::shift_right_imm(R1, at.shift().cast_signed()));
        code.push(asm::and_imm(R1, (1 << at.bits()) - 1));
        code.push(asm::shift_left_imm(R1, 3));
        code.push(asm::add(R1, PAGE));
        code.push(asm::add_imm(R1, at.word() as i32 * 8));
        code.push(asm::load64(R0, R1, 0));
        left -= 1;
    } else if let Some(at) = at {
        code.extend(asm::mov_imm64(R0, at.0));
    } else {
        code.push(asm::load64(R0, FP, LATER));
        none = Some(code.jump_if(Compare::Equal, R0, 0));
    }
    // A table of this page: no bits of another page's number, and all of the count's.
    const PAGE_NUMBER: i32 = PAGES as i32 - 1;
    const HERE: i32 = (At::TABLE as i32) << PAGES.ilog2();
    for _ in 0..left {
        code.push(asm::mov(R1, R0));
        code.push(asm::shift_right_imm(R1, At::PAGE_SHIFT as i32));
        code.push(asm::and_imm(R1, HERE | PAGE_NUMBER));
        runs.push(code.jump_if(Compare::NotEqual, R1, HERE));
        step(code);
    }
    for jump in std::mem::take(&mut runs) {
        code.land(jump);
    }
    if path.memory == Memory::Many {
        code.push(asm::mov(R1, R0));
        code.push(asm::shift_right_imm(R1, At::PAGE_SHIFT as i32));
        code.push(asm::and_imm(R1, PAGE_NUMBER));
        let here = code.jump_if(Compare::Equal, R1, 0);
        code.push(asm::store64(FP, ENTRY, R0));
        start::look_up(path.set.descriptor(), code, to_slow);
        code.push(asm::mov(PAGE, R0));
        code.push(asm::load64(R0, FP, ENTRY));
        code.push(asm::load64(PACKET, FP, KEPT_PACKET));
        for _ in 0..STEPS_BELOW {
            code.push(asm::mov(R1, R0));
            code.push(asm::shift_right_imm(R1, At::COUNT_SHIFT as i32));
            code.push(asm::and_imm(R1, At::TABLE as i32));
            runs.push(code.jump_if(Compare::NotEqual, R1, At::TABLE as i32));
            step(code);
        }
        for jump in runs {
            code.land(jump);
        }
        code.land(here);
    }
    run(start);
    if let Some(none) = none {
        start.code.land(none);
    }
}

/// From the entry in r0, of a table of this page, to the table's entry for the packet.
fn step(code: &mut Code) {
    // The number's place: four bytes for each field.
    code.push(asm::mov(R2, R0));
    code.push(asm::shift_right_imm(R2, At::FIELD_SHIFT as i32 - 2));
    code.push(asm::and_imm(R2, (Field::COUNT as i32 - 1) << 2));
    code.push(asm::add(R2, FP));
    code.push(asm::load32(R1, R2, FIELDS));
    code.push(asm::mov(R2, R0));
    code.push(asm::shift_right_imm(R2, At::BITS_SHIFT as i32));
    code.push(asm::shift_right32(R1, R2));
    code.push(asm::mov(R2, R0));
    code.push(asm::shift_right_imm(R2, At::MASK_SHIFT as i32));
    code.push(asm::and(R1, R2));
    code.push(asm::add(R1, R0));
    code.push(asm::and_imm(R1, PAGE_WORDS as i32 - 1));
    code.push(asm::shift_left_imm(R1, 3));
    code.push(asm::add(R1, PAGE));
    code.push(asm::load64(R0, R1, 0));
}

// Where the parts of a header lie in it: see `Header::to_words`.
const HEADER_EDITION: i16 = 0;
const HEADER_DEFAULT: i16 = 8;

// Where the parts of a rule lie in it.
const FRONT: [(i16, i16); 2] = [(0, 8), (16, 24)];
const RULE_FACTS: i16 = 32;
const FIRST_PORTS: i16 = 48;
const LAST_PORTS: i16 = 56;
const DECISION: i16 = 96;
const EXTRA: i16 = 104;
const RULE_ORDER: i16 = 108;
const UNTIL: i16 = 112;
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Rule, facts) == 32 && offset_of!(Rule, facts_mask) == 40);
    assert!(offset_of!(Rule, first_ports) == 48 && offset_of!(Rule, last_ports) == 56);
    assert!(offset_of!(Rule, outcome) == 96 && offset_of!(Rule, number) == 100);
    assert!(offset_of!(Rule, extra) == 104 && offset_of!(Rule, order) == 108);
    assert!(offset_of!(Rule, until) == 112);
};

/// Compares the rules of the run in r0 with the packet, till one matches.
fn run(start: &mut Start) {
    const LEFT: Reg = R2;
    const OFFSET: Reg = R3;
    const BYTES: i32 = size_of::<Rule>() as i32;
    let Start { code, to_slow, .. } = start;
    code.push(asm::mov(LEFT, R0));
    code.push(asm::shift_right_imm(LEFT, At::COUNT_SHIFT as i32));
    code.push(asm::and_imm(LEFT, At::TABLE as i32));
    to_slow.add(code.jump_if(Compare::Above, LEFT, LONGEST));
    code.push(asm::mov(OFFSET, R0));
    code.push(asm::and_imm(OFFSET, PAGE_WORDS as i32 - 1));
    code.push(asm::shift_left_imm(OFFSET, 3));

    let next = code.here();
    let over = code.jump_if(Compare::Equal, LEFT, 0);
    code.push(asm::add_imm(LEFT, -1));
    code.push(asm::and_imm(OFFSET, PAGE_WORDS as i32 * 8 - BYTES));
    code.push(asm::mov(R0, PAGE));
    code.push(asm::add(R0, OFFSET));
    code.push(asm::add_imm(OFFSET, BYTES));
    let mut differs = Vec::new();
    // What IPv4 has not no rule of it asks for. Of packets that are nearly a rule's one differs in this address and one in
    // that: a branch for each would be foretold wrongly half the time.
    for ((bits, mask), (at, to)) in FRONT.into_iter().zip([(SOURCE, R1), (DESTINATION, R4)]) {
        code.push(asm::load32(to, PACKET, at));
        code.push(asm::load32(OTHER, R0, bits));
        code.push(asm::xor(to, OTHER));
        code.push(asm::load32(OTHER, R0, mask));
        code.push(asm::and(to, OTHER));
    }
    code.push(asm::or(R1, R4));
    differs.push(code.jump_if(Compare::NotEqual, R1, 0));
    code.push(asm::load64(R1, FP, FACTS));
    code.push(asm::load64(R4, R0, RULE_FACTS));
    code.push(asm::xor(R1, R4));
    code.push(asm::load64(R4, R0, RULE_FACTS + 8));
    code.push(asm::and(R1, R4));
    differs.push(code.jump_if(Compare::NotEqual, R1, 0));
    // The guard bits stay set where no port is below the first or above the last.
    code.push(asm::load64(R1, FP, GUARDED));
    code.push(asm::load64(R4, R0, FIRST_PORTS));
    code.push(asm::sub(R1, R4));
    code.push(asm::load64(R4, R0, LAST_PORTS));
    code.push(asm::load64(OTHER, FP, PORTS));
    code.push(asm::sub(R4, OTHER));
    code.push(asm::and(R1, R4));
    differs.push(code.jump_if(Compare::NotBelowSigned, R1, 0));
    differs.push(code.jump_if(Compare::NotBelowSigned32, R1, 0));
    code.push(asm::load32(R1, R0, UNTIL));
    code.push(asm::load64(R4, FP, EDITION));
    differs.push(code.jump_if_not_below(R4, R1));
    for jump in differs {
        code.land_at(jump, next);
    }

    code.push(asm::load32(R1, R0, RULE_ORDER));
    let worse = code.jump_if_not_below(R1, ORDER);
    code.push(asm::load32(R4, R0, EXTRA));
    to_slow.add(code.jump_if(Compare::NotEqual, R4, 0));
    code.push(asm::mov(ORDER, R1));
    code.push(asm::load64(R1, R0, DECISION));
    code.push(asm::store64(FP, BEST, R1));
    code.land(worse);
    code.land(over);
}

/// Counts the packet for the best rule, and says what becomes of it.
fn end(path: &FastPath, start: &mut Start) {
    let Start { code, to_slow, .. } = start;
    let header = &path.set.header;
    code.push(asm::load64(R1, FP, BEST));
    code.push(asm::mov(ORDER, R1));
    code.push(asm::and32_imm(R1, !Rule::DROP as i32));
    to_slow.add(code.jump_if(Compare::NotEqual, R1, 0));
    // The place of the count, in counts.
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_smp_processor_id));
    code.push(asm::multiply_imm(R0, header.row.cast_signed()));
    code.push(asm::mov(R1, ORDER));
    code.push(asm::shift_right_imm(R1, 32));
    code.push(asm::add(R0, R1));
    let bytes = size_of::<Count>().ilog2() as i32;
    match path.memory {
        Memory::One => {
            to_slow.add(code.jump_if(Compare::Above, R0, path.counts().cast_signed() - 1));
            code.push(asm::shift_left_imm(R0, bytes));
            let from = header.counts.cast_signed() << bytes;
            code.extend(asm::load_map_value(R2, path.set.descriptor(), from));
        }
        Memory::Many => {
            code.push(asm::add_imm(R0, header.counts.cast_signed()));
            code.push(asm::mov(OTHER, R0));
            code.push(asm::mov(R1, R0));
            code.push(asm::shift_right_imm(R1, COUNTS_IN_PAGE.ilog2() as i32));
            start::look_up(path.set.descriptor(), code, to_slow);
            code.push(asm::mov(R2, R0));
            code.push(asm::mov(R0, OTHER));
            code.push(asm::and_imm(R0, COUNTS_IN_PAGE as i32 - 1));
            code.push(asm::shift_left_imm(R0, bytes));
        }
    }
    code.push(asm::add(R2, R0));
    start.measure();
    start.count(R2, 0);
    let drop = start
        .code
        .jump_if(Compare::AnyOf32, ORDER, Rule::DROP.cast_signed());
    start.say(0);
    start.code.land(drop);
    start.say(Rule::DROP);
}
