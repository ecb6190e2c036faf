//! What an object leaves undefined, because the kernel has it: functions, variables, and where
//! members of its structures are. Each is filled in from the running kernel's types.

use aya_obj::generated::bpf_insn;

use super::{btf, elf::Extern};

pub(super) const CALL: u8 = 0x85;
pub(super) const LOAD_IMM64: u8 = 0x18;
const PSEUDO_KFUNC_CALL: u8 = 2;
const PSEUDO_BTF_ID: u8 = 3;

/// A function's instructions, from the one on that a relocation is for.
pub(super) fn instructions_at(
    parsed: &mut aya_obj::Object,
    (section, offset): (usize, u64),
) -> Option<&mut [bpf_insn]> {
    parsed.functions.values_mut().find_map(|function| {
        let offset = usize::try_from(offset)
            .ok()?
            .checked_sub(function.section_offset)?;
        let here = function.section_index.0 == section;
        function
            .instructions
            .get_mut(offset / size_of::<bpf_insn>()..)
            .filter(|instructions| here && !instructions.is_empty())
    })
}

/// What stands for a symbol of the kernel.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// The id of a function or variable.
    Id(u32),
    /// At how many bytes of a structure a member is.
    Offset(u32),
    /// The id of the cgroup that a program is run for.
    Cgroup,
}

/// The symbol that stands for the id of the cgroup that a program is run for.
pub(super) const CGROUP: &str = "nke_target__cgroup";

/// Before the name of a structure, `__`, and the name of a member of it, in a symbol that stands for
/// the member's offset.
pub(super) const OFFSET: &str = "nke_offset__";

pub(super) fn known(symbol: &str) -> Option<Known> {
    if symbol == CGROUP {
        return Some(Known::Cgroup);
    }
    let types = btf::Types::of_kernel()?;
    if let Some(member) = symbol.strip_prefix(OFFSET) {
        let (structure, member) = member.split_once("__")?;
        let structure = types.find(btf::KIND_STRUCT, structure.as_bytes())?;
        let offset = types.member_offset(structure, member.as_bytes())?;
        return Some(Known::Offset(offset));
    }
    let kinds = [btf::KIND_FUNC, btf::KIND_VAR];
    kinds
        .into_iter()
        .find_map(|kind| types.find(kind, symbol.as_bytes()))
        .map(Known::Id)
}

/// The symbol of a reference that this kernel cannot fill in.
pub(super) fn missing(reference: &Extern) -> Option<&str> {
    let Extern {
        place: _,
        symbol,
        weak,
    } = reference;
    (!weak && known(symbol).is_none()).then_some(symbol)
}

/// Fills in a kernel function's or variable's id, a member's offset, or the cgroup's id. A weak one that this kernel lacks has the
/// address 0, as with libbpf. The error is the symbol.
pub(super) fn resolve<'a>(
    parsed: &mut aya_obj::Object,
    reference: &'a Extern,
    cgroup: Option<u64>,
) -> Result<(), &'a str> {
    let Extern {
        place,
        symbol,
        weak,
    } = reference;
    let known = known(symbol);
    let instructions = instructions_at(parsed, *place).and_then(<[_]>::split_first_mut);
    let Some((instruction, behind)) = instructions else {
        return Ok(());
    };
    match (instruction.code, known) {
        (LOAD_IMM64, Some(Known::Cgroup)) => {
            let (Some(id), Some(high)) = (cgroup, behind.first_mut()) else {
                return Err(symbol);
            };
            // The halves of the number, one in each slot of the instruction.
            instruction.imm = (id as u32).cast_signed();
            high.imm = ((id >> 32) as u32).cast_signed();
        }
        (CALL, Some(Known::Id(id))) => {
            instruction.set_src_reg(PSEUDO_KFUNC_CALL);
            instruction.imm = id.cast_signed();
        }
        (LOAD_IMM64, Some(Known::Offset(offset))) => instruction.imm = offset.cast_signed(),
        (LOAD_IMM64, Some(Known::Id(id))) => {
            instruction.set_src_reg(PSEUDO_BTF_ID);
            instruction.imm = id.cast_signed();
        }
        // A call that the verifier finds unreachable, behind a test of its address.
        (CALL, None) if *weak => {
            instruction.set_src_reg(PSEUDO_KFUNC_CALL);
            instruction.imm = 0;
        }
        (LOAD_IMM64, None) if *weak => instruction.imm = 0,
        _ => return Err(symbol),
    }
    Ok(())
}
