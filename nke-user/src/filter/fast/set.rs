//! A test of a few rules that asks a named set about an address: the set's table of blocks, if that can tell.
//!
//! What it says must be what `nke_ebpf::set::ask_v4` says. Sets without that table, members with timeouts, and blocks
//! that must be searched are left to the packet filter.

use std::os::fd::{OwnedFd, RawFd};

use nke_ebpf::{
    abi::{LINE_WORDS, Rule, Test, field},
    set::{BUCKETS, HAS_BLOCKS, Kind, LEVELS, Line},
};

use super::{
    ToSlow,
    start::{self, DESTINATION, KEPT_PACKET, SOURCE},
};
use crate::{
    filter::stored::Set,
    place::asm::{self, Code, Compare, Jump, R0, R1, R2, R3, Reg},
    sys,
};

/// The set's map.
const MAP: Reg = Reg(7);
/// The address, as a number.
const ADDRESS: Reg = Reg(9);

/// The bits of a set's first word that say of which kind it is, and whether it has the table: of addresses, it has.
const ABOUT: u64 = HAS_BLOCKS | 0xff << 32;
const WITH_BLOCKS: u64 = HAS_BLOCKS | (Kind::Addresses as u64) << 32;

/// The test of one of few rules, if it has one that can be asked here.
pub(super) fn test_of(set: &Set, rule: &Rule) -> Option<Test> {
    let (line, count) = Test::place(rule.extra);
    let words: Vec<u64> = set.words(line as usize * LINE_WORDS, LINE_WORDS).collect();
    let test = Test::from_words(words.first_chunk()?);
    let asks = count == 1 && rule.outcome & Rule::CASE == 0 && test.kind == Test::IN;
    asks.then_some(test)
}

/// Whether the set that a test asks has a table of blocks now.
pub(super) fn has_blocks(sets: &OwnedFd, test: &Test) -> bool {
    let mut id = [0; 4];
    let slot = u32::from(test.slot).to_ne_bytes();
    let found = sys::map::lookup(sets, &slot, &mut id).ok().flatten();
    let map = found.and_then(|()| sys::map::open(u32::from_ne_bytes(id)).ok());
    let Some(map) = map else {
        return false;
    };
    let mut line = [0; size_of::<Line>()];
    let found = sys::map::lookup(&map, &[0; 4], &mut line).ok().flatten();
    let [word, ..] = line.as_chunks().0 else {
        return false;
    };
    found.is_some() && u64::from_ne_bytes(*word) & ABOUT == WITH_BLOCKS
}

/// Asks: the jump that is taken where the test does not hold.
pub(super) fn ask(sets: RawFd, test: &Test, code: &mut Code, to_slow: &mut ToSlow) -> Jump {
    let at = if test.field == field::SOURCE {
        SOURCE
    } else {
        DESTINATION
    };
    code.push(asm::load32(ADDRESS, KEPT_PACKET, at));
    code.push(asm::to_network(ADDRESS, 32));
    code.push(asm::mov_imm(R1, test.slot.into()));
    start::look_up(sets, code, to_slow);
    code.push(asm::mov(MAP, R0));
    code.push(asm::mov_imm(R1, 0));
    start::look_up_in(MAP, code, to_slow);
    // Of members with timeouts.
    code.push(asm::load64(R1, R0, LEVELS[0].end as i16 * 8));
    to_slow.add(code.jump_if(Compare::NotEqual, R1, 0));
    code.push(asm::load64(R1, R0, 0));
    code.push(asm::mov(R2, R1));
    code.push(asm::shift_right_imm(R2, 32));
    code.push(asm::and_imm(R2, (ABOUT >> 32) as i32));
    to_slow.add(code.jump_if(Compare::NotEqual, R2, (WITH_BLOCKS >> 32) as i32));
    // Blocks are the first three bytes of an address: 256 of them a line, 32 a word, two bits each. See `Block::place`.
    code.push(asm::mov(R3, ADDRESS));
    code.push(asm::shift_right_imm(R3, 16));
    code.push(asm::add(R1, R3));
    code.push(asm::add_imm(R1, BUCKETS as i32 + 1));
    start::look_up_in(MAP, code, to_slow);
    code.push(asm::mov(R2, ADDRESS));
    code.push(asm::shift_right_imm(R2, 13 - 3));
    code.push(asm::and_imm(R2, 7 << 3));
    code.push(asm::add(R0, R2));
    code.push(asm::load64(R1, R0, 0));
    code.push(asm::mov(R2, ADDRESS));
    code.push(asm::shift_right_imm(R2, 8 - 1));
    code.push(asm::and_imm(R2, 31 << 1));
    code.push(asm::shift_right(R1, R2));
    code.push(asm::and_imm(R1, 3));
    to_slow.add(code.jump_if(Compare::Above, R1, 1));
    code.jump_if(Compare::NotEqual, R1, i32::from(1 ^ test.not))
}
