//! Settings that an extension was given when it was loaded, and that its next version has too.
//!
//! They live among the constants, which are a part of the code: the new version begins with its own.
//! So what somebody has set there is given to it as if by `load --set`. What it cannot take is an
//! error and never forgotten in silence.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    error::{Error, Result},
    extension::Source,
    object::{Object, Preset, Settable},
    sys,
    upgrade::difference,
    value::Literal,
};

/// A setting that another version has taken over.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Literal,
}

/// Gives a new version the settings of the old one's constants that are not the defaults, but for
/// those that are given up.
pub(super) fn carry(
    before: &Source,
    object: &mut Object,
    given_up: &BTreeSet<String>,
) -> Result<Vec<Carried>> {
    let old = before.object.settings();
    let mut carried = Vec::new();
    for setting in old.iter().filter(|old| !given_up.contains(&old.name)) {
        let Some(value) = given(before, setting)? else {
            continue;
        };
        take_over(object, setting, &value).map_err(|cause| Error::SettingLost {
            name: object.name().to_owned(),
            setting: setting.name.clone(),
            value: value.to_string(),
            cause,
        })?;
        let name = setting.name.clone();
        carried.push(Carried { name, value });
    }
    Ok(carried)
}

/// Refuses a name that is no setting of the old version.
pub(super) fn refuse_unknown(before: &Source, given_up: &BTreeSet<String>) -> Result<()> {
    let old = before.object.settings();
    let has = |name: &&String| old.iter().any(|setting| setting.name == **name);
    if let Some(setting) = given_up.iter().find(|name| !has(name)) {
        return Err(Error::NoSetting {
            extension: before.object.name().to_owned(),
            stage: "upgrade",
            setting: setting.clone(),
            has: old.into_iter().map(|setting| setting.name).collect(),
        });
    }
    Ok(())
}

/// The value of a constant that is not its default.
fn given(before: &Source, setting: &Settable) -> Result<Option<Literal>> {
    let Some(map) = before
        .map(&setting.map)
        .filter(|_| before.object.is_constant(&setting.map))
    else {
        return Ok(None);
    };
    let failed = |source| Error::Kernel {
        object: format!("{}: map {}", before.object.name(), setting.map),
        stage: "read settings of",
        source,
        remedy: "try again",
    };
    let size = sys::map::describe(map).map_err(failed)?.value_size;
    let mut section = vec![0; size as usize];
    sys::map::lookup(map, &0u32.to_ne_bytes(), &mut section).map_err(failed)?;
    let place = &setting.place;
    let range = place.offset..place.offset + place.of.size;
    let initial = before.object.contents(&setting.map);
    let zeros = vec![0; place.of.size];
    let default = initial.get(range.clone()).unwrap_or(&zeros);
    let value = section.get(range).unwrap_or(default);
    Ok((value != default).then(|| setting.decode(value)))
}

/// Gives the new version a value, if it has a setting of that name and type; why not, in words.
fn take_over(object: &mut Object, old: &Settable, value: &Literal) -> Result<(), String> {
    let version = object.manifest().version.clone();
    let settings = object.settings();
    let Some(new) = settings.iter().find(|new| new.name == old.name) else {
        return Err(format!("{version} has no such setting"));
    };
    let same = match (&old.declared, &new.declared) {
        (Some(before), Some(now)) => before.kind == now.kind,
        (None, None) => difference("", &old.place.of, &new.place.of).is_none(),
        (Some(_), None) | (None, Some(_)) => old.place.of.size == new.place.of.size,
    };
    if !same {
        let (was, is) = (old.type_name(), new.type_name());
        return Err(format!("it was {was}, and is {is} in {version}"));
    }
    object
        .preset(&old.name, &value.typed())
        .map_err(|refused| match refused {
            Preset::Unknown(_) => format!("{version} has no such setting"),
            Preset::Own(map) => {
                format!("it is in {map} in {version}, of which each attachment has its own")
            }
            Preset::Value(error) => format!("{version} does not take it: {error}"),
        })
}
