//! Helpers that an extension can do without: `requires.optional-helpers` of its manifest.
//!
//! A kernel that lacks a helper refuses every program with a call of it, reached or not. So the function that makes
//! the call is left out there: one that answers 0 takes its place, and what only it called is not linked at all.
//!
//! Nothing is left out of a program's own function, which would then say nothing about packets.

use aya_obj::{Function, generated::bpf_insn};
use object::SectionIndex;

use super::{Object, externs::CALL, needs::has_or_is_newer};
use crate::{
    kernel::known::{self, Kind},
    place::asm,
};

/// Whether the running kernel has a helper, by its name without `bpf_`.
pub(crate) fn has_helper(name: &str) -> bool {
    has_or_is_newer(Kind::Helper, name).unwrap_or_default()
}

impl Object {
    /// Whether it can do without the helper of this number.
    pub(super) fn does_without(&self, number: u32) -> bool {
        let name = known::name(Kind::Helper, number);
        name.is_some_and(|name| self.optional_helpers().any(|known| known == name))
    }

    fn optional_helpers(&self) -> impl Iterator<Item = &str> {
        let names = self.manifest.requires.optional_helpers.iter();
        names.map(|name| name.strip_prefix("bpf_").unwrap_or(name))
    }

    /// The numbers of the helpers that it can do without and the running kernel lacks.
    pub(super) fn done_without(&self) -> Vec<u32> {
        let lacking = self.optional_helpers().filter(|name| !has_helper(name));
        lacking
            .filter_map(|name| known::number(Kind::Helper, name))
            .collect()
    }
}

/// Leaves out what calls one of these helpers.
pub(super) fn leave_out(parsed: &mut aya_obj::Object, helpers: &[u32]) {
    let own: Vec<_> = parsed
        .programs
        .values()
        .map(|program| program.function_key())
        .collect();
    for (key, function) in &mut parsed.functions {
        if !own.contains(key) && calls(function, helpers) {
            *function = says_nothing(function);
        }
    }
}

fn calls(function: &Function, helpers: &[u32]) -> bool {
    let calls = |it: &&bpf_insn| it.code == CALL && it.src_reg() == 0;
    let mut called = function.instructions.iter().filter(calls);
    called.any(|it| u32::try_from(it.imm).is_ok_and(|number| helpers.contains(&number)))
}

/// A function that answers 0, in the place of another.
fn says_nothing(function: &Function) -> Function {
    let mut it = function.clone();
    it.instructions = vec![asm::mov_imm(asm::R0, 0), asm::exit()];
    // Of nothing in it is said in the file what stands there.
    it.section_index = SectionIndex(usize::MAX);
    it.line_info.line_info.truncate(1);
    it.line_info.num_info = it.line_info.line_info.len().min(1) as u32;
    it
}
