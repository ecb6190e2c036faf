//! How a map is laid out: all that two versions of an extension must agree on to share it.

use super::convert::{Conversion, difference};
use crate::{
    object::{Object, kconfig},
    value::{Kind, Member, Type},
};

/// Whose a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Extension,
    Attachment,
    Target,
}

impl Place {
    const fn words(self) -> &'static str {
        match self {
            Self::Extension => "all attachments'",
            Self::Attachment => "each attachment's own",
            Self::Target => "each target's own",
        }
    }
}

/// A map's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) place: Place,
    /// Its numbers, and those of the maps in it, if it is a map of maps.
    numbers: Vec<Numbers>,
    /// The types of its key and value, where the object has them; what is in a map of maps is behind
    /// them.
    types: Vec<Option<Type>>,
    /// Nobody changes it: it is a part of the code.
    pub(crate) is_constant: bool,
    /// The object says which programs or maps are in it.
    pub(crate) fills_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl From<&aya_obj::Map> for Numbers {
    fn from(map: &aya_obj::Map) -> Self {
        Self {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }
}

/// The layouts of all maps that an object has, without those that others provide.
pub(crate) fn all(object: &Object) -> impl Iterator<Item = (String, Layout)> {
    let names = object.maps().map(|(name, _)| name);
    names.filter_map(|name| Some((name.to_owned(), of(object, name)?)))
}

/// The layout of one.
pub(crate) fn of(object: &Object, name: &str) -> Option<Layout> {
    let is_own = |found: &str| found == name && !object.extern_maps().iter().any(|it| it == name);
    let (_, map) = object.maps().find(|(found, _)| is_own(found))?;
    let manifest = object.manifest();
    let named = |maps: &[String]| maps.iter().any(|map| map == name);
    Some(Layout {
        place: if named(&manifest.attachment_maps) {
            Place::Attachment
        } else if named(&manifest.target_maps) {
            Place::Target
        } else {
            Place::Extension
        },
        numbers: [Some(map.clone()), map.inner()]
            .iter()
            .flatten()
            .map(Numbers::from)
            .collect(),
        types: types(object, name),
        is_constant: map.section_kind() == aya_obj::EbpfSectionKind::Rodata || name == kconfig::MAP,
        fills_itself: object.initials().iter().any(|initial| initial.map == name),
    })
}

/// The types of a map's key and value. A data section's value is a record of its variables.
fn types(object: &Object, name: &str) -> Vec<Option<Type>> {
    let variables = object.variables().into_iter();
    let members: Vec<_> = variables
        .filter(|variable| variable.section == name)
        .map(|variable| Member {
            name: variable.name,
            offset: 8 * variable.offset,
            width: None,
            of: variable.of,
        })
        .collect();
    if members.is_empty() {
        let (key, value) = object.map_types(name);
        let (inner_key, inner_value) = object.inner_types(name);
        return vec![key, value, inner_key, inner_value];
    }
    let section = Type {
        name: name.to_owned(),
        size: members
            .iter()
            .map(|m| m.offset / 8 + m.of.size)
            .max()
            .unwrap_or_default(),
        kind: Kind::Record {
            members,
            covered: Vec::new(),
        },
    };
    let index = Type {
        name: "u32".to_owned(),
        size: 4,
        kind: Kind::Int { signed: false },
    };
    vec![Some(index), Some(section)]
}

/// How entries of one map become entries of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) key: Conversion,
    pub(crate) value: Conversion,
    /// Whether all entries are there from the start.
    pub(crate) is_array: bool,
    /// Whether keys stay what they are.
    pub(crate) same_keys: bool,
}

/// The kinds of maps that can be copied (`enum bpf_map_type`).
const HASHES: [u32; 2] = [1, 9];
const PER_CPU_HASHES: [u32; 2] = [5, 10];
const ARRAYS: [u32; 2] = [2, 6];
const LRUS: [u32; 2] = [9, 10];
const LPM_TRIE: u32 = 11;

impl Layout {
    /// How `now` differs, in words; `None` if it does not.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        if self.place != now.place {
            return Some(format!(
                "it was {}, and is now {}",
                self.place.words(),
                now.place.words()
            ));
        }
        if self.numbers.len() != now.numbers.len() {
            return Some("it holds maps in one version only".to_owned());
        }
        let mut pairs = self.numbers.iter().zip(&now.numbers);
        let of_numbers = pairs.find_map(|(before, now)| numbers(before, now));
        let mut types = ["key", "value", "inner.key", "inner.value"]
            .into_iter()
            .zip(self.types.iter().zip(&now.types));
        of_numbers.or_else(|| {
            types.find_map(|(what, types)| match types {
                (Some(before), Some(now)) => difference(what, before, now),
                (None, None) => None,
                _ => Some(format!("{what}: only one of both says its type")),
            })
        })
    }

    /// How its entries are copied to a map laid out as `to` is; why they cannot be, in words.
    pub(crate) fn copy_to(&self, to: &Self) -> Result<Entries, String> {
        let (Some(before), Some(now)) = (self.numbers.first(), to.numbers.first()) else {
            return Err("nothing is known of it".to_owned());
        };
        let (old, new) = (before.map_type, now.map_type);
        let alike = |kinds: &[u32]| kinds.contains(&old) && kinds.contains(&new);
        let is_array = old == new && ARRAYS.contains(&old);
        let is_trie = old == new && old == LPM_TRIE;
        if self.place != to.place
            || !(is_array || is_trie || alike(&HASHES) || alike(&PER_CPU_HASHES))
        {
            return Err("maps of its kinds cannot be copied".to_owned());
        }
        if now.max_entries < before.max_entries && (is_array || LRUS.contains(&new)) {
            return Err("it has fewer entries, and some would be lost".to_owned());
        }
        let convert = |nth: usize, what: &str| match (&self.types.get(nth), &to.types.get(nth)) {
            (Some(Some(before)), Some(Some(now))) => {
                Conversion::new(before, now).map_err(|why| format!("{what}: {why}"))
            }
            _ => Err(format!("the types of its {what} are not known")),
        };
        let [key, value] = [convert(0, "key")?, convert(1, "value")?];
        if is_trie && before.key_size != now.key_size {
            return Err("the keys of a trie cannot change".to_owned());
        }
        Ok(Entries {
            key,
            value,
            is_array,
            same_keys: self.types.first() == to.types.first(),
        })
    }
}

fn numbers(before: &Numbers, now: &Numbers) -> Option<String> {
    let all = [
        ("its type", before.map_type, now.map_type),
        ("its key's size", before.key_size, now.key_size),
        ("its value's size", before.value_size, now.value_size),
        ("its number of entries", before.max_entries, now.max_entries),
        ("its flags", before.flags, now.flags),
    ];
    let differs = all.into_iter().find(|(_, before, now)| before != now);
    differs.map(|(what, before, now)| format!("{what} was {before}, and is now {now}"))
}
