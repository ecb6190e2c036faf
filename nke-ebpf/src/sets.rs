//! The named sets of an extension, as it sees them: is what a packet says in one of them?
//!
//! The map is one for all attachments of an extension ([`rules!`](crate::rules) declares it). How a set is laid out, and searched, is in [`crate::set`].
//!
//! It never waits, and never changes anything.
#![expect(
    unsafe_code,
    reason = "the kernel's clock, and words that are read anew"
)]

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    helpers::bpf_ktime_get_boot_ns,
};

use crate::{
    abi::{Subject, Test, field},
    branchless::below,
    set::{self, Answer, Asks, Line, Lines, SETS as COUNT},
};

/// `BPF_F_MMAPABLE`, so that members are written one word at a time (since 5.5), and `BPF_F_INNER_MAP`,
/// so that one of any size can take its place (since 5.10).
const FLAGS: usize = 1 << 10 | 1 << 12;

/// A set: as many lines as it needs.
type SetMap = Array<Line, 1, FLAGS>;

/// The sets, each in a slot of its own so that another can take its place at once.
pub type Sets = ArrayOfMaps<SetMap, COUNT>;

impl Lines for SetMap {
    type Line<'a>
        = &'a Line
    where
        Self: 'a;

    #[inline(always)]
    fn line(&self, number: u32) -> Option<&Line> {
        self.get(number)
    }

    #[inline(always)]
    fn read(&self, word: &u64) -> u64 {
        // SAFETY: it is a reference.
        unsafe { core::ptr::from_ref(word).read_volatile() }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper takes nothing and cannot fail.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

/// One side of a packet.
struct Side<'a> {
    subject: &'a Subject,
    /// The field of its address: without a branch, which the verifier would walk down twice.
    field: usize,
}

impl Side<'_> {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        let word = &self.subject.words[index];
        // SAFETY: it is a reference.
        unsafe { core::ptr::from_ref(word).read_volatile() }
    }
}

impl Asks for Side<'_> {
    #[inline(always)]
    fn facts(&self) -> u64 {
        self.word(usize::from(field::FACTS))
    }

    #[inline(always)]
    fn address(&self) -> [u64; 2] {
        [
            self.word(below::<4>(self.field)),
            self.word(below::<4>(self.field + 1)),
        ]
    }

    #[inline(always)]
    fn port(&self) -> u32 {
        // The sender's in the low half, the receiver's in the high one.
        let ports = u64::from_be(self.word(usize::from(field::PORTS)));
        (ports >> (self.field * 16)) as u32
    }
}

/// The last argument of [`answer`]: which set, and about which side.
#[inline(always)]
#[must_use]
pub const fn question(test: &Test) -> u32 {
    (test.slot as u32) << 16 | test.field as u32
}

/// An [`Answer`]: whether a side of a packet is in a set.
#[inline(always)]
#[must_use]
pub fn answer(sets: &Sets, subject: &Subject, question: u32) -> u32 {
    let field = question as usize & usize::from(field::SOURCE | field::DESTINATION);
    let side = Side { subject, field };
    let answer = match sets.get(question >> 16) {
        Some(set) => set::ask(set, &side),
        None => Answer::Nothing,
    };
    answer as u32
}

/// An [`Answer`] as [`set::ask_v4`] gives it, of the set in a slot.
#[inline(always)]
#[must_use]
pub fn answer_v4(sets: &Sets, slot: u32, address: u64) -> u32 {
    let answer = match sets.get(slot) {
        Some(set) => set::ask_v4(set, address),
        None => Answer::Nothing,
    };
    answer as u32
}
