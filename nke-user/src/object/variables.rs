//! The global variables of an object: where they lie in its sections, and their types.
//!
//! The file's symbols say where, its types what. Compilers leave the places in the types open.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use super::btf::{KIND_DATASEC, KIND_VAR, Types, u32_at};
use crate::value::Type;

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name, by which no other of its section goes.
    pub(crate) name: String,
    /// The section that it is in, which is a map of this name.
    pub(crate) section: String,
    /// Bytes from the section's start.
    pub(crate) offset: usize,
    /// Its type; bytes that say nothing where the object has no types.
    pub(crate) of: Type,
    /// Whether other files of its program could know it, had it any.
    pub(crate) global: bool,
}

/// The linkage of a variable that other files can know.
const GLOBAL: u32 = 1;

/// The types of variables, and whether they are global, by section and name.
fn declared(types: &Types<'_>) -> BTreeMap<(String, String), (u32, bool)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut declared = BTreeMap::new();
    for section in types
        .ids()
        .filter(|id| types.kind(*id) == Some(KIND_DATASEC))
    {
        let (Some(record), Some(name)) = (types.record(section), types.name_of(section)) else {
            continue;
        };
        let count = u32_at(record, 4).unwrap_or_default() as usize & 0xffff;
        for at in (0..count).map(|nth| 12 + 12 * nth) {
            let variable = u32_at(record, at).filter(|id| types.kind(*id) == Some(KIND_VAR));
            let found = variable.and_then(|id| {
                let linkage = u32_at(types.record(id)?, 12)?;
                let of = (types.refers_to(id)?, linkage == GLOBAL);
                Some(((text(name), text(types.name_of(id)?)), of))
            });
            declared.extend(found);
        }
    }
    declared
}

/// The variables of the sections that `is_map` names, in the order in which they lie there.
pub(super) fn read(
    bytes: &[u8],
    btf: Option<&[u8]>,
    is_map: impl Fn(&str) -> bool,
) -> Vec<Variable> {
    let Ok(file) = object::File::parse(bytes) else {
        return Vec::new();
    };
    let types = btf.and_then(Types::parse);
    let declared = types.as_ref().map(declared).unwrap_or_default();
    let mut variables = Vec::new();
    for symbol in file.symbols() {
        let section = symbol
            .section_index()
            .and_then(|index| file.section_by_index(index).ok());
        let (Some(section), Ok(name)) = (section, symbol.name()) else {
            continue;
        };
        let (Ok(section_name), Ok(offset), Ok(size)) = (
            section.name(),
            usize::try_from(symbol.address()),
            usize::try_from(symbol.size()),
        ) else {
            continue;
        };
        let end = symbol.address().checked_add(symbol.size());
        let is_within = end.is_some_and(|end| end <= section.size());
        let is_data = matches!(symbol.kind(), SymbolKind::Data | SymbolKind::Unknown);
        if name.is_empty() || size == 0 || !is_within || !is_data || !is_map(section_name) {
            continue;
        }
        let key = (section_name.to_owned(), name.to_owned());
        let found = declared.get(&key).copied();
        let of = found
            .zip(types.as_ref())
            .and_then(|((id, _), types)| Type::of(types, id));
        variables.push(Variable {
            name: key.1,
            section: key.0,
            offset,
            of: of
                .filter(|of| of.size == size)
                .unwrap_or_else(|| Type::opaque(size)),
            global: symbol.is_global() && found.is_none_or(|(_, global)| global),
        });
    }
    variables.sort_by(|a, b| (&a.section, a.offset, &a.name).cmp(&(&b.section, b.offset, &b.name)));
    // Static ones of several functions can have one name.
    variables.dedup_by(|next, one| next.name == one.name && next.section == one.section);
    variables
}
