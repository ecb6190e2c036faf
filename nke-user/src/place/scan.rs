//! What a body's main function uses: registers, stack, and how it ends.
//!
//! These are questions that decide which forms are worth a try. They may be wrong only on the
//! side that the verifier sees: a context kept where the body also writes is refused by it, never
//! run. They must not look at subprograms, which have frames and registers of their own.

use std::collections::BTreeSet;

use aya_obj::generated::bpf_insn;

use super::asm::{self, FP, Reg, SAVED, StackUse};

/// The lowest offset of the 512-byte frame.
pub(super) const STACK_BOTTOM: i16 = -512;

/// Main's instructions with their positions, without the second halves of 64-bit loads.
pub(super) fn instructions(main: &[bpf_insn]) -> impl Iterator<Item = (usize, &bpf_insn)> {
    let mut after_wide = false;
    main.iter().enumerate().filter(move |(_, instruction)| {
        let second_half = after_wide;
        after_wide = !second_half && asm::is_wide(instruction);
        !second_half
    })
}

/// The registers kept over calls that main neither reads nor writes, highest first.
///
/// A load's source field may also be a pseudo number, which counts as a use: a register too many
/// is left alone, which costs nothing but a choice.
pub(super) fn unused_registers(main: &[bpf_insn]) -> impl Iterator<Item = Reg> {
    let mut used = 0u16;
    for (_, instruction) in instructions(main) {
        used |= 1 << instruction.dst_reg() | 1 << instruction.src_reg();
    }
    SAVED
        .into_iter()
        .rev()
        .filter(move |register| used & (1 << register.0) == 0)
}

/// The deepest stack offset that main names: 0 when it has no stack of its own.
///
/// Straight through the instructions, following copies of the frame pointer and what is added to
/// them, as if there were no jumps.
pub(super) fn stack_depth(main: &[bpf_insn]) -> i32 {
    let mut offsets: [Option<i32>; 16] = [None; 16];
    offsets[usize::from(FP.0)] = Some(0);
    let mut deepest = 0;
    for (_, instruction) in instructions(main) {
        let named = match asm::stack_use(instruction) {
            StackUse::Access { base, off } => {
                offsets[usize::from(base.0)].map(|offset| offset.saturating_add(off.into()))
            }
            StackUse::Copy { dst, src } => {
                offsets[usize::from(dst.0)] = offsets[usize::from(src.0)];
                None
            }
            StackUse::Shift { dst, imm } => {
                let offset = &mut offsets[usize::from(dst.0)];
                *offset = offset.map(|offset| offset.saturating_add(imm));
                *offset
            }
            StackUse::Overwrite { dst } => {
                offsets[usize::from(dst.0)] = None;
                None
            }
            StackUse::None => None,
        };
        deepest = deepest.min(named.unwrap_or(0).max(STACK_BOTTOM.into()));
    }
    deepest
}

/// Whether main hands the packet to a program array of its own.
pub(super) fn tail_calls(main: &[bpf_insn]) -> bool {
    instructions(main).any(|(_, instruction)| asm::is_tail_call(instruction))
}

/// Where functions start: main, and what is called or pointed to. In order.
pub(super) fn function_starts(program: &[bpf_insn]) -> BTreeSet<u32> {
    let references = instructions(program).filter(|(_, insn)| asm::is_code_reference(insn));
    let targets = references.filter_map(|(at, insn)| {
        let target = at.checked_add_signed(insn.imm as isize)?.checked_add(1)?;
        u32::try_from(target).ok()
    });
    targets.chain([0]).collect()
}
