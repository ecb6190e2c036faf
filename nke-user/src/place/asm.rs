//! The handful of instructions that placement writes, and the questions that it asks of others.
//!
//! A small assembler, not a general one: every function makes one instruction (or the two halves of a
//! 64-bit load) that the entry, the epilogue, the stub, the claim, the seal or a fast path needs. It must never read or
//! change a program;
//! [`Code`] only appends, and only forward jumps within one `Code` can be written.
//!
//! ```ignore
//! let mut code = Code::default();
//! let skip = code.jump_if(Compare::NotEqual, R0, 2);
//! code.push(mov_imm(R0, 1));
//! code.land(skip);
//! code.push(exit());
//! ```

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_id, bpf_insn};

/// A register by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u8);

pub(crate) const R0: Reg = Reg(0);
pub(crate) const R1: Reg = Reg(1);
pub(crate) const R2: Reg = Reg(2);
pub(crate) const R3: Reg = Reg(3);
pub(crate) const R4: Reg = Reg(4);
pub(crate) const R5: Reg = Reg(5);
/// The frame pointer.
pub(crate) const FP: Reg = Reg(10);

/// The registers that keep their value over a call.
pub(crate) const SAVED: [Reg; 4] = [Reg(6), Reg(7), Reg(8), Reg(9)];

// Opcodes by the names of the kernel's Documentation/bpf/standardization/instruction-set.rst.
const LDDW: u8 = 0x18;
const JA: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ADD64_IMM: u8 = 0x07;
const SUB64_IMM: u8 = 0x17;
const ADD64_REG: u8 = 0x0f;
const SUB64_REG: u8 = 0x1f;
const AND64_IMM: u8 = 0x57;
const AND32_IMM: u8 = 0x54;
const AND64_REG: u8 = 0x5f;
const OR64_REG: u8 = 0x4f;
const XOR64_REG: u8 = 0xaf;
const XOR64_IMM: u8 = 0xa7;
const MUL64_IMM: u8 = 0x27;
const MUL64_REG: u8 = 0x2f;
const MUL32_IMM: u8 = 0x24;
const LSH64_IMM: u8 = 0x67;
const LSH64_REG: u8 = 0x6f;
const RSH64_IMM: u8 = 0x77;
const RSH64_REG: u8 = 0x7f;
const RSH32_REG: u8 = 0x7c;
const TO_BE: u8 = 0xdc;
const MOV64_IMM: u8 = 0xb7;
const MOV64_REG: u8 = 0xbf;
const MOV32_REG: u8 = 0xbc;
const LDXW: u8 = 0x61;
const LDXH: u8 = 0x69;
const LDXDW: u8 = 0x79;
const STDW: u8 = 0x7a;
const LDXB: u8 = 0x71;
const STXW: u8 = 0x63;
const STXDW: u8 = 0x7b;
const ATOMIC64: u8 = 0xdb;
const JEQ32_IMM: u8 = 0x16;
const JNE32_IMM: u8 = 0x56;
const JEQ64_IMM: u8 = 0x15;
const JNE64_IMM: u8 = 0x55;
const JGT64_REG: u8 = 0x2d;
const JEQ64_REG: u8 = 0x1d;
const JNE64_REG: u8 = 0x5d;
const JGE64_REG: u8 = 0x3d;
const JGT64_IMM: u8 = 0x25;
const JLT64_IMM: u8 = 0xa5;
const JSGE64_IMM: u8 = 0x75;
const JSLT64_IMM: u8 = 0xc5;
const JSGE32_IMM: u8 = 0x76;
const JSET32_IMM: u8 = 0x46;

const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;

/// What a conditional jump asks of a register.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Compare {
    /// The low 32 bits equal the immediate.
    Equal32,
    /// The low 32 bits differ from the immediate.
    NotEqual32,
    /// All 64 bits equal the immediate: so of an address, which is none, where that is 0.
    Equal,
    /// Some of the 64 bits differ from the immediate.
    NotEqual,
    /// Some of the low 32 bits are set that are set in the immediate.
    AnyOf32,
    /// All 64 bits, as a number, are above the immediate.
    Above,
    /// They are below it.
    Below,
    /// All 64 bits, as a number with a sign, are below the immediate.
    BelowSigned,
    /// They are not below it.
    NotBelowSigned,
    /// The same of the low 32 bits.
    NotBelowSigned32,
}

fn insn(code: u8, dst: Reg, src: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst.0, src),
        off,
        imm,
    }
}

pub(crate) fn mov(dst: Reg, src: Reg) -> bpf_insn {
    insn(MOV64_REG, dst, src.0, 0, 0)
}

pub(crate) fn mov_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(MOV64_IMM, dst, 0, 0, imm)
}

/// The low 32 bits of a register, the high ones cleared.
pub(crate) fn mov32(dst: Reg, src: Reg) -> bpf_insn {
    insn(MOV32_REG, dst, src.0, 0, 0)
}

/// `dst = imm`, all 64 bits of it: two instructions.
pub(crate) fn mov_imm64(dst: Reg, imm: u64) -> [bpf_insn; 2] {
    let [low, high] = [imm as u32, (imm >> 32) as u32].map(u32::cast_signed);
    [insn(LDDW, dst, 0, 0, low), insn(0, R0, 0, 0, high)]
}

pub(crate) fn add_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(ADD64_IMM, dst, 0, 0, imm)
}

pub(crate) fn and_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(AND64_IMM, dst, 0, 0, imm)
}

/// The low 32 bits ANDed, the high ones cleared.
pub(crate) fn and32_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(AND32_IMM, dst, 0, 0, imm)
}

pub(crate) fn and(dst: Reg, src: Reg) -> bpf_insn {
    insn(AND64_REG, dst, src.0, 0, 0)
}

pub(crate) fn or(dst: Reg, src: Reg) -> bpf_insn {
    insn(OR64_REG, dst, src.0, 0, 0)
}

pub(crate) fn xor(dst: Reg, src: Reg) -> bpf_insn {
    insn(XOR64_REG, dst, src.0, 0, 0)
}

pub(crate) fn xor_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(XOR64_IMM, dst, 0, 0, imm)
}

pub(crate) fn multiply(dst: Reg, src: Reg) -> bpf_insn {
    insn(MUL64_REG, dst, src.0, 0, 0)
}

pub(crate) fn multiply_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(MUL64_IMM, dst, 0, 0, imm)
}

/// The low 32 bits multiplied, the high ones cleared.
pub(crate) fn multiply32_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(MUL32_IMM, dst, 0, 0, imm)
}

pub(crate) fn shift_right_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(RSH64_IMM, dst, 0, 0, imm)
}

/// `dst >>= src`, by the lowest six bits of it.
pub(crate) fn shift_right(dst: Reg, src: Reg) -> bpf_insn {
    insn(RSH64_REG, dst, src.0, 0, 0)
}

/// The low 32 bits shifted right by the lowest five of another register, the high ones cleared.
pub(crate) fn shift_right32(dst: Reg, src: Reg) -> bpf_insn {
    insn(RSH32_REG, dst, src.0, 0, 0)
}

/// The low 16 or 32 bits between the host's order and the network's, the others cleared.
pub(crate) fn to_network(dst: Reg, bits: i32) -> bpf_insn {
    insn(TO_BE, dst, 0, 0, bits)
}

pub(crate) fn shift_left_imm(dst: Reg, imm: i32) -> bpf_insn {
    insn(LSH64_IMM, dst, 0, 0, imm)
}

/// `dst <<= src`, by the lowest six bits of it.
pub(crate) fn shift_left(dst: Reg, src: Reg) -> bpf_insn {
    insn(LSH64_REG, dst, src.0, 0, 0)
}

pub(crate) fn add(dst: Reg, src: Reg) -> bpf_insn {
    insn(ADD64_REG, dst, src.0, 0, 0)
}

pub(crate) fn sub(dst: Reg, src: Reg) -> bpf_insn {
    insn(SUB64_REG, dst, src.0, 0, 0)
}

/// `dst = *(u32 *)(base + off)`
pub(crate) fn load32(dst: Reg, base: Reg, off: i16) -> bpf_insn {
    insn(LDXW, dst, base.0, off, 0)
}

/// `dst = *(u64 *)(base + off)`
pub(crate) fn load64(dst: Reg, base: Reg, off: i16) -> bpf_insn {
    insn(LDXDW, dst, base.0, off, 0)
}

/// `dst = *(u16 *)(base + off)`
pub(crate) fn load16(dst: Reg, base: Reg, off: i16) -> bpf_insn {
    insn(LDXH, dst, base.0, off, 0)
}

/// `dst = *(u8 *)(base + off)`
pub(crate) fn load8(dst: Reg, base: Reg, off: i16) -> bpf_insn {
    insn(LDXB, dst, base.0, off, 0)
}

/// `*(u32 *)(base + off) = src`
pub(crate) fn store32(base: Reg, off: i16, src: Reg) -> bpf_insn {
    insn(STXW, base, src.0, off, 0)
}

/// `*(u64 *)(base + off) = src`
pub(crate) fn store64(base: Reg, off: i16, src: Reg) -> bpf_insn {
    insn(STXDW, base, src.0, off, 0)
}

/// `*(u64 *)(base + off) = imm`
pub(crate) fn store64_imm(base: Reg, off: i16, imm: i32) -> bpf_insn {
    insn(STDW, base, 0, off, imm)
}

/// `*(u64 *)(base + off) += src`, as one step: `BPF_ADD`, which is 0, as the old `BPF_XADD`.
pub(crate) fn atomic_add64(base: Reg, off: i16, src: Reg) -> bpf_insn {
    insn(ATOMIC64, base, src.0, off, 0)
}

/// `dst = map`, by its descriptor: two instructions.
pub(crate) fn load_map(dst: Reg, map: RawFd) -> [bpf_insn; 2] {
    [insn(LDDW, dst, PSEUDO_MAP_FD, 0, map), insn(0, R0, 0, 0, 0)]
}

/// `dst = address of the first value of an array + offset`: two instructions (Linux 5.2).
pub(crate) fn load_map_value(dst: Reg, map: RawFd, offset: i32) -> [bpf_insn; 2] {
    [
        insn(LDDW, dst, PSEUDO_MAP_VALUE, 0, map),
        insn(0, R0, 0, 0, offset),
    ]
}

pub(crate) fn call(helper: bpf_func_id) -> bpf_insn {
    insn(CALL, R0, 0, 0, helper as i32)
}

/// A call of the subprogram that starts `distance` instructions behind the next one.
pub(crate) fn call_subprogram(distance: i32) -> bpf_insn {
    insn(CALL, R0, PSEUDO_CALL, 0, distance)
}

pub(crate) fn jump(off: i16) -> bpf_insn {
    insn(JA, R0, 0, off, 0)
}

pub(crate) fn exit() -> bpf_insn {
    insn(EXIT, R0, 0, 0, 0)
}

/// Instructions written one after the other, with jumps forward to places not yet written.
#[derive(Debug, Default)]
pub(crate) struct Code(Vec<bpf_insn>);

/// A jump whose target is not yet written.
#[must_use = "a jump that never lands goes nowhere"]
pub(crate) struct Jump(usize);

/// An instruction that is already there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label(usize);

impl Code {
    pub(crate) fn push(&mut self, instruction: bpf_insn) {
        self.0.push(instruction);
    }

    pub(crate) fn extend(&mut self, instructions: impl IntoIterator<Item = bpf_insn>) {
        self.0.extend(instructions);
    }

    pub(crate) fn jump_if(&mut self, compare: Compare, register: Reg, imm: i32) -> Jump {
        let code = match compare {
            Compare::Equal32 => JEQ32_IMM,
            Compare::NotEqual32 => JNE32_IMM,
            Compare::Equal => JEQ64_IMM,
            Compare::NotEqual => JNE64_IMM,
            Compare::AnyOf32 => JSET32_IMM,
            Compare::Above => JGT64_IMM,
            Compare::Below => JLT64_IMM,
            Compare::BelowSigned => JSLT64_IMM,
            Compare::NotBelowSigned => JSGE64_IMM,
            Compare::NotBelowSigned32 => JSGE32_IMM,
        };
        self.push(insn(code, register, 0, 0, imm));
        Jump(self.0.len() - 1)
    }

    pub(crate) fn jump_if_greater(&mut self, left: Reg, right: Reg) -> Jump {
        self.push(insn(JGT64_REG, left, right.0, 0, 0));
        Jump(self.0.len() - 1)
    }

    pub(crate) fn jump_if_not_below(&mut self, left: Reg, right: Reg) -> Jump {
        self.push(insn(JGE64_REG, left, right.0, 0, 0));
        Jump(self.0.len() - 1)
    }

    pub(crate) fn jump_if_equal(&mut self, left: Reg, right: Reg) -> Jump {
        self.push(insn(JEQ64_REG, left, right.0, 0, 0));
        Jump(self.0.len() - 1)
    }

    pub(crate) fn jump_if_different(&mut self, left: Reg, right: Reg) -> Jump {
        self.push(insn(JNE64_REG, left, right.0, 0, 0));
        Jump(self.0.len() - 1)
    }

    pub(crate) fn jump(&mut self) -> Jump {
        self.push(jump(0));
        Jump(self.0.len() - 1)
    }

    /// Where the next instruction will be, for [`Code::land_at`].
    pub(crate) fn here(&self) -> Label {
        Label(self.0.len())
    }

    /// A jump goes to an instruction that is already there.
    pub(crate) fn land_at(&mut self, jump: Jump, Label(to): Label) {
        let Jump(at) = jump;
        // As in `land`.
        self.0[at].off = -((at + 1 - to) as i16);
    }

    /// The next instruction is where `jump` goes.
    pub(crate) fn land(&mut self, jump: Jump) {
        let Jump(at) = jump;
        // A `Code` is an epilogue or the like: some thousand instructions at most, never near the 16 bits of a jump.
        self.0[at].off = (self.0.len() - at - 1) as i16;
    }

    pub(crate) fn finish(self) -> Vec<bpf_insn> {
        self.0
    }
}

/// Whether `instruction` is the first half of a 64-bit immediate load.
pub(crate) fn is_wide(instruction: &bpf_insn) -> bool {
    instruction.code == LDDW
}

pub(crate) fn is_exit(instruction: &bpf_insn) -> bool {
    instruction.code == EXIT
}

pub(crate) fn is_tail_call(instruction: &bpf_insn) -> bool {
    instruction.code == CALL
        && instruction.src_reg() == 0
        && instruction.imm == bpf_func_id::BPF_FUNC_tail_call as i32
}

/// Whether the immediate is a distance to a subprogram: a call, or a function pointer.
pub(crate) fn is_code_reference(instruction: &bpf_insn) -> bool {
    match instruction.code {
        CALL => instruction.src_reg() == PSEUDO_CALL,
        LDDW => instruction.src_reg() == PSEUDO_FUNC,
        _ => false,
    }
}

/// How an instruction moves an address of the stack about, as far as a scan for its depth cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StackUse {
    /// A read or write of memory at a register plus an offset.
    Access { base: Reg, off: i16 },
    /// `dst = src`
    Copy { dst: Reg, src: Reg },
    /// `dst += imm`
    Shift { dst: Reg, imm: i32 },
    /// Another write of `dst`.
    Overwrite { dst: Reg },
    /// Nothing of these.
    None,
}

pub(crate) fn stack_use(instruction: &bpf_insn) -> StackUse {
    let (dst, src) = (Reg(instruction.dst_reg()), Reg(instruction.src_reg()));
    match instruction.code {
        MOV64_REG if instruction.off == 0 => return StackUse::Copy { dst, src },
        ADD64_IMM => {
            return StackUse::Shift {
                dst,
                imm: instruction.imm,
            };
        }
        SUB64_IMM => {
            return StackUse::Shift {
                dst,
                imm: instruction.imm.wrapping_neg(),
            };
        }
        _ => {}
    }
    // The class, in the low three bits.
    match instruction.code & 0x07 {
        // A load: it also overwrites `dst`, which an access at a negative offset outweighs.
        0x01 => StackUse::Access {
            base: src,
            off: instruction.off,
        },
        0x02 | 0x03 => StackUse::Access {
            base: dst,
            off: instruction.off,
        },
        0x00 | 0x04 | 0x07 => StackUse::Overwrite { dst },
        _ => StackUse::None,
    }
}
