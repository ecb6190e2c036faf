//! A test of a few rules that asks a named set about an address: by the set's index.
//!
//! ```text
//! is the index in force
//! blocks    all of the /24 is in the set, or nothing is, or its leaf tells
//! buckets   the hash of the address is in its bucket, or in the next one; or nowhere, if the set has nothing else
//! ```
//!
//! What it says must be what `nke_ebpf::set::ask_v4` says. Where the index cannot tell, the packet filter does.

use nke_ebpf::abi::{LINE_WORDS, Rule, Test, field};

use super::{
    ToSlow,
    start::{DESTINATION, PACKET, SOURCE, Start},
};
use crate::{
    filter::{
        set::index::{
            BUCKET, Blocks, Buckets, HASHES, HEAD, IN, IN_FORCE, Index, LEAF, NOWHERE, OUT, Shape,
        },
        stored::Set,
    },
    place::asm::{self, Code, Compare, Jump, R1, R2, R3, R4, Reg},
};

/// The address, as a number; then its hash.
const ADDRESS: Reg = R2;
/// A distance in the index; then what has been found there.
const FOUND: Reg = R3;
/// Where a word or a bucket is.
const AT: Reg = R4;

/// The test of one of few rules, if it has one that can be asked here.
pub(super) fn test_of(set: &Set, rule: &Rule) -> Option<Test> {
    let (line, count) = Test::place(rule.extra);
    let words: Vec<u64> = set.words(line as usize * LINE_WORDS, LINE_WORDS).collect();
    let test = Test::from_words(words.first_chunk()?);
    let asks = count == 1 && rule.outcome & Rule::CASE == 0 && test.kind == Test::IN;
    asks.then_some(test)
}

/// The jumps that are taken when it is known whether an address is in the set.
#[derive(Default)]
struct Answers {
    within: Vec<Jump>,
    outside: Vec<Jump>,
}

/// A question that is being written.
struct Question<'a> {
    index: &'a Index,
    /// Where a packet has the address.
    at: i16,
    code: &'a mut Code,
    to_slow: &'a mut ToSlow,
}

/// Asks: the jumps that are taken where the test does not hold, and whether an index can tell that it does. Where not, the next
/// instruction is reached by these jumps alone.
pub(super) fn ask(index: &Index, test: &Test, start: &mut Start) -> (Vec<Jump>, bool) {
    let Start { code, to_slow, .. } = start;
    let at = if test.field == field::SOURCE {
        SOURCE
    } else {
        DESTINATION
    };
    let mut question = Question {
        index,
        at,
        code,
        to_slow,
    };
    question.value(R1, IN_FORCE * 8);
    let Question { code, to_slow, .. } = &mut question;
    code.push(asm::load64(R1, R1, 0));
    to_slow.add(code.jump_if(Compare::Equal, R1, 0));
    let Answers { within, outside } = match index.shape() {
        Shape::Buckets(buckets) => question.ask_buckets(buckets),
        Shape::Blocks(blocks) => question.ask_blocks(blocks),
    };
    let (holds, differs) = if test.not != 0 {
        (outside, within)
    } else {
        (within, outside)
    };
    let can_hold = !holds.is_empty();
    for jump in holds {
        start.code.land(jump);
    }
    (differs, can_hold)
}

impl Question<'_> {
    /// Has a register be the address of what is so many bytes in the index.
    fn value(&mut self, register: Reg, offset: usize) {
        // An index has fewer bytes than that: see `Index::aside`.
        let value = asm::load_map_value(register, self.index.descriptor(), offset as i32);
        self.code.extend(value);
    }

    /// Has [`ADDRESS`] be the address.
    fn address(&mut self) {
        self.code.push(asm::load32(ADDRESS, PACKET, self.at));
        self.code.push(asm::to_network(ADDRESS, 32));
        // Verifiers of old do not know that this leaves 32 bits.
        self.code.push(asm::mov32(ADDRESS, ADDRESS));
    }

    /// Has [`AT`] be what is [`FOUND`] bytes behind that in the index.
    fn at(&mut self, offset: usize) {
        self.value(AT, offset);
        self.code.push(asm::add(AT, FOUND));
    }

    fn ask_buckets(mut self, buckets: Buckets) -> Answers {
        self.address();
        let multiplier = buckets.multiplier.cast_signed();
        self.code.push(asm::multiply32_imm(ADDRESS, multiplier));
        // As an empty place.
        let jump = self.code.jump_if(Compare::Equal, ADDRESS, 0);
        self.to_slow.add(jump);
        for instruction in [
            asm::mov(FOUND, ADDRESS),
            asm::multiply_imm(FOUND, buckets.count.cast_signed()),
            asm::shift_right_imm(FOUND, 32),
            asm::shift_left_imm(FOUND, BUCKET.ilog2().cast_signed()),
        ] {
            self.code.push(instruction);
        }
        self.at(HEAD);
        let Self { code, to_slow, .. } = self;
        let mut answers = Answers::default();
        let flags = asm::load32(R1, AT, HASHES as i16 * 4);
        answers.within.push(has_hash(code, 0));
        code.push(flags);
        let none = code.jump_if(Compare::Equal, R1, 0);
        answers.within.push(has_hash(code, BUCKET as i16));
        code.push(flags);
        to_slow.add(code.jump_if(Compare::AnyOf32, R1, NOWHERE.cast_signed()));
        code.land(none);
        // Of a few networks beside them only the set knows.
        let jump = code.jump();
        if buckets.are_all {
            answers.outside.push(jump);
        } else {
            to_slow.add(jump);
        }
        answers
    }

    fn ask_blocks(mut self, blocks: Blocks) -> Answers {
        let mut answers = Answers::default();
        self.address();
        // Blocks are the first three bytes of an address: 32 a word, of eight bytes, two bits each.
        self.code.push(asm::mov(FOUND, ADDRESS));
        self.code.push(asm::shift_right_imm(FOUND, 8 + 5));
        self.code.push(asm::shift_left_imm(FOUND, 3));
        self.at(HEAD);
        for instruction in [
            asm::load64(FOUND, AT, 0),
            asm::shift_right_imm(ADDRESS, 8 - 1),
            asm::and_imm(ADDRESS, 31 << 1),
            asm::mov(R1, FOUND),
            asm::shift_right(R1, ADDRESS),
            asm::and_imm(R1, 3),
        ] {
            self.code.push(instruction);
        }
        let jump_if = |code: &mut Code, state| code.jump_if(Compare::Equal, R1, state as i32);
        answers.within.push(jump_if(self.code, IN));
        answers.outside.push(jump_if(self.code, OUT));
        self.to_slow
            .add(self.code.jump_if(Compare::NotEqual, R1, LEAF as i32));

        // How many of the blocks in front of it have a leaf: where the upper bit of two is set, and the lower is not.
        let code = &mut *self.code;
        code.push(asm::mov(R1, FOUND));
        code.push(asm::shift_right_imm(R1, 1));
        code.push(asm::xor_imm(FOUND, -1));
        code.push(asm::and(FOUND, R1));
        code.push(asm::mov_imm(R1, 1));
        code.push(asm::shift_left(R1, ADDRESS));
        code.push(asm::add_imm(R1, -1));
        code.push(asm::and(FOUND, R1));
        ones(code);
        // The number of the first leaf of the word.
        self.address();
        self.code.push(asm::mov(R1, ADDRESS));
        self.code.push(asm::shift_right_imm(R1, 8 + 5));
        self.code.push(asm::shift_left_imm(R1, 2));
        self.value(AT, HEAD + Blocks::first_number());
        self.code.push(asm::add(AT, R1));
        self.code.push(asm::load32(R1, AT, 0));
        self.code.push(asm::add(FOUND, R1));
        let last = (blocks.leaves - 1).cast_signed();
        self.to_slow
            .add(self.code.jump_if(Compare::Above, FOUND, last));
        // Of its 32 bytes the eight that have the address.
        self.code.push(asm::shift_left_imm(FOUND, 5));
        self.code.push(asm::mov(R1, ADDRESS));
        self.code.push(asm::shift_right_imm(R1, 6 - 3));
        self.code.push(asm::and_imm(R1, 3 << 3));
        self.at(HEAD + Blocks::first_leaf());
        let code = self.code;
        code.push(asm::add(AT, R1));
        code.push(asm::load64(R1, AT, 0));
        code.push(asm::and_imm(ADDRESS, 63));
        code.push(asm::shift_right(R1, ADDRESS));
        answers.within.push(code.jump_if(Compare::AnyOf32, R1, 1));
        answers.outside.push(code.jump());
        answers
    }
}

/// Compares the hash with all of a bucket, without a branch for each: the jump that is taken where it is there.
fn has_hash(code: &mut Code, bucket: i16) -> Jump {
    for nth in 0..HASHES as i16 {
        let own = if nth == 0 { FOUND } else { R1 };
        code.push(asm::load32(own, AT, bucket + nth * 4));
        code.push(asm::xor(own, ADDRESS));
        // Below 0 only where they are the same.
        code.push(asm::add_imm(own, -1));
        if nth > 0 {
            code.push(asm::or(FOUND, own));
        }
    }
    code.jump_if(Compare::BelowSigned, FOUND, 0)
}

/// Has [`FOUND`] be how many of its even bits are 1: in pairs, nibbles and bytes, whose sum a multiplication has on top.
fn ones(code: &mut Code) {
    code.extend(asm::mov_imm64(R1, u64::MAX / 3));
    code.push(asm::and(FOUND, R1));
    code.push(asm::mov(AT, FOUND));
    code.push(asm::shift_right_imm(AT, 2));
    code.extend(asm::mov_imm64(R1, u64::MAX / 5));
    code.push(asm::and(AT, R1));
    code.push(asm::and(FOUND, R1));
    code.push(asm::add(FOUND, AT));
    code.push(asm::mov(AT, FOUND));
    code.push(asm::shift_right_imm(AT, 4));
    code.push(asm::add(FOUND, AT));
    code.extend(asm::mov_imm64(R1, u64::MAX / 17));
    code.push(asm::and(FOUND, R1));
    code.extend(asm::mov_imm64(R1, u64::MAX / 255));
    code.push(asm::multiply(FOUND, R1));
    code.push(asm::shift_right_imm(FOUND, 56));
}
