//! The programs that nke writes itself, from first to last instruction.
//!
//! They look at no packet and keep nothing, so that the verifier takes them on every hook of their type.

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::{self, Code, Compare, FP, R0, R1, R2, R3, R4, SAVED};

/// The program that the kernel calls: it enters the chain behind `next`, and gives `answer` when
/// there is none.
pub fn root(next: RawFd, answer: i32) -> Vec<bpf_insn> {
    let [low, high] = asm::load_map(R2, next);
    let enter = asm::call(bpf_func_id::BPF_FUNC_tail_call);
    vec![
        low,
        high,
        asm::mov_imm(R3, 0),
        enter,
        asm::mov_imm(R0, answer),
        asm::exit(),
    ]
}

/// A body that always gives the same verdict: a policy, as the last node of a chain.
pub fn constant(answer: i32) -> Vec<bpf_insn> {
    vec![asm::mov_imm(R0, answer), asm::exit()]
}

/// A [`root`] that holds another map as well, which lives as long as the program does.
pub fn holding(map: RawFd, root: Vec<bpf_insn>) -> Vec<bpf_insn> {
    // The kernel counts a reference for each map that is named; r2 is about to be overwritten.
    [asm::load_map(R2, map).to_vec(), root].concat()
}

/// A `sock_ops` program that puts each new TCP connection, made or accepted, into a sockhash whose
/// keys are socket cookies (8 bytes). A socket that cannot join stays as it is.
pub fn join(sockets: RawFd) -> Vec<bpf_insn> {
    /// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB` and `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`,
    /// uapi/linux/bpf.h.
    const ACTIVE: i32 = 4;
    const PASSIVE: i32 = 5;
    const BPF_NOEXIST: i32 = 1;
    const COOKIE: i16 = -8;

    let context = SAVED[0];
    let mut code = Code::default();
    // The operation is the first word of a bpf_sock_ops.
    code.push(asm::load32(R2, R1, 0));
    let made = code.jump_if(Compare::Equal32, R2, ACTIVE);
    let other = code.jump_if(Compare::NotEqual32, R2, PASSIVE);
    code.land(made);
    code.push(asm::mov(context, R1));
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_socket_cookie));
    code.push(asm::store64(FP, COOKIE, R0));
    code.push(asm::mov(R1, context));
    code.extend(asm::load_map(R2, sockets));
    code.push(asm::mov(R3, FP));
    code.push(asm::add_imm(R3, COOKIE.into()));
    code.push(asm::mov_imm(R4, BPF_NOEXIST));
    code.push(asm::call(bpf_func_id::BPF_FUNC_sock_hash_update));
    code.land(other);
    code.push(asm::mov_imm(R0, 1));
    code.push(asm::exit());
    code.finish()
}
