//! Classic BPF: the instructions that libpcap makes of an expression.
//!
//! An accumulator, an index register and sixteen words of memory; jumps lead forward only. The
//! numbers are those of linux/filter.h and linux/bpf_common.h.
//!
//! ```
//! use nke_ebpf::abi::classic::{self, Instruction};
//!
//! let load = Instruction { code: classic::LOAD | classic::HALF | classic::ABSOLUTE, yes: 0, no: 0, k: 12 };
//! assert_eq!(Instruction::from_word(load.to_word()), load);
//! ```

use super::{join, split};

/// An instruction: `struct sock_filter`, in the host's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// How many instructions a jump leaves out if its condition holds.
    pub yes: u8,
    /// How many it leaves out if not.
    pub no: u8,
    /// A number that belongs to it.
    pub k: u32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

impl Instruction {
    /// The word that this instruction is in memory.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let Self { code, yes, no, k } = self;
        let ([a, b], [e, f, g, h]) = (code.to_ne_bytes(), k.to_ne_bytes());
        u64::from_ne_bytes([a, b, yes, no, e, f, g, h])
    }

    /// The instruction that this word is in memory.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, yes, no, e, f, g, h] = word.to_ne_bytes();
        Self {
            code: u16::from_ne_bytes([a, b]),
            yes,
            no,
            k: u32::from_ne_bytes([e, f, g, h]),
        }
    }
}

/// How many words of memory a program has.
pub const MEMORY: usize = 16;

/// How many words of a page programs take at most, with all that belongs to them: 64 KiB.
pub const WORDS: usize = 1 << 13;

/// How many instructions a program has at most.
pub const LONGEST: usize = 1024;

/// The class: the three lowest bits of a code.
pub const CLASS: u16 = 0x07;
/// Loads the accumulator.
pub const LOAD: u16 = 0x00;
/// Loads the index register.
pub const LOAD_INDEX: u16 = 0x01;
/// Writes the accumulator to memory.
pub const STORE: u16 = 0x02;
/// Writes the index register to memory.
pub const STORE_INDEX: u16 = 0x03;
/// Calculates with the accumulator.
pub const CALCULATE: u16 = 0x04;
/// Jumps.
pub const JUMP: u16 = 0x05;
/// Ends the program.
pub const RETURN: u16 = 0x06;
/// Moves one register into the other.
pub const MOVE: u16 = 0x07;

/// How much is loaded.
pub const SIZE: u16 = 0x18;
/// Four bytes.
pub const WORD: u16 = 0x00;
/// Two bytes.
pub const HALF: u16 = 0x08;
/// One byte.
pub const BYTE: u16 = 0x10;

/// What is loaded.
pub const MODE: u16 = 0xe0;
/// The number itself.
pub const IMMEDIATE: u16 = 0x00;
/// From this place of the packet.
pub const ABSOLUTE: u16 = 0x20;
/// From this place behind the index register's of the packet.
pub const INDIRECT: u16 = 0x40;
/// From memory.
pub const MEMORY_WORD: u16 = 0x60;
/// The packet's length.
pub const LENGTH: u16 = 0x80;
/// Four times the low half of a byte of the packet: the length of an IPv4 header.
pub const HEADER_LENGTH: u16 = 0xa0;

/// What is calculated, or compared.
pub const OPERATION: u16 = 0xf0;
/// A sum.
pub const ADD: u16 = 0x00;
/// A difference.
pub const SUBTRACT: u16 = 0x10;
/// A product.
pub const MULTIPLY: u16 = 0x20;
/// A quotient.
pub const DIVIDE: u16 = 0x30;
/// Bits of either.
pub const OR: u16 = 0x40;
/// Bits of both.
pub const AND: u16 = 0x50;
/// Bits, higher.
pub const SHIFT_LEFT: u16 = 0x60;
/// Bits, lower.
pub const SHIFT_RIGHT: u16 = 0x70;
/// The negative.
pub const NEGATE: u16 = 0x80;
/// A remainder.
pub const REMAINDER: u16 = 0x90;
/// Bits of just one.
pub const EXCLUSIVE_OR: u16 = 0xa0;

/// Always, by as much as the number says.
pub const ALWAYS: u16 = 0x00;
/// If the accumulator is equal.
pub const IF_EQUAL: u16 = 0x10;
/// If it is higher.
pub const IF_HIGHER: u16 = 0x20;
/// If it is not lower.
pub const IF_NOT_LOWER: u16 = 0x30;
/// If it has some of these bits.
pub const IF_BITS: u16 = 0x40;

/// The other side is the index register, and not the instruction's number.
pub const BY_INDEX: u16 = 0x08;

/// Of a return: the accumulator, and not the instruction's number.
pub const ACCUMULATOR: u16 = 0x10;

/// Of a move: the index register into the accumulator, and not the other way.
pub const TO_ACCUMULATOR: u16 = 0x80;

/// How many expressions a rule set has at most: an answer is a bit.
pub const EXPRESSIONS: usize = 64;

/// Where the programs of an expression begin, as words of the page of expressions. The page begins with
/// how many there are, and then has one of these for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The program for packets that begin with an Ethernet header. In front of it is the expression's
    /// [`Block`].
    pub ethernet: u32,
    /// The program for packets that begin with an IP header.
    pub ip: u32,
}

impl Place {
    /// The word that it is in memory.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        join(self.ethernet, self.ip)
    }

    /// What this word is in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let (ethernet, ip) = split(word);
        Self { ethernet, ip }
    }
}

/// How long the parts of an expression are: its two programs, one behind the other, and its text.
/// Only the user side reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// How many instructions the program for packets with an Ethernet header has.
    pub ethernet: u32,
    /// How many the one for packets without has.
    pub ip: u32,
    /// How many bytes the text has.
    pub text: u32,
    /// 1 if there is no program for packets without an Ethernet header, and what stands for it says no.
    pub no_ip: u32,
}

impl Block {
    /// How many words it is in memory.
    pub const WORDS: usize = 2;

    /// The words that it is in memory.
    #[must_use]
    pub const fn to_words(self) -> [u64; Self::WORDS] {
        let Self {
            ethernet,
            ip,
            text,
            no_ip,
        } = self;
        [join(ethernet, ip), join(text, no_ip)]
    }

    /// What these words are in memory.
    #[must_use]
    pub const fn from_words(words: &[u64; Self::WORDS]) -> Self {
        let ((ethernet, ip), (text, no_ip)) = (split(words[0]), split(words[1]));
        Self {
            ethernet,
            ip,
            text,
            no_ip,
        }
    }
}

/// What a [`CALCULATE`] makes of the accumulator and its other side. Nothing is divided by nothing; what is shifted too far
/// is 0.
#[inline(always)]
#[must_use]
pub fn calculate(operation: u16, a: u32, other: u32) -> Option<u32> {
    Some(match operation {
        ADD => a.wrapping_add(other),
        SUBTRACT => a.wrapping_sub(other),
        MULTIPLY => a.wrapping_mul(other),
        DIVIDE => a.checked_div(other)?,
        REMAINDER => a.checked_rem(other)?,
        OR => a | other,
        AND => a & other,
        EXCLUSIVE_OR => a ^ other,
        SHIFT_LEFT => a.checked_shl(other).unwrap_or(0),
        SHIFT_RIGHT => a.checked_shr(other).unwrap_or(0),
        _ => a.wrapping_neg(),
    })
}
