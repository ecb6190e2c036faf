//! The initial values of maps: libbpf's `.values` of program arrays and of maps of maps.
//!
//! They are relocations of the section `.maps`: each names a map's slot by its place, and by its
//! symbol the program or map that belongs there.

use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind,
    read::elf::{ElfFile64, ElfSymbol64},
};

use super::btf::Types;

/// A slot of a map that the object fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Initial {
    pub(crate) map: String,
    pub(crate) index: u32,
    pub(crate) value: Value,
}

/// What goes into a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Program(String),
    Map(String),
}

type File<'a> = ElfFile64<'a, Endianness>;

/// Reads the slots that are filled. `None` if a table is malformed.
pub(super) fn read(file: &File<'_>) -> Option<Vec<Initial>> {
    let (Some(section), Some(btf)) = (file.section_by_name(".maps"), file.section_by_name(".BTF"))
    else {
        return Some(Vec::new());
    };
    let (index, data) = (section.index(), section.data().ok()?);
    let types = Types::parse(btf.data().ok()?)?;
    let mut found = Vec::new();
    for (offset, relocation) in section.relocations() {
        let covers = |symbol: &ElfSymbol64<'_, '_, Endianness>| {
            symbol.section_index() == Some(index)
                && symbol.kind() != SymbolKind::Section
                && offset
                    .checked_sub(symbol.address())
                    .is_some_and(|inside| inside < symbol.size())
        };
        let map = file.symbols().find(covers)?;
        let name = map.name().ok()?;
        let inside = offset.checked_sub(map.address())?;
        let inside = inside.checked_sub(types.values_offset(name)?)?;
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            return None;
        };
        found.push(Initial {
            map: name.to_owned(),
            index: u32::try_from(inside / 8).ok()?,
            value: value(file, &file.symbol_by_index(symbol).ok()?, data, offset)?,
        });
    }
    Some(found)
}

/// What a symbol stands for. One of a whole section has the place in it written at the slot.
fn value(
    file: &File<'_>,
    symbol: &ElfSymbol64<'_, '_, Endianness>,
    data: &[u8],
    offset: u64,
) -> Option<Value> {
    let section = symbol.section_index()?;
    let name = if symbol.kind() == SymbolKind::Section {
        let at = usize::try_from(offset).ok()?;
        let address = u64::from_le_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?);
        let is = |other: &ElfSymbol64<'_, '_, Endianness>| {
            other.section_index() == Some(section)
                && other.kind() != SymbolKind::Section
                && other.address() == address
        };
        file.symbols().find(is)?.name().ok()?
    } else {
        symbol.name().ok()?
    };
    let in_maps = file.section_by_index(section).ok()?.name() == Ok(".maps");
    Some(if in_maps {
        Value::Map(name.to_owned())
    } else {
        Value::Program(name.to_owned())
    })
}
