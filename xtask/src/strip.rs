//! Takes the debug information of Rust's compiler out of an object.
//!
//! The linker needs it to make the BTF that the kernel wants; nobody needs it after that, and it
//! is nine tenths of the file, all of which `nke` keeps in the kernel. What a loader reads stays:
//! code, maps, symbols, relocations, BTF.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The same object without DWARF.
pub(crate) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("not an ELF object")?;
    for section in elf.sections.iter_mut() {
        let name = section.name.as_slice();
        let name = name.strip_prefix(b".rel").unwrap_or(name);
        if name.starts_with(b".debug_") {
            section.delete = true;
        }
    }
    // LLVM keeps the names of sections and symbols in one table; here each has its own.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped)
        .context("cannot write the object again")?;
    Ok(stripped)
}
