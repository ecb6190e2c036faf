//! The program that answers `setsockopt(fd, SOL_NKE, SO_NKE, …)` for one extension: a body like any
//! other, at `socket/setsockopt`.
//!
//! ```text
//! not this level and option?            go on
//! not as long as struct so_nke?         EINVAL
//! another extension's name?             EINVAL, unless somebody has answered
//! marked already?                       EEXIST, unless it is taken
//! mark the socket; optlen = -1: it is taken, and the kernel never sees it
//! ```
//!
//! There may be several: one for each extension of a chain, and more in the cgroups above. So one
//! that has another's name must not spoil an answer, and one that takes the option clears what the
//! others said, but no other program's errno. Always goes on.

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::{self, Code, Compare, R0, R1, R2, R3, SAVED};
use super::guard;
use crate::so_nke::{NAME_LEN, SO_NKE, SOL_NKE};

// `struct bpf_sockopt`, uapi/linux/bpf.h.
const SK: i16 = 0;
const OPTVAL: i16 = 8;
const OPTVAL_END: i16 = 16;
const LEVEL: i16 = 24;
const OPTNAME: i16 = 28;
const OPTLEN: i16 = 32;

/// Not for the kernel any more.
const TAKEN: i32 = -1;
const CREATE: i32 = 1; // BPF_SK_STORAGE_GET_F_CREATE

/// The program that marks sockets which name the extension. `marks` is the socket storage.
///
/// A name is at most [`NAME_LEN`] - 1 bytes; a longer one cannot be asked for. Needs Linux 5.18 for
/// its errnos (`bpf_set_retval`, kernel/bpf/cgroup.c).
pub fn claim(name: &str, marks: RawFd) -> Vec<bpf_insn> {
    let [context, kept, ..] = SAVED;
    let mut code = Code::default();
    code.push(asm::mov(context, R1));
    let mut out = Vec::new();
    for (field, wanted) in [(LEVEL, SOL_NKE), (OPTNAME, SO_NKE)] {
        code.push(asm::load32(R2, context, field));
        out.push(code.jump_if(Compare::NotEqual32, R2, wanted));
    }
    code.push(asm::load64(kept, context, OPTVAL));
    code.push(asm::load64(R3, context, OPTVAL_END));
    code.push(asm::mov(R2, kept));
    code.push(asm::add_imm(R2, NAME_LEN as i32));
    let mut invalid = vec![code.jump_if_greater(R2, R3)];
    // With the zero behind it; what follows that is nobody's concern.
    for (at, byte) in name.bytes().chain([0]).enumerate().take(NAME_LEN) {
        code.push(asm::load8(R2, kept, at as i16));
        invalid.push(code.jump_if(Compare::NotEqual32, R2, byte.into()));
    }
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_retval));
    let ours = [0, -libc::EINVAL, -libc::EEXIST];
    let ours = ours.map(|answer| code.jump_if(Compare::Equal32, R0, answer));
    out.push(code.jump());
    for jump in ours {
        code.land(jump);
    }
    code.push(asm::load64(R2, context, SK));
    code.extend(guard::look_up(marks, 0));
    let exists = code.jump_if(Compare::NotEqual, R0, 0);
    code.push(asm::load64(R2, context, SK));
    code.extend(guard::look_up(marks, CREATE));
    let no_memory = code.jump_if(Compare::Equal, R0, 0);
    code.push(asm::mov_imm(R2, TAKEN));
    code.push(asm::store32(context, OPTLEN, R2));
    code.push(asm::mov_imm(R1, 0));
    code.push(asm::call(bpf_func_id::BPF_FUNC_set_retval));
    out.push(code.jump());

    for jump in invalid {
        code.land(jump);
    }
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_retval));
    out.push(code.jump_if(Compare::NotEqual32, R0, 0));
    code.push(asm::mov_imm(kept, -libc::EINVAL));
    let refuse = code.jump();
    code.land(no_memory);
    code.push(asm::mov_imm(kept, -libc::ENOMEM));
    let refuse = [refuse, code.jump()];
    code.land(exists);
    code.push(asm::mov_imm(kept, -libc::EEXIST));
    for jump in refuse {
        code.land(jump);
    }
    code.push(asm::load32(R2, context, OPTLEN));
    out.push(code.jump_if(Compare::Equal32, R2, TAKEN));
    code.push(asm::mov(R1, kept));
    code.push(asm::call(bpf_func_id::BPF_FUNC_set_retval));
    for jump in out {
        code.land(jump);
    }
    code.push(asm::mov_imm(R0, 1));
    code.push(asm::exit());
    code.finish()
}
