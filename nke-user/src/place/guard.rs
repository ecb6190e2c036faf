//! What a placed program asks before its body runs: has this socket opted in?
//!
//! ```text
//!     sk = the context's socket; none: skip
//!     sk_storage_get(MARKS, sk): something there: run
//! skip: r1 = context; r2 = NEXT; r3 = 0; tail_call; r0 = pass; exit
//! run:  r1 = context, and the body follows
//! ```
//!
//! A socket without a mark goes by as if the node were not there, and is not counted. The guard
//! must leave the stack alone, which is the body's, and give it its context back in r1.

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::{self, Code, Compare, R0, R1, R2, R3, R4, Reg};
use super::{Guard, Socket};

/// The guard's instructions, for a context that is in r1.
///
/// `restore` loads the context from its home into r1.
pub(super) fn write(code: &mut Code, guard: &Guard, next: RawFd, restore: bpf_insn) {
    let mut skip = None;
    match guard.socket {
        Socket::Context => code.push(asm::mov(R2, R1)),
        Socket::At(offset) => {
            code.push(asm::load64(R2, R1, offset));
            skip = Some(code.jump_if(Compare::Equal, R2, 0));
        }
    }
    code.extend(look_up(guard.marks, 0));
    let run = code.jump_if(Compare::NotEqual, R0, 0);
    if let Some(skip) = skip {
        code.land(skip);
    }
    code.push(restore);
    code.extend(asm::load_map(R2, next));
    code.push(asm::mov_imm(R3, 0));
    code.push(asm::call(bpf_func_id::BPF_FUNC_tail_call));
    code.push(asm::mov_imm(R0, guard.pass));
    code.push(asm::exit());
    code.land(run);
    code.push(restore);
}

/// Looks for the mark of the socket in r2 (Linux 5.2; at all of these hooks 5.10): its address in
/// r0, or none. With `BPF_SK_STORAGE_GET_F_CREATE` a mark is made.
pub(super) fn look_up(marks: RawFd, flags: i32) -> [bpf_insn; 5] {
    const NO_VALUE: i32 = 0;
    let [low, high] = asm::load_map(R1, marks);
    [
        low,
        high,
        asm::mov_imm(R3, NO_VALUE),
        asm::mov_imm(R4, flags),
        asm::call(bpf_func_id::BPF_FUNC_sk_storage_get),
    ]
}

/// The move or load that gives the context back.
pub(super) fn restore(home: super::Home) -> bpf_insn {
    match home {
        super::Home::Register(register) => asm::mov(R1, Reg(register)),
        super::Home::Slot(slot) => asm::load64(R1, asm::FP, slot),
    }
}
