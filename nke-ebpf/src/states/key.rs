//! What a flow is known by: both ends, in an order of their own, so that a question and its answer
//! have the same key.
//!
//! ```
//! use nke_ebpf::states::Key;
//!
//! let question = Key::new([1, 0], [2, 0], (4000, 53), 17, false);
//! let answer = Key::new([2, 0], [1, 0], (53, 4000), 17, false);
//! assert_eq!(question.0, answer.0);
//! assert_ne!(question.1, answer.1, "one is from the first end, one from the second");
//! ```

use crate::{abi::states::KEY_WORDS, branchless::forget};

/// Two ends and what they speak: the first end's address, the second's (sixteen bytes each, in
/// memory order), and from the low end 16 bits of the first's port, 16 of the second's, 8 of the
/// protocol, 1 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Key(pub [u64; KEY_WORDS]);

impl Key {
    /// The key of a packet's flow, and whether the packet is from the second end. The ports are the
    /// sender's and the receiver's.
    #[must_use]
    pub fn new(
        source: [u64; 2],
        destination: [u64; 2],
        ports: (u16, u16),
        protocol: u8,
        is_v6: bool,
    ) -> (Self, bool) {
        let mut key = Self([0; KEY_WORDS]);
        key.fill(source, destination, ports, protocol, is_v6);
        let from_high = key.sort();
        (key, from_high != 0)
    }

    /// Both ends in the order of the packet: to be [sorted](Key::sort).
    #[inline(always)]
    pub(super) fn fill(
        &mut self,
        source: [u64; 2],
        destination: [u64; 2],
        (from, to): (u16, u16),
        protocol: u8,
        is_v6: bool,
    ) {
        self.0 = [
            source[0],
            source[1],
            destination[0],
            destination[1],
            u64::from(from)
                | u64::from(to) << 16
                | u64::from(protocol) << 32
                | u64::from(is_v6) << 40,
        ];
    }

    /// Puts the ends into the order of a key. 1 if the first was the second: the sender.
    #[inline(always)]
    pub(super) fn sort(&mut self) -> u64 {
        let [a, b, c, d, rest] = self.0;
        let (from, to) = (rest as u16, (rest >> 16) as u16);
        let from_high = (a, b, from) > (c, d, to);
        // Chosen without a branch: the verifier walks on from here only once.
        let swap = forget(0u64.wrapping_sub(u64::from(from_high)), rest);
        let ends = [(a ^ c) & swap, (b ^ d) & swap];
        let ports = u64::from(from ^ to) & swap;
        self.0 = [
            a ^ ends[0],
            b ^ ends[1],
            c ^ ends[0],
            d ^ ends[1],
            rest ^ (ports | ports << 16),
        ];
        swap & 1
    }

    /// Whether both ends are one.
    #[inline(always)]
    pub(super) fn has_one_end(&self) -> bool {
        let ports = self.word(4);
        let differ = self.word(0) ^ self.word(2) | self.word(1) ^ self.word(3);
        differ == 0 && ports as u16 == (ports >> 16) as u16
    }

    /// A word of it, read from memory each time: a program has few registers, and a short stack.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the compiler is not to remember it")]
    pub(super) fn word(&self, index: usize) -> u64 {
        // SAFETY: a reference.
        unsafe { (&raw const self.0[index]).read_volatile() }
    }

    /// The hash: its low half chooses the bucket, its high 16 bits the tag.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        // Multiplications that carry every bit to the top, and folds that bring it down again.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [a, b, c, d, e] = self.0;
        let mut first = (a ^ seed).wrapping_mul(ODD);
        let mut second = (c ^ seed.rotate_left(32)).wrapping_mul(ODD);
        first = (first ^ first >> 32 ^ b).wrapping_mul(ODD);
        second = (second ^ second >> 29 ^ d).wrapping_mul(ODD);
        let mut hash = first ^ first >> 31 ^ second.rotate_left(21) ^ second >> 7;
        hash = (hash ^ e).wrapping_mul(ODD);
        hash = (hash ^ hash >> 29).wrapping_mul(ODD);
        hash ^ hash >> 32
    }

    /// The tag of a hash: never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(hash: u64) -> u64 {
        hash >> 48 | 1
    }
}
