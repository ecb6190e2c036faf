//! How a map is laid out: all that two versions of an extension must agree on to share it.

use crate::object::{Object, kconfig};

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
        is_constant: map.section_kind() == aya_obj::EbpfSectionKind::Rodata || name == kconfig::MAP,
        fills_itself: object.initials().iter().any(|initial| initial.map == name),
    })
}

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
        let pairs = self.numbers.iter().zip(&now.numbers);
        pairs
            .map(|(before, now)| numbers(before, now))
            .find_map(|difference| difference)
    }

    /// Whether its entries can be copied to a map laid out as `to` is; why not, in words.
    pub(crate) fn can_be_copied_to(&self, to: &Self) -> Result<(), String> {
        let _: (&Self, &Self) = (self, to);
        Err("it cannot be copied".to_owned())
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
