//! Named sets, of any size, that rules ask: addresses and prefixes, ports, addresses with ports.
//!
//! A set is an array of lines of 64 bytes, each a line of a processor's cache. The user side writes
//! it (`nke::filter::Set`), extensions search it; both go by what stands here.
//!
//! ```
//! use nke_ebpf::{abi::facts, set::{self, Answer, Asked, Kind, Line, Still}};
//!
//! let mut lines: [Line; 3] = [[0; 8]; 3]; // one bucket, and nothing in it
//! lines[0] = set::header(Kind::Addresses, 0, 7);
//! let asked = Asked { facts: facts::V4, address: [0x0100_007f, 0], port: 0 };
//! assert_eq!(set::ask(&Still { lines: &lines, now: 0 }, &asked), Answer::Out);
//! ```
//!
//! # How it is laid out
//!
//! | line | what |
//! |---|---|
//! | 0 | what a search begins with: [`header`] |
//! | 1 | what the user side keeps of it: name, timeout, the next free line |
//! | 2 to one more than the number of buckets | buckets: what is found by hash |
//! | as many as [`BLOCK_LINES`], or none | the table of blocks |
//! | so many as line 0 says, or none | the table of singles |
//! | all others | nodes |
//!
//! A *node* stands for all prefixes that agree up to some bit and end within the next seven: those are
//! 254, one bit each, numbered like a heap (the prefix of `n` more bits `b` is bit `2^n + b`). So a
//! prefix is one bit of one node, found without a walk, and written by one write. Which bits nodes begin
//! at is fixed: such that single addresses, /24 of IPv4 and /64 of IPv6 share a node with their
//! nearest kin. An address is looked for once for each beginning that occurs in the set: once
//! where all members are single addresses, at most 5 times for IPv4, 19 for IPv6.
//!
//! An address with a port is found in the same way: its node stands for the 128 ports that it may be
//! among, each a bit. A member with a timeout has a node to itself, which says when it ends; such nodes
//! are looked for once for each length that occurs among them, [`LENGTHS`] at most. A set of ports has no
//! buckets: a bit for each port, from line [`BUCKETS`] on.
//!
//! A *bucket* has eight places: the tag of a node's hash (16 bits, 0: nobody) and the node's line.
//! No tag occurs twice in a bucket, so that one comparison of all eight tells which node it can be.
//! What finds no place in its bucket goes to the next one, at most [`REACH`] of them in a row.
//!
//! A prefix of IPv4 that is *alone* in its node needs no node: its place has all that tells it from others
//! ([`Key::alone`]), and a byte behind says where it ends ([`end`]). So a single address costs one line of the
//! cache to find, and one place to keep. Where a second one comes, the place gets a node, by one write.
//!
//! The *table of blocks* is there where many members are networks of IPv4. It has two bits for each /24: all of it is in the
//! set, nothing is, or only the nodes can tell ([`Block`]). So most addresses need one line of it and no search.
//!
//! The *table of singles* is there where many addresses of IPv4 (/26 or longer) are alone in their nodes: three bytes for each, see
//! [`Single`]. Who is there is in no bucket.
//!
//! A search never reads beyond [`REACH`] buckets for a beginning, whatever the lines hold, and never
//! believes a tag: the node itself has the last word.

mod bits;
mod block;
mod key;
mod single;

use core::borrow::Borrow;

use crate::{
    abi::facts,
    branchless::{anew_below_64, below},
};

use self::bits::{has_end, has_prefix, lowest};
pub use self::{
    bits::{begin, bit, end, ended},
    block::{BLOCK_LINES, BLOCKS_IN_WORD, Block},
    key::{ANY_PROTOCOL, Key, What},
    single::{LEAST_SINGLES, SINGLES, SINGLES_LEVEL, SINGLES_SHIFT, Single},
};

/// What the processor fetches at once, as words.
pub type Line = [u64; LINE_WORDS];

/// How many words a line has.
pub const LINE_WORDS: usize = 8;

/// How many sets there can be.
pub const SETS: usize = 1024;

/// The line of the first bucket, or of the first ports.
pub const BUCKETS: u32 = 2;

/// How many lines a set of ports has.
pub const PORT_LINES: u32 = BUCKETS + (1 << 16) / 512;

/// How many buckets are looked at, the first one included.
pub const REACH: u32 = 4;

/// How many levels there are of IPv4.
const V4_LEVELS: usize = 5;

/// How many places a bucket has.
pub const PLACES: usize = 8;

/// In a bucket: the word behind the tags, where two lines of nodes share each word.
pub const NODES: usize = 2;

/// In a bucket: the word that is not 0 if a node found no place in it, ever.
pub const FULL: usize = 6;

/// In a bucket: the word with a byte for each place, of a prefix that is alone in its node: [`end`], or 0
/// where it is gone.
pub const ENDS: usize = 7;

/// In the place of a node's line: there is none, as a prefix is [alone](Key::alone). Lines are below that.
pub const ALONE: u32 = 1 << 31;

/// In a node: the word with the level.
pub const LEVEL: usize = 2;

/// In a node: the first of the words with a bit for each prefix; or the word with the end.
pub const BITS: usize = 4;

/// In line 0: the words with a byte for each level that occurs, until one is 0; behind those of a
/// family the word with a byte for each length (and one more) that occurs among members with a
/// timeout. First of IPv4, then of IPv6.
pub const LEVELS: [core::ops::Range<usize>; 2] = [1..2, 3..6];

/// In line 0: what hashes begin with.
pub const SEED: usize = 7;

/// How many lengths of one family can have timeouts at the same time.
pub const LENGTHS: usize = 8;

/// What there can be in the place of a level or a length in a set of addresses with ports: they have
/// no protocol, or one.
pub const WITHOUT_PROTOCOL: u8 = 1;
/// See [`WITHOUT_PROTOCOL`].
pub const WITH_PROTOCOL: u8 = 2;

/// What the members of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Addresses and prefixes of both families.
    Addresses = 0,
    /// Ports.
    Ports = 1,
    /// Addresses with a port each, with or without a protocol.
    Pairs = 2,
}

/// Where the lines of a set are, and a clock.
pub trait Lines {
    /// A line, or what leads to one.
    type Line<'a>: Borrow<Line>
    where
        Self: 'a;

    /// The line of this number, if there is one.
    fn line(&self, number: u32) -> Option<Self::Line<'_>>;

    /// Nanoseconds since the machine was started, suspended time included (`CLOCK_BOOTTIME`).
    fn now(&self) -> u64;

    /// Reads a word; where the stack is short, each time anew rather than keeping it there.
    #[inline(always)]
    fn read(&self, word: &u64) -> u64 {
        *word
    }
}

/// Lines at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Still<'a> {
    /// The lines.
    pub lines: &'a [Line],
    /// The moment.
    pub now: u64,
}

impl Lines for Still<'_> {
    type Line<'a>
        = &'a Line
    where
        Self: 'a;

    fn line(&self, number: u32) -> Option<&Line> {
        self.lines.get(number as usize)
    }

    fn now(&self) -> u64 {
        self.now
    }
}

/// What is known of one side of a packet.
///
/// A search asks for it where it needs it, rather than keeping it on the stack.
pub trait Asks {
    /// Of [`facts`], the family, the protocol and whether ports are known.
    fn facts(&self) -> u64;

    /// The address, as in a [`crate::Flow`].
    fn address(&self) -> [u64; 2];

    /// The port.
    fn port(&self) -> u32;
}

/// One side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// See [`Asks::facts`].
    pub facts: u64,
    /// See [`Asks::address`].
    pub address: [u64; 2],
    /// See [`Asks::port`].
    pub port: u32,
}

impl Asks for Asked {
    fn facts(&self) -> u64 {
        self.facts
    }

    fn address(&self) -> [u64; 2] {
        self.address
    }

    fn port(&self) -> u32 {
        self.port
    }
}

/// Whether it is in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Answer {
    /// It is not.
    Out = 0,
    /// It is.
    In = 1,
    /// It has nothing to ask for: no address, or no port. Or there is no set.
    Nothing = 2,
}

/// In word 0 of line 0: a table of blocks is there. Below are the kind, eight bits, and the number of buckets less one;
/// above, from [`SINGLES_SHIFT`] on, how many lines of singles there are.
pub const HAS_BLOCKS: u64 = 1 << 40;

/// The line behind the buckets and the table of blocks, by word 0 of line 0.
#[inline(always)]
#[must_use]
pub const fn behind_blocks(first: u64) -> u32 {
    let blocks = if first & HAS_BLOCKS != 0 {
        BLOCK_LINES
    } else {
        0
    };
    (BUCKETS + 1)
        .wrapping_add(first as u32)
        .wrapping_add(blocks)
}

/// The [`Kind`] in word 0 of line 0.
#[inline(always)]
const fn kind_in(word: u64) -> u32 {
    (word >> 32) as u32 & 0xff
}

/// Line 0 of a set: what its members are; how many buckets it has (a power of two), less one; and what
/// its hashes begin with.
#[must_use]
pub const fn header(kind: Kind, bucket_mask: u32, seed: u64) -> Line {
    let mut line = [0; LINE_WORDS];
    line[0] = bucket_mask as u64 | (kind as u64) << 32;
    line[SEED] = seed;
    line
}

/// Whether the address, the port or both are in the set.
//
// What lives through a search lies on the stack, of which functions that call each other have 512
// bytes together. So a search keeps little more than where it is, and reads all else anew.
#[inline(always)]
#[must_use]
pub fn ask(lines: &(impl Lines + ?Sized), asked: &impl Asks) -> Answer {
    let Some(header) = lines.line(0) else {
        return Answer::Nothing;
    };
    let header = header.borrow();
    let kind = kind_in(lines.read(&header[0]));
    let has_port = asked.facts() & facts::PORTS != 0;
    if kind == Kind::Ports as u32 {
        return if has_port {
            ask_port(lines, asked.port())
        } else {
            Answer::Nothing
        };
    }
    let family = asked.facts() & (facts::V4 | facts::V6);
    if family == 0 || kind == Kind::Pairs as u32 && !has_port {
        return Answer::Nothing;
    }
    // Byte by byte of the levels' words, of which the last ones of the families are 23 and 55.
    let mut nth = if family == facts::V4 { 8 } else { 24 };
    if family == facts::V4 {
        match Block::of(lines, lines.read(&header[0]), asked.address()[0]) {
            Block::In => return Answer::In,
            Block::Out => nth = LEVELS[0].end * 8,
            Block::Search if Single::has(lines, header, asked.address()[0]) => return Answer::In,
            Block::Search => {}
        }
    }
    loop {
        if level(lines, header, nth) == 0 {
            nth |= 7;
        } else if is_at(lines, header, asked, nth) {
            return Answer::In;
        }
        nth += 1;
        if nth == 24 || nth == 56 {
            break;
        }
    }
    Answer::Out
}

/// What [`ask`] says of an IPv4 address, the first word, where the set is one of addresses; nothing where
/// only [`ask`] can tell.
#[inline(always)]
#[must_use]
pub fn ask_v4(lines: &(impl Lines + ?Sized), address: u64) -> Answer {
    let Some(header) = lines.line(0) else {
        return Answer::Nothing;
    };
    let header = header.borrow();
    if kind_in(header[0]) != Kind::Addresses as u32 {
        return Answer::Nothing;
    }
    let mut levels = match Block::of(lines, header[0], address) {
        Block::In => return Answer::In,
        Block::Out => 0,
        Block::Search if Single::has(lines, header, address) => return Answer::In,
        Block::Search => header[LEVELS[0].start],
    };
    for _ in 0..V4_LEVELS {
        let level = levels as u8;
        if level == 0 {
            break;
        }
        levels >>= 8;
        let key = Key::of_v4(address, level);
        let hash = key.hash(header[SEED]);
        let tags = Key::tag(hash) * 0x0001_0001_0001_0001;
        for step in 0..REACH {
            let bucket = (hash as u32).wrapping_add(step) & header[0] as u32;
            let Some(places) = lines.line(BUCKETS + bucket) else {
                break;
            };
            let places = places.borrow();
            if let Some((node, place)) = found(lines, places, tags) {
                if node == key.alone() {
                    if has_end((places[ENDS] >> (place * 8)) as u8, key.bits) {
                        return Answer::In;
                    }
                    break;
                }
                if let Some(node) = lines.line(node)
                    && key.has(node.borrow())
                {
                    if has_prefix(node.borrow(), key.bits) {
                        return Answer::In;
                    }
                    break;
                }
            }
            if places[FULL] == 0 {
                break;
            }
        }
    }
    // Of members with timeouts.
    if header[LEVELS[0].end] == 0 {
        Answer::Out
    } else {
        Answer::Nothing
    }
}

/// The line of the node in the first place of a bucket that has this tag, or what stands there of a prefix that is alone;
/// and which place it is.
#[inline(always)]
fn found(lines: &(impl Lines + ?Sized), places: &Line, tags: u64) -> Option<(u32, usize)> {
    let (first, second) = (lowest(places[0] ^ tags), lowest(places[1] ^ tags));
    if first | second == 0 {
        return None;
    }
    // A match in the second word alone is one of the last four places.
    let half = (first == 0) as usize;
    let mark = if first == 0 { second } else { first };
    let pair = mark >> 47 & 1 | mark >> 63;
    let odd = mark >> 31 & 1 | mark >> 63;
    let place = half * 4 + (pair * 2 + odd) as usize;
    let nodes = lines.read(&places[below::<LINE_WORDS>(NODES + place / 2)]);
    Some(((nodes >> (place % 2 * 32)) as u32, place))
}

/// A byte of the levels' words.
#[inline(always)]
fn level(lines: &(impl Lines + ?Sized), header: &Line, nth: usize) -> u8 {
    let nth = anew_below_64(nth);
    (lines.read(&header[below::<LINE_WORDS>(nth / 8)]) >> (nth % 8 * 8)) as u8
}

/// The key of what is asked for on a level.
#[inline(always)]
fn key_at(lines: &(impl Lines + ?Sized), header: &Line, asked: &impl Asks, nth: usize) -> Key {
    let is_pair = kind_in(lines.read(&header[0])) == Kind::Pairs as u32;
    Key::asked(asked, level(lines, header, nth), is_pair, is_timed(nth))
}

/// Whether a byte of the levels' words is a length of members with timeouts.
#[inline(always)]
const fn is_timed(nth: usize) -> bool {
    (nth / 8) & 3 == 2
}

#[inline(always)]
fn ask_port(lines: &(impl Lines + ?Sized), port: u32) -> Answer {
    match lines.line(BUCKETS + (port >> 9 & 0x7f)) {
        None => Answer::Nothing,
        Some(line)
            if line.borrow()[below::<LINE_WORDS>((port >> 6 & 7) as usize)] >> (port & 63) & 1
                != 0 =>
        {
            Answer::In
        }
        Some(_) => Answer::Out,
    }
}

/// Whether a member of this level has it, or (where the byte says a length) one with a timeout.
#[inline(always)]
fn is_at(lines: &(impl Lines + ?Sized), header: &Line, asked: &impl Asks, nth: usize) -> bool {
    let hash = key_at(lines, header, asked, nth).hash(lines.read(&header[SEED]));
    for step in 0..REACH {
        let mask = lines.read(&header[0]) as u32;
        let bucket = (lines.read(&hash) as u32).wrapping_add(step);
        let Some(places) = lines.line(BUCKETS + (bucket & mask)) else {
            return false;
        };
        let places = places.borrow();
        let tags = Key::tag(lines.read(&hash)) * 0x0001_0001_0001_0001;
        if let Some((node, place)) = found(lines, places, tags) {
            if node & ALONE != 0 {
                let key = Key::of(
                    &asked.address(),
                    nth >= LEVELS[0].end * 8,
                    level(lines, header, nth),
                );
                if node == key.alone() {
                    let ends = lines.read(&places[ENDS]);
                    return has_end((ends >> (place * 8)) as u8, key.bits);
                }
            } else if let Some(node) = lines.line(node) {
                let (node, key) = (node.borrow(), key_at(lines, header, asked, nth));
                if key.has(node) {
                    return if is_timed(nth) {
                        node[BITS] > lines.now()
                    } else {
                        has_prefix(node, key.bits)
                    };
                }
            }
        }
        if lines.read(&places[FULL]) == 0 {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_to_ask_for_is_told_so() {
        let mut lines = [[0; 8]; 4];
        let ask = |lines: &[Line], facts| {
            let asked = Asked {
                facts,
                address: [1, 0],
                port: 80,
            };
            ask(&Still { lines, now: 0 }, &asked)
        };
        lines[0] = header(Kind::Addresses, 0, 1);
        assert_eq!(ask(&lines, 0), Answer::Nothing);
        assert_eq!(ask(&lines, facts::V6), Answer::Out);
        assert_eq!(ask(&lines[..0], facts::V6), Answer::Nothing);
        lines[0] = header(Kind::Pairs, 0, 1);
        assert_eq!(ask(&lines, facts::V4), Answer::Nothing);
        assert_eq!(ask(&lines, facts::V4 | facts::PORTS), Answer::Out);
        lines[0] = header(Kind::Ports, 0, 1);
        assert_eq!(ask(&lines, facts::V4), Answer::Nothing);
        assert_eq!(ask(&lines, facts::PORTS), Answer::Out);
    }
}
