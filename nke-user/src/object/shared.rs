//! Whether what an object takes another's map for is what that map is.
//!
//! A pure comparison of two definitions: type of map, sizes, number of entries, and the types of
//! key and value by [their layout](super::layout). An object may leave open how many entries
//! there are, and one without type information says only sizes.

use aya_obj::Map;

use super::{
    Object,
    btf::Types,
    layout::{Difference, Of, difference},
};

/// How `one`'s definition of a map differs from that of `other`, whose map it is; in words.
/// Both must have it.
pub(crate) fn map_difference(one: &Object, other: &Object, map: &str) -> Option<String> {
    let (ours, theirs) = (one.map_named(map)?, other.map_named(map)?);
    let (bytes, other_bytes) = (one.btf(), other.btf());
    let types = bytes.as_deref().and_then(Types::parse);
    let other_types = other_bytes.as_deref().and_then(Types::parse);
    definitions(ours, types.as_ref(), theirs, other_types.as_ref())
}

fn definitions(
    ours: &Map,
    types: Option<&Types<'_>>,
    theirs: &Map,
    other_types: Option<&Types<'_>>,
) -> Option<String> {
    let numbers = [
        ("its map type", ours.map_type(), theirs.map_type()),
        ("the size of its key", ours.key_size(), theirs.key_size()),
        (
            "the size of its value",
            ours.value_size(),
            theirs.value_size(),
        ),
    ];
    let open = ours.max_entries() == 0;
    let entries = ("its max_entries", ours.max_entries(), theirs.max_entries());
    let entries = (!open).then_some(entries);
    let differing = numbers.into_iter().chain(entries).find(|(_, a, b)| a != b);
    if let Some((what, here, there)) = differing {
        return Some(format!("{what} is {here} here, and {there} there"));
    }
    if let (Some(types), Some(other_types)) = (types, other_types) {
        let ids = |map: &Map| match map {
            Map::Btf(map) => [map.def.btf_key_type_id, map.def.btf_value_type_id],
            Map::Legacy(_) => [0, 0],
        };
        for (what, (id, other_id)) in ["key", "value"]
            .into_iter()
            .zip(ids(ours).into_iter().zip(ids(theirs)))
        {
            // 0 is void: only the size is said.
            if id == 0 || other_id == 0 {
                continue;
            }
            let one = Of { types, id };
            let other = Of {
                types: other_types,
                id: other_id,
            };
            if let Some(Difference { place, one, other }) = difference(one, other) {
                return Some(format!(
                    "its {what}{place} is {one} here, and {other} there"
                ));
            }
        }
    }
    match (ours.inner(), theirs.inner()) {
        (Some(ours), Some(theirs)) => definitions(&ours, types, &theirs, other_types)
            .map(|difference| format!("of the maps in it, {difference}")),
        _ => None,
    }
}
