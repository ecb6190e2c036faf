//! Makes definitions of the maps that an object only names (`extern struct { … } FLOWS
//! SEC(".maps");`), so that aya-obj can parse it.
//!
//! Such a map is another extension's, and the loader gives that one's in its place: what is
//! written here says only what the author takes it for. An undefined symbol becomes one of the
//! section `.maps`, which is made if the object has none; and its variable in `.BTF` a global one.
//! The file that is kept is never changed, only the copy that is parsed.

use object::{
    LittleEndian,
    elf::{FileHeader64, SHF_ALLOC, SHF_WRITE, SHT_PROGBITS, SHT_SYMTAB, STT_OBJECT, Sym64},
    from_bytes,
    pod::{bytes_of, bytes_of_slice},
    slice_from_bytes,
};

use super::{
    btf::Types,
    rename::{ENDIAN, Section, append, contents, find, set_u32, string_at},
};

/// Defines the maps of these names. `None` if a table is malformed.
pub(super) fn maps(bytes: &[u8], names: &[String]) -> Option<Vec<u8>> {
    let header: &FileHeader64<LittleEndian> = from_bytes(bytes).ok()?.0;
    let mut header = *header;
    let table = usize::try_from(header.e_shoff.get(ENDIAN)).ok()?;
    let sections = slice_from_bytes(bytes.get(table..)?, header.e_shnum.get(ENDIAN).into());
    let sections: &[Section] = sections.ok()?.0;
    let titles = usize::from(header.e_shstrndx.get(ENDIAN));
    let btf = find(bytes, sections, titles, b".BTF")?;
    let present = find(bytes, sections, titles, b".maps");
    let mut definitions = match present {
        Some(at) => contents(bytes, sections.get(at)?)?.to_vec(),
        None => Vec::new(),
    };
    let at = present.unwrap_or(sections.len());
    let (table, symbols) = define_symbols(bytes, sections, names, &mut definitions, at)?;
    let mut types = contents(bytes, sections.get(btf)?)?.to_vec();
    let edits = Types::parse(&types)?.define_maps()?;
    for (at, word) in edits {
        set_u32(&mut types, at, word)?;
    }

    let mut sections = sections.to_vec();
    let mut output = bytes.to_vec();
    if present.is_none() {
        let mut strings = contents(bytes, sections.get(titles)?)?.to_vec();
        sections.push(new_section(u32::try_from(strings.len()).ok()?));
        strings.extend_from_slice(b".maps\0");
        append(&mut output, sections.get_mut(titles)?, &strings);
    }
    append(&mut output, sections.get_mut(btf)?, &types);
    let symbols = bytes_of_slice(&symbols);
    append(&mut output, sections.get_mut(table)?, symbols);
    append(&mut output, sections.get_mut(at)?, &definitions);

    // The table has grown, and moves.
    output.resize(output.len().next_multiple_of(8), 0);
    header
        .e_shoff
        .set(ENDIAN, u64::try_from(output.len()).ok()?);
    header
        .e_shnum
        .set(ENDIAN, u16::try_from(sections.len()).ok()?);
    output.extend_from_slice(bytes_of_slice(&sections));
    output
        .get_mut(..size_of_val(&header))?
        .copy_from_slice(bytes_of(&header));
    Some(output)
}

fn new_section(name: u32) -> Section {
    let mut section = Section {
        sh_name: object::U32::new(ENDIAN, name),
        sh_type: object::U32::new(ENDIAN, SHT_PROGBITS),
        sh_flags: object::U64::default(),
        sh_addr: object::U64::default(),
        sh_offset: object::U64::default(),
        sh_size: object::U64::default(),
        sh_link: object::U32::default(),
        sh_info: object::U32::default(),
        sh_addralign: object::U64::new(ENDIAN, 8),
        sh_entsize: object::U64::default(),
    };
    section
        .sh_flags
        .set(ENDIAN, u64::from(SHF_ALLOC | SHF_WRITE));
    section
}

/// A definition's bytes; nobody reads them.
const DEFINITION: usize = 32;

type Symbol = Sym64<LittleEndian>;

/// Gives each name a place behind the definitions that there are: the symbol table's number, and
/// its contents.
fn define_symbols(
    bytes: &[u8],
    sections: &[Section],
    names: &[String],
    definitions: &mut Vec<u8>,
    section: usize,
) -> Option<(usize, Vec<Symbol>)> {
    let is_table = |section: &Section| section.sh_type.get(ENDIAN) == SHT_SYMTAB;
    let table = sections.iter().position(is_table)?;
    let strings = usize::try_from(sections.get(table)?.sh_link.get(ENDIAN)).ok()?;
    let strings = contents(bytes, sections.get(strings)?)?;
    let symbols = contents(bytes, sections.get(table)?)?;
    let count = symbols.len() / size_of::<Symbol>();
    let symbols: &[Symbol] = slice_from_bytes(symbols, count).ok()?.0;
    let mut symbols = symbols.to_vec();
    for symbol in &mut symbols {
        let name = string_at(strings, symbol.st_name.get(ENDIAN))?;
        let named = names.iter().any(|other| other.as_bytes() == name);
        if !named || symbol.st_shndx.get(ENDIAN) != 0 {
            continue;
        }
        symbol.set_st_info(symbol.st_bind(), STT_OBJECT);
        symbol.st_shndx.set(ENDIAN, u16::try_from(section).ok()?);
        symbol.st_value.set(ENDIAN, definitions.len() as u64);
        symbol.st_size.set(ENDIAN, DEFINITION as u64);
        definitions.resize(definitions.len() + DEFINITION, 0);
    }
    Some((table, symbols))
}
