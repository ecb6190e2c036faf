//! What a placed program does once its body has spoken: count the verdict, and go on or end.
//!
//! ```text
//!     if the verdict means go on: go
//!     [count as dropped or other]
//!     exit
//! go: [count as gone on]
//!     r1 = context; r2 = NEXT; r3 = 0; tail_call
//!     r0 = the verdict; exit                       (end of the chain)
//! ```
//!
//! The body is over when the epilogue runs: its registers and its stack are free, but for the
//! verdict in r0 and the context in its [`Home`]. What must outlive a call lies on the stack and
//! not in a register, because a program saves and restores each kept register that it names, on
//! every way through. The epilogue must give back the body's verdict and must not touch the packet.
//! How the counters were chosen is told in `docs/decisions/0002-counters.md`.

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::{self, Code, Compare, FP, R0, R1, R2, R3, R4, Reg, SAVED};
use super::{Counters, Home, Length, Rule};

/// Where the verdict outlives a call.
const VERDICT: i16 = -8;
/// Where the packet's length outlives a call.
const LENGTH: i16 = -16;

/// Packets and bytes in a CPU's row: each for gone on, dropped, other.
const PACKETS: i16 = 0;
const BYTES: i16 = 3 * 8;
/// Whether a run is about to change the row.
const BUSY: i16 = 6 * 8;
/// From a row to that for runs that came between.
const SECOND: i32 = 64;
/// From one class to the next.
const CLASS: i32 = 8;

/// What an epilogue is written for.
pub(super) struct Epilogue<'a> {
    pub(super) home: Home,
    /// A register that may keep the verdict, for an epilogue that must do without stack.
    pub(super) spare: Option<Reg>,
    pub(super) rule: &'a Rule,
    pub(super) next: RawFd,
    pub(super) counters: Option<Counters>,
}

/// The verdict when an instruction can name it, or where it was put.
#[derive(Clone, Copy)]
enum Verdict {
    Known(i32),
    Kept,
}

impl Epilogue<'_> {
    pub(super) fn write(&self) -> Vec<bpf_insn> {
        let mut code = Code::default();
        if let [only] = self.rule.go_on {
            // The way that most packets take has no jump taken.
            let end = code.jump_if(Compare::NotEqual32, R0, *only);
            self.go_on(&mut code, Verdict::Known(*only));
            code.land(end);
            self.end(&mut code);
            return code.finish();
        }
        if self.rule.go_on.is_empty() {
            self.go_on(&mut code, Verdict::Kept);
            return code.finish();
        }
        let going_on: Vec<_> = self
            .rule
            .go_on
            .iter()
            .map(|verdict| code.jump_if(Compare::Equal32, R0, *verdict))
            .collect();
        self.end(&mut code);
        for jump in going_on {
            code.land(jump);
        }
        self.go_on(&mut code, Verdict::Kept);
        code.finish()
    }

    /// The next node is asked; should there be none, the body's own verdict stands.
    fn go_on(&self, code: &mut Code, verdict: Verdict) {
        let context = self.context(
            code,
            if self.counters.is_some() {
                SAVED[0]
            } else {
                R1
            },
        );
        match verdict {
            Verdict::Known(_) => {}
            Verdict::Kept => self.keep(code),
        }
        if let Some(counters) = self.counters {
            count(code, counters, self.rule, context, |_, _| {});
        }
        if context != R1 {
            code.push(asm::mov(R1, context));
        }
        code.extend(asm::load_map(R2, self.next));
        code.push(asm::mov_imm(R3, 0));
        code.push(asm::call(bpf_func_id::BPF_FUNC_tail_call));
        code.push(match verdict {
            Verdict::Known(verdict) => asm::mov_imm(R0, verdict),
            Verdict::Kept => self.kept(R0),
        });
        code.push(asm::exit());
    }

    /// The verdict ends the chain here.
    fn end(&self, code: &mut Code) {
        if let Some(counters) = self.counters {
            let context = self.context(code, SAVED[0]);
            self.keep(code);
            count(code, counters, self.rule, context, |code, counter| {
                code.push(self.kept(R3));
                code.push(asm::add_imm(counter, CLASS));
                classify(code, counter, &[self.rule.dropped]);
            });
            code.push(self.kept(R0));
        }
        code.push(asm::exit());
    }

    /// The register with the context: its home, or else this one. From here on all the stack is free.
    fn context(&self, code: &mut Code, register: Reg) -> Reg {
        match self.home {
            Home::Register(home) => Reg(home),
            Home::Slot(slot) => {
                code.push(asm::load64(register, FP, slot));
                register
            }
        }
    }

    fn keep(&self, code: &mut Code) {
        code.push(match self.spare {
            Some(register) => asm::mov(register, R0),
            None => asm::store64(FP, VERDICT, R0),
        });
    }

    fn kept(&self, register: Reg) -> bpf_insn {
        match self.spare {
            Some(kept) => asm::mov(register, kept),
            None => asm::load64(register, FP, VERDICT),
        }
    }
}

/// A subprogram that counts the verdict in r2 of the packet in r1.
pub(super) fn counting_function(rule: &Rule, counters: Counters) -> Vec<bpf_insn> {
    let mut code = Code::default();
    let context = SAVED[0];
    code.push(asm::mov(context, R1));
    code.push(asm::store64(FP, VERDICT, R2));
    count(&mut code, counters, rule, context, |code, counter| {
        // Where every verdict goes on, there is but one class.
        if !rule.go_on.is_empty() {
            code.push(asm::load64(R3, FP, VERDICT));
            classify(code, counter, &[rule.go_on, rule.dropped]);
        }
    });
    code.push(asm::mov_imm(R0, 0));
    code.push(asm::exit());
    code.finish()
}

/// Moves `counter` one class further for each of these that the verdict in r3 is not in.
fn classify(code: &mut Code, counter: Reg, classes: &[&[i32]]) {
    let mut found = Vec::new();
    for class in classes {
        for verdict in *class {
            found.push(code.jump_if(Compare::Equal32, R3, *verdict));
        }
        code.push(asm::add_imm(counter, CLASS));
    }
    for jump in found {
        code.land(jump);
    }
}

/// One packet more, and its bytes, in the class that `class` moves the counter's address to.
fn count(
    code: &mut Code,
    counters: Counters,
    rule: &Rule,
    context: Reg,
    class: impl FnOnce(&mut Code, Reg),
) {
    // Helpers come first: they leave nothing in the registers that the rest works with.
    if rule.length == Length::XdpFrags {
        code.push(asm::mov(R1, context));
        code.push(asm::call(bpf_func_id::BPF_FUNC_xdp_get_buff_len));
        code.push(asm::store64(FP, LENGTH, R0));
    }
    let counter = row(code, counters);
    let measured = match rule.length {
        Length::XdpLinear => {
            code.push(asm::load32(R2, context, 4));
            code.push(asm::load32(R1, context, 0));
            code.push(asm::sub(R2, R1));
            true
        }
        Length::XdpFrags => {
            code.push(asm::load64(R2, FP, LENGTH));
            true
        }
        Length::SkbLen => {
            code.push(asm::load32(R2, context, 0));
            true
        }
        Length::MsgSize => {
            code.push(asm::load32(R2, context, 68));
            true
        }
        Length::NetfilterLen(offset) => {
            code.push(asm::load64(R2, context, 8));
            code.push(asm::load32(R2, R2, offset));
            true
        }
        Length::None => false,
    };
    if rule.preemptible {
        code.push(asm::mov(R4, counter));
        class(code, counter);
        add_in_turn(code, counter, measured);
    } else {
        class(code, counter);
        add(code, counter, measured);
    }
}

/// One packet more, and the bytes in r2, where nothing comes between.
fn add(code: &mut Code, counter: Reg, measured: bool) {
    code.push(asm::load64(R3, counter, PACKETS));
    code.push(asm::add_imm(R3, 1));
    code.push(asm::store64(counter, PACKETS, R3));
    if measured {
        code.push(asm::load64(R3, counter, BYTES));
        code.push(asm::add(R3, R2));
        code.push(asm::store64(counter, BYTES, R3));
    }
}

/// The same where another run may come between on the same CPU, with the row in r4. Atomic additions
/// would do, and cost six nanoseconds each. So a run says that it is at the row, and one that comes
/// between takes the second row, with atomic additions. What comes between is over before the first
/// goes on, for it is an interrupt's. (A preempted task could interleave, but to lose a count two tasks would have
/// to preempt each other, each between two certain instructions of these few.)
fn add_in_turn(code: &mut Code, counter: Reg, measured: bool) {
    code.push(asm::load64(R3, R4, BUSY));
    let busy = code.jump_if(Compare::NotEqual32, R3, 0);
    code.push(asm::store64_imm(R4, BUSY, 1));
    add(code, counter, measured);
    code.push(asm::store64_imm(R4, BUSY, 0));
    let done = code.jump();
    code.land(busy);
    code.push(asm::add_imm(counter, SECOND));
    code.push(asm::mov_imm(R3, 1));
    code.push(asm::atomic_add64(counter, PACKETS, R3));
    if measured {
        code.push(asm::atomic_add64(counter, BYTES, R2));
    }
    code.land(done);
}

/// The row of the CPU that this runs on. Masked, so that the verifier knows it to lie in the map.
fn row(code: &mut Code, counters: Counters) -> Reg {
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_smp_processor_id));
    code.push(asm::shift_left_imm(R0, Counters::ROW.ilog2() as i32));
    code.push(asm::and_imm(R0, counters.last_row()));
    code.extend(asm::load_map_value(R1, counters.map, counters.first_row));
    code.push(asm::add(R0, R1));
    R0
}
