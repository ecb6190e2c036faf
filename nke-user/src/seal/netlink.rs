//! The look into netlink messages: whether one changes the filters of an interface's clsact or ingress
//! queueing discipline, where chains hang on kernels without TCX, or takes that away.
//!
//! A buffer may hold many messages, and the kernel carries out each. As many as fit the program are
//! looked at; a buffer with more counts as one that changes something. The sender cannot alter the
//! buffer any more: it is the kernel's copy.
//!
//! ```ignore
//! let benign = look(&mut code, data, length);
//! ```

use aya_obj::generated::bpf_func_id;

use super::policy::{From, Value};
use crate::place::asm::{self, Code, Compare, FP, Jump, R0, R1, R2, R3, Reg};

/// Where the messages are.
pub(super) const DATA: Value = Value {
    from: From::Argument("skb"),
    steps: &[("sk_buff", "data")],
};
/// How many bytes they have.
pub(super) const LENGTH: Value = Value {
    from: From::Argument("skb"),
    steps: &[("sk_buff", "len")],
};
/// Whom they are for.
pub(super) const PROTOCOL: Value = Value {
    from: From::Argument("sk"),
    steps: &[("sock", "sk_protocol")],
};
/// `NETLINK_ROUTE`, uapi/linux/netlink.h.
pub(super) const ROUTE: u64 = 0;

/// How many messages of a buffer are looked at.
const MESSAGES: usize = 16;
/// `struct nlmsghdr` with a `struct tcmsg` behind it, uapi/linux/rtnetlink.h, copied to the stack.
const COPY: i16 = -40;
const SIZE: i32 = 32;
const HEADER: u64 = 16;
const TYPE: i16 = COPY + 4;
const INTERFACE: i16 = COPY + 20;
const HANDLE: i16 = COPY + 24;
const PARENT: i16 = COPY + 28;

/// `RTM_NEWTFILTER`, `RTM_DELTFILTER`, `RTM_NEWCHAIN`, `RTM_DELCHAIN`.
const FILTERS: [u64; 4] = [44, 45, 100, 101];
/// `RTM_NEWQDISC`, `RTM_DELQDISC`.
const DISCIPLINES: [u64; 2] = [36, 37];
/// The major number of the clsact and of the ingress discipline, and what stands for the root of the
/// others.
const CLSACT: u64 = 0xffff_0000;
const ROOT: u64 = 0xffff_ffff;
/// `TCM_IFINDEX_MAGIC_BLOCK`: the filters of a shared block.
const BLOCK: u64 = 0xffff_ffff;

/// Writes the look at `length` bytes at `data`, both of which it uses up. It goes on behind itself if
/// something changes; the jumps are taken if nothing does.
pub(super) fn look(code: &mut Code, data: Reg, length: Reg) -> Vec<Jump> {
    let mut benign = Vec::new();
    let mut changes = Vec::new();
    for _ in 0..MESSAGES {
        code.extend(asm::mov_imm64(R2, HEADER));
        benign.push(code.jump_if_greater(R2, length));
        copy(code, data);
        // What cannot be read is not let through.
        changes.push(code.jump_if(Compare::NotEqual, R0, 0));
        changes.extend(one(code));
        code.push(asm::load32(R1, FP, COPY));
        code.extend(asm::mov_imm64(R2, HEADER));
        // The kernel stops at a message that is shorter than its header, or longer than the rest.
        benign.push(code.jump_if_greater(R2, R1));
        benign.push(code.jump_if_greater(R1, length));
        code.push(asm::add_imm(R1, 3));
        code.push(asm::and_imm(R1, -4));
        benign.push(code.jump_if_greater(R1, length));
        code.push(asm::add(data, R1));
        code.push(asm::sub(length, R1));
    }
    changes.into_iter().for_each(|jump| code.land(jump));
    benign
}

/// Copies the heads of a message to the stack.
fn copy(code: &mut Code, data: Reg) {
    code.push(asm::mov(R1, FP));
    code.push(asm::add_imm(R1, COPY.into()));
    code.push(asm::mov_imm(R2, SIZE));
    code.push(asm::mov(R3, data));
    code.push(asm::call(bpf_func_id::BPF_FUNC_probe_read_kernel));
}

/// Looks at one message: the jumps are taken if it changes something.
fn one(code: &mut Code) -> Vec<Jump> {
    let mut changes = Vec::new();
    code.push(asm::load16(R1, FP, TYPE));
    let filter = FILTERS.map(|kind| equal(code, kind));
    let discipline = DISCIPLINES.map(|kind| equal(code, kind));
    let neither = code.jump();
    discipline.into_iter().for_each(|jump| code.land(jump));
    // A discipline can be named by its handle alone.
    code.push(asm::load32(R1, FP, HANDLE));
    code.push(asm::and_imm(R1, -0x1_0000));
    changes.push(equal(code, CLSACT));
    filter.into_iter().for_each(|jump| code.land(jump));
    code.push(asm::load32(R1, FP, INTERFACE));
    changes.push(equal(code, BLOCK));
    code.push(asm::load32(R1, FP, PARENT));
    let root = equal(code, ROOT);
    code.push(asm::and_imm(R1, -0x1_0000));
    changes.push(equal(code, CLSACT));
    code.land(neither);
    code.land(root);
    changes
}

fn equal(code: &mut Code, number: u64) -> Jump {
    code.extend(asm::mov_imm64(R2, number));
    code.jump_if_equal(R1, R2)
}
