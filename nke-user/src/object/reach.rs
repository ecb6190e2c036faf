//! Which of an object's functions each program can come to: only what those ask of the kernel is asked for by the
//! program.
//!
//! ```text
//! program in section 3 ── calls ──▶ function at 0 of .text ── calls ──▶ function at 320 of .text
//!                                   function at 640 of .text: nobody's
//! ```
//!
//! It takes every call for one that can happen, and never loads anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use aya_obj::generated::bpf_insn;
use object::{
    Endianness, Object as _, ObjectSection, ObjectSymbol as _, RelocationTarget, SectionKind,
    read::elf::ElfFile64,
};

use super::{
    Object,
    externs::{CALL, LOAD_IMM64},
};

/// A section's index, and an offset in it.
pub(super) type Place = (usize, u64);

/// Instructions that call a function of the object, or hand one on; and where that begins.
pub(super) type Calls = BTreeMap<Place, Place>;

/// An instruction's length.
const LENGTH: usize = size_of::<bpf_insn>();
/// The source register of a call of the object's own function.
const PSEUDO_CALL: u8 = 1;

/// Notes the calls of a section's code.
pub(super) fn calls<'a>(
    file: &ElfFile64<'a, Endianness>,
    section: &impl ObjectSection<'a>,
    found: &mut Calls,
) -> object::Result<()> {
    let own = section.index().0;
    let (instructions, _) = section.data()?.as_chunks::<LENGTH>();
    // Within a section calls are relative, but for those that are relocated.
    for (at, instruction) in (0i64..).zip(instructions) {
        let behind = at + 1 + i64::from(number(instruction));
        let target = behind.checked_mul(LENGTH as i64).map(u64::try_from);
        if instruction[0] == CALL
            && instruction[1] >> 4 == PSEUDO_CALL
            && let Some(Ok(target)) = target
        {
            let offset = at.unsigned_abs() * LENGTH as u64;
            found.insert((own, offset), (own, target));
        }
    }
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            continue;
        };
        let symbol = file.symbol_by_index(index)?;
        let at = usize::try_from(offset).ok().map(|offset| offset / LENGTH);
        let instruction = at.and_then(|at| instructions.get(at));
        let (Some(instruction), Some(there)) = (instruction, symbol.section_index()) else {
            continue;
        };
        if file.section_by_index(there)?.kind() != SectionKind::Text {
            continue;
        }
        let number = i64::from(number(instruction));
        let further = match instruction[0] {
            CALL => (number + 1).checked_mul(LENGTH as i64),
            LOAD_IMM64 => Some(number),
            _ => continue,
        };
        let target = further.and_then(|further| symbol.address().checked_add_signed(further));
        found.remove(&(own, offset));
        found.extend(target.map(|target| ((own, offset), (there.0, target))));
    }
    Ok(())
}

/// The number in an instruction.
const fn number(instruction: &[u8; LENGTH]) -> i32 {
    let [.., a, b, c, d] = *instruction;
    i32::from_le_bytes([a, b, c, d])
}

impl Object {
    /// Where the functions begin that the programs of a section can come to, their own among them.
    pub(super) fn reached(&self, section: usize) -> HashSet<Place> {
        let mut calls: HashMap<Place, Vec<Place>> = HashMap::new();
        for (from, to) in &self.calls {
            if let (Some(from), Some(to)) = (self.function_at(*from), self.function_at(*to)) {
                calls.entry(from).or_default().push(to);
            }
        }
        let own = self
            .parsed
            .functions
            .range((section, 0)..=(section, u64::MAX));
        let mut next: Vec<Place> = own.map(|(begin, _)| *begin).collect();
        let mut reached = HashSet::new();
        while let Some(function) = next.pop() {
            if reached.insert(function) {
                next.extend(calls.get(&function).into_iter().flatten());
            }
        }
        reached
    }

    /// Where the function begins that an instruction is of.
    pub(super) fn function_at(&self, place: Place) -> Option<Place> {
        let (begin, function) = self.parsed.functions.range(..=place).next_back()?;
        let length = u64::try_from(function.instructions.len() * LENGTH).ok()?;
        let here = begin.0 == place.0 && place.1 - begin.1 < length;
        here.then_some(*begin)
    }
}
