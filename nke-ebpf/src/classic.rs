//! Runs programs of classic BPF over a packet: the expressions of rules.
//!
//! The programs of a rule set lie in one page, one behind the other. They are run before the rules are searched, each to its
//! end, one instruction at a time by `bpf_loop` (Linux 5.17): so the verifier looks at one instruction and
//! not at all the ways through programs that it does not even know. Their answers are bits, which tests
//! of rules compare.
//!
//! ```
//! use nke_ebpf::{Direction, Frame, answers, abi::{PAGE_WORDS, Page, classic::{self, Instruction, Place}}};
//!
//! // ldb [0]; ret a
//! let load = Instruction { code: classic::LOAD | classic::BYTE | classic::ABSOLUTE, yes: 0, no: 0, k: 0 };
//! let answer = Instruction { code: classic::RETURN | classic::ACCUMULATOR, yes: 0, no: 0, k: 0 };
//! let mut page = Page { words: [0; PAGE_WORDS] };
//! page.words[0] = 1;
//! page.words[1] = Place { ethernet: 4, ip: 0 }.to_word();
//! page.words[4..6].copy_from_slice(&[load.to_word(), answer.to_word()]);
//! assert_eq!(answers(&Frame::new(&[7; 14], Direction::In), &page), 1);
//! assert_eq!(answers(&Frame::new(&[0; 14], Direction::In), &page), 0);
//! ```
//!
//! Whatever a page holds, this ends, and reads nothing but the page, the packet and its own memory: each step
//! counts, and every index is cut to what there is.
#![expect(unsafe_code, reason = "a callback, which is given a pointer")]

use core::ptr;

use crate::{
    Packet,
    abi::{
        Page,
        classic::{self, EXPRESSIONS, Instruction, MEMORY, Place, WORDS},
    },
    branchless::forget,
};

mod bytes;

pub(crate) use self::bytes::{Bytes, Plain};
#[cfg(feature = "bpf")]
pub(crate) use self::bytes::{Ip, Skb, Xdp};

/// Programs are run to their end, and none goes back: there are no more instructions than words.
const STEPS: u32 = WORDS as u32;

/// What the expressions in a page say of a packet, a bit each from the lowest.
#[inline(always)]
#[must_use]
pub fn answers(packet: &impl Packet, page: &Page) -> u64 {
    packet.answers(page)
}

/// Where a program is, and all that it knows.
#[repr(C)]
struct Machine<B> {
    bytes: B,
    page: *const Page,
    answers: u64,
    /// Which of the programs it is.
    number: u32,
    /// The word of the next instruction.
    next: u32,
    accumulator: u32,
    index: u32,
    memory: [u32; MEMORY],
}

/// The same, of a packet's bytes.
//
// A function of its own, for what it needs of the stack: the search of rules, which is its caller's, and
// functions that the search calls have nearly all of the 512 bytes together.
#[inline(never)]
pub(crate) fn run<B: Bytes>(bytes: B, page: &Page) -> u64 {
    // What the verifier knows of a number at the beginning is one more way to look at.
    let noise = page.words[0];
    if noise == 0 {
        return 0;
    }
    let mut machine = Machine {
        bytes,
        page,
        answers: forget(0, noise ^ 3),
        number: forget(0, noise) as u32,
        next: 0,
        accumulator: forget(0, noise ^ 1) as u32,
        index: forget(0, noise ^ 2) as u32,
        memory: [0; MEMORY],
    };
    let zero = forget(0, noise ^ 4) as u32;
    for cell in &mut machine.memory {
        // SAFETY: a reference is a pointer that can be written to. One at a time: then nothing is known
        // of two together either.
        unsafe { ptr::from_mut(cell).write_volatile(zero) };
    }
    machine.next = machine.start();
    repeat(&mut machine);
    machine.answers
}

#[cfg(feature = "bpf")]
#[inline(always)]
fn repeat<B: Bytes>(machine: &mut Machine<B>) {
    let step: unsafe extern "C" fn(u64, *mut Machine<B>) -> u64 = step::<B>;
    // SAFETY: the callback gets the machine, and nobody has it beside.
    unsafe {
        aya_ebpf::helpers::bpf_loop(
            STEPS,
            step as *mut core::ffi::c_void,
            ptr::from_mut(machine).cast(),
            0,
        );
    }
}

#[cfg(not(feature = "bpf"))]
fn repeat<B: Bytes>(machine: &mut Machine<B>) {
    for index in 0..u64::from(STEPS) {
        // SAFETY: the machine is borrowed for as long.
        if unsafe { step(index, machine) } != 0 {
            break;
        }
    }
}

/// One instruction; 1 if it was the last one of all.
///
/// # Safety
///
/// The machine must be one, and nobody else's.
unsafe extern "C" fn step<B: Bytes>(_: u64, machine: *mut Machine<B>) -> u64 {
    // SAFETY: promised by the caller.
    let machine = unsafe { &mut *machine };
    let word = machine.word(machine.next);
    machine.next = machine.next.wrapping_add(1);
    let mut ended = 0;
    if let Some(answer) = machine.does(Instruction::from_word(word)) {
        machine.answers |= u64::from(answer) << (machine.number as usize & (EXPRESSIONS - 1));
        machine.number = machine.number.wrapping_add(1);
        machine.next = machine.start();
        ended = u64::from(u64::from(machine.number) >= machine.word(0));
    }
    // All instructions come to the same here, as far as the verifier can tell: it looks at two steps,
    // and has seen all.
    machine.number = forget(machine.number.into(), word) as u32;
    machine.next = forget(machine.next.into(), word) as u32;
    machine.accumulator = forget(machine.accumulator.into(), word) as u32;
    machine.index = forget(machine.index.into(), word) as u32;
    machine.answers = forget(machine.answers, word);
    ended
}

impl<B: Bytes> Machine<B> {
    /// A word of the page.
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        // SAFETY: the page is borrowed for longer than the machine lives.
        unsafe { (*self.page).words[at as usize & (WORDS - 1)] }
    }

    /// Where the program begins that it is at.
    #[inline(always)]
    fn start(&self) -> u32 {
        let Place { ethernet, ip } = Place::from_word(self.word(self.number.wrapping_add(1)));
        if B::HAS_LINK { ethernet } else { ip }
    }

    /// Does what an instruction says. The program's answer if it ends with it, as it does where the
    /// packet ends too early.
    #[inline(always)]
    fn does(&mut self, instruction: Instruction) -> Option<bool> {
        self.goes_on(instruction).map_or(Some(false), |end| end)
    }

    /// The same; nothing where something is not there.
    #[inline(always)]
    fn goes_on(&mut self, instruction: Instruction) -> Option<Option<bool>> {
        use classic::*;
        let Instruction { code, yes, no, k } = instruction;
        let cell = k as usize & (MEMORY - 1);
        let other = if code & BY_INDEX == 0 { k } else { self.index };
        match code & CLASS {
            LOAD => self.accumulator = self.loaded(code, k)?,
            LOAD_INDEX if code & MODE == HEADER_LENGTH => {
                self.index = (self.bytes.byte(u64::from(k))? & 15) * 4;
            }
            LOAD_INDEX => self.index = self.loaded(code, k)?,
            STORE => self.memory[cell] = self.accumulator,
            STORE_INDEX => self.memory[cell] = self.index,
            CALCULATE => {
                self.accumulator = calculate(code & OPERATION, self.accumulator, other)?;
            }
            JUMP => {
                let holds = compared(code & OPERATION, self.accumulator, other);
                let left_out = match (code & OPERATION, holds) {
                    (ALWAYS, _) => k,
                    (_, true) => yes.into(),
                    (_, false) => no.into(),
                };
                self.next = self.next.wrapping_add(left_out);
            }
            RETURN => {
                let answer = if code & ACCUMULATOR == 0 {
                    k
                } else {
                    self.accumulator
                };
                return Some(Some(answer != 0));
            }
            _ if code & TO_ACCUMULATOR == 0 => self.index = self.accumulator,
            _ => self.accumulator = self.index,
        }
        Some(None)
    }

    /// What is loaded; nothing if the packet ends before it does.
    #[inline(always)]
    fn loaded(&self, code: u16, k: u32) -> Option<u32> {
        use classic::*;
        let behind = match code & MODE {
            ABSOLUTE => 0,
            INDIRECT => u64::from(self.index),
            MEMORY_WORD => return Some(self.memory[k as usize & (MEMORY - 1)]),
            LENGTH => return Some(self.bytes.length()),
            _ => return Some(k),
        };
        let at = u64::from(k) + behind;
        match code & SIZE {
            WORD => self.bytes.word(at),
            HALF => self.bytes.half(at),
            _ => self.bytes.byte(at),
        }
    }
}

#[inline(always)]
fn compared(operation: u16, a: u32, other: u32) -> bool {
    match operation {
        classic::IF_EQUAL => a == other,
        classic::IF_HIGHER => a > other,
        classic::IF_NOT_LOWER => a >= other,
        _ => a & other != 0,
    }
}
