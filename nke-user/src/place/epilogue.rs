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

use super::asm::{self, Code, Compare, FP, R0, R1, R2, R3, Reg, SAVED};
use super::{Home, Length, Maps, Rule};

/// Where the verdict outlives a call.
const VERDICT: i16 = -8;
/// The key of the counter's lookup.
const KEY: i16 = -16;
/// Where the address of the counter outlives a call.
const COUNTER: i16 = -24;

/// Packets and bytes in a counter's value, `[u64; 6]`: each for gone on, dropped, other.
const PACKETS: i16 = 0;
const BYTES: i16 = 3 * 8;

/// What an epilogue is written for.
pub(super) struct Epilogue<'a> {
    pub(super) home: Home,
    pub(super) rule: &'a Rule,
    pub(super) maps: &'a Maps,
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
        let going_on: Vec<_> = self
            .rule
            .go_on
            .iter()
            .map(|verdict| code.jump_if(Compare::Equal32, R0, *verdict))
            .collect();
        self.end(&mut code);
        if !going_on.is_empty() {
            for jump in going_on {
                code.land(jump);
            }
            self.go_on(&mut code, Verdict::Kept);
        }
        code.finish()
    }

    /// The next node is asked; should there be none, the body's own verdict stands.
    fn go_on(&self, code: &mut Code, verdict: Verdict) {
        match self.maps.counters {
            Some(counters) => {
                let context = self.context(code, SAVED[0]);
                keep(code, verdict);
                self.count(code, counters, context, |_, _| {});
                code.push(asm::mov(R1, context));
            }
            None => {
                let context = self.context(code, R1);
                keep(code, verdict);
                if context != R1 {
                    code.push(asm::mov(R1, context));
                }
            }
        }
        code.extend(asm::load_map(R2, self.maps.next));
        code.push(asm::mov_imm(R3, 0));
        code.push(asm::call(bpf_func_id::BPF_FUNC_tail_call));
        code.push(match verdict {
            Verdict::Known(verdict) => asm::mov_imm(R0, verdict),
            Verdict::Kept => asm::load64(R0, FP, VERDICT),
        });
        code.push(asm::exit());
    }

    /// The verdict ends the chain here.
    fn end(&self, code: &mut Code) {
        if let Some(counters) = self.maps.counters {
            let context = self.context(code, SAVED[0]);
            keep(code, Verdict::Kept);
            self.count(code, counters, context, |code, counter| {
                code.push(asm::load64(R3, FP, VERDICT));
                code.push(asm::add_imm(counter, 8));
                let compare = |verdict: &i32| code.jump_if(Compare::Equal32, R3, *verdict);
                let dropped: Vec<_> = self.rule.dropped.iter().map(compare).collect();
                code.push(asm::add_imm(counter, 8));
                for jump in dropped {
                    code.land(jump);
                }
            });
            code.push(asm::load64(R0, FP, VERDICT));
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

    /// One packet more, and its bytes, in the class that `class` moves the counter's address to.
    ///
    /// Plain additions on memory that only this CPU writes: the interface hooks run with bottom
    /// halves off, so nothing can come between the read and the write.
    fn count(
        &self,
        code: &mut Code,
        counters: RawFd,
        context: Reg,
        class: impl FnOnce(&mut Code, Reg),
    ) {
        code.push(asm::store32_imm(FP, KEY, 0));
        code.push(asm::mov(R2, FP));
        code.push(asm::add_imm(R2, KEY.into()));
        code.extend(asm::load_map(R1, counters));
        code.push(asm::call(bpf_func_id::BPF_FUNC_map_lookup_elem));
        let missing = code.jump_if(Compare::Equal64, R0, 0);
        let mut counter = R0;
        match self.rule.length {
            Length::XdpLinear => {
                code.push(asm::load32(R2, context, 4));
                code.push(asm::load32(R1, context, 0));
                code.push(asm::sub(R2, R1));
            }
            Length::XdpFrags => {
                code.push(asm::store64(FP, COUNTER, R0));
                code.push(asm::mov(R1, context));
                code.push(asm::call(bpf_func_id::BPF_FUNC_xdp_get_buff_len));
                code.push(asm::mov(R2, R0));
                counter = R1;
                code.push(asm::load64(counter, FP, COUNTER));
            }
            Length::SkbLen => code.push(asm::load32(R2, context, 0)),
            Length::None => {}
        }
        class(code, counter);
        code.push(asm::load64(R3, counter, PACKETS));
        code.push(asm::add_imm(R3, 1));
        code.push(asm::store64(counter, PACKETS, R3));
        match self.rule.length {
            Length::XdpLinear | Length::XdpFrags | Length::SkbLen => {
                code.push(asm::load64(R3, counter, BYTES));
                code.push(asm::add(R3, R2));
                code.push(asm::store64(counter, BYTES, R3));
            }
            Length::None => {}
        }
        code.land(missing);
    }
}

fn keep(code: &mut Code, verdict: Verdict) {
    match verdict {
        Verdict::Known(_) => {}
        Verdict::Kept => code.push(asm::store64(FP, VERDICT, R0)),
    }
}
