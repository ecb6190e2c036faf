//! Renames the program sections of an ELF file to names that aya-obj knows.
//!
//! A section is known by name in two tables: the ELF file's own, and the strings of `.BTF`,
//! which `.BTF.ext` refers to when it says where functions, lines and relocations are. Neither
//! can be edited in place (linkers share the tails of strings), so both are copied to the file's
//! end with the new names behind them.

use object::{
    LittleEndian,
    elf::{FileHeader64, SectionHeader64},
    from_bytes,
    pod::bytes_of,
    slice_from_bytes,
};

use super::btf::Types;

pub(super) const ENDIAN: LittleEndian = LittleEndian;

pub(super) type Section = SectionHeader64<LittleEndian>;

/// The name of the program section with this index: a kind that aya-obj knows, and a part that
/// keeps it apart from others.
fn new_name(index: usize) -> String {
    format!("classifier/{index}\0")
}

/// Renames the sections given by index and present name. `None` if a table is malformed.
pub(super) fn programs(bytes: &[u8], renamed: &[(usize, &str)]) -> Option<Vec<u8>> {
    let header: &FileHeader64<LittleEndian> = from_bytes(bytes).ok()?.0;
    let table = usize::try_from(header.e_shoff.get(ENDIAN)).ok()?;
    let sections: &[Section] =
        slice_from_bytes(bytes.get(table..)?, header.e_shnum.get(ENDIAN).into())
            .ok()?
            .0;
    let names = usize::from(header.e_shstrndx.get(ENDIAN));
    let btf = find(bytes, sections, names, b".BTF");
    let btf_ext = find(bytes, sections, names, b".BTF.ext");

    let mut sections = sections.to_vec();
    let mut output = bytes.to_vec();
    let mut strings = contents(bytes, sections.get(names)?)?.to_vec();
    for (index, _) in renamed {
        sections
            .get_mut(*index)?
            .sh_name
            .set(ENDIAN, u32::try_from(strings.len()).ok()?);
        strings.extend_from_slice(new_name(*index).as_bytes());
    }
    append(&mut output, sections.get_mut(names)?, &strings);
    if let Some(btf) = btf {
        let mut types = contents(bytes, sections.get(btf)?)?.to_vec();
        let found = Types::parse(&types)?;
        // Without a name such a member is passed over.
        let unnamed = found
            .function_values()
            .into_iter()
            .map(|member| (member, 0));
        let edits: Vec<_> = found
            .without_externs()?
            .into_iter()
            .chain(unnamed)
            .collect();
        for (at, word) in edits {
            set_u32(&mut types, at, word)?;
        }
        if let Some(btf_ext) = btf_ext {
            let mut infos = contents(bytes, sections.get(btf_ext)?)?.to_vec();
            rename_infos(&mut types, &mut infos, renamed)?;
            append(&mut output, sections.get_mut(btf_ext)?, &infos);
        }
        append(&mut output, sections.get_mut(btf)?, &types);
    }
    for (index, section) in sections.iter().enumerate() {
        let at = table + index * size_of::<Section>();
        output
            .get_mut(at..at + size_of::<Section>())?
            .copy_from_slice(bytes_of(section));
    }
    Some(output)
}

pub(super) fn contents<'a>(bytes: &'a [u8], section: &Section) -> Option<&'a [u8]> {
    let start = usize::try_from(section.sh_offset.get(ENDIAN)).ok()?;
    let length = usize::try_from(section.sh_size.get(ENDIAN)).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

pub(super) fn find(bytes: &[u8], sections: &[Section], names: usize, name: &[u8]) -> Option<usize> {
    let strings = contents(bytes, sections.get(names)?)?;
    sections
        .iter()
        .position(|section| string_at(strings, section.sh_name.get(ENDIAN)) == Some(name))
}

pub(super) fn string_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings
        .get(offset as usize..)?
        .split(|byte| *byte == 0)
        .next()
}

/// Puts a section's new contents at the end of the file.
pub(super) fn append(output: &mut Vec<u8>, section: &mut Section, contents: &[u8]) {
    output.resize(output.len().next_multiple_of(8), 0);
    section.sh_offset.set(ENDIAN, output.len() as u64);
    section.sh_size.set(ENDIAN, contents.len() as u64);
    output.extend_from_slice(contents);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(super) fn set_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes
        .get_mut(at..at.checked_add(4)?)?
        .copy_from_slice(&value.to_le_bytes());
    Some(())
}

/// Adds the new names to the strings of `.BTF`, and lets the section names of `.BTF.ext` (its
/// function, line and CO-RE subsections, each a record size and then name, count, records) refer
/// to them.
fn rename_infos(btf: &mut Vec<u8>, ext: &mut [u8], renamed: &[(usize, &str)]) -> Option<()> {
    let start = u32_at(btf, 4)? as usize + u32_at(btf, 16)? as usize;
    let strings = btf.get(start..)?.to_vec();
    let mut offsets = Vec::new();
    for (index, old) in renamed {
        offsets.push((old.as_bytes(), u32::try_from(btf.len() - start).ok()?));
        btf.extend_from_slice(new_name(*index).as_bytes());
    }
    let length = u32::try_from(btf.len() - start).ok()?;
    set_u32(btf, 20, length)?;

    let header = u32_at(ext, 4)? as usize;
    let subsections = if header >= 32 { 3 } else { 2 };
    for field in (0..subsections).map(|nth| 8 + 8 * nth) {
        let mut at = header + u32_at(ext, field)? as usize;
        let end = at + u32_at(ext, field + 4)? as usize;
        if at == end {
            continue;
        }
        let record = u32_at(ext, at)? as usize;
        at += 4;
        while at < end {
            let name = string_at(&strings, u32_at(ext, at)?)?;
            if let Some((_, offset)) = offsets.iter().find(|(old, _)| *old == name) {
                set_u32(ext, at, *offset)?;
            }
            at += 8 + record.checked_mul(u32_at(ext, at + 4)? as usize)?;
        }
    }
    Some(())
}
