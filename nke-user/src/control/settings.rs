//! `get` and `set`: an extension's settings, read and changed while it works.
//!
//! All that one command sets is checked before any of it is written. Each is written at once: a program
//! sees the old value or the new one, never a part of either. This module must never write what it
//! has not checked.
//!
//! ```no_run
//! use nke::control::{Control, Scope};
//!
//! let mut control = Control::open("/run/nke".as_ref())?;
//! let Ok(filter) = "packet-filter".parse();
//! control.set(&filter, &Scope::default(), &[("log-lines".to_owned(), "10".to_owned())])?;
//! # Ok::<(), nke::error::Error>(())
//! ```

use serde::Serialize;

use super::{
    Control, ExtensionStatus, Scope,
    act::{self, Act},
};
use crate::{
    error::{Error, Result},
    extension::Build,
    extension::Source,
    find::Wanted,
    holder,
    maps::Map,
    object::{Object, Preset, Settable},
    order::Selector,
    value::Literal,
};

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It is the default.
    Default,
    /// It is another: somebody set it, or a program did.
    Set,
}

/// A setting, with its value in force. This is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct SettingStatus {
    /// Its name.
    pub name: String,
    /// Its type, as the manifest or the object declares it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is.
    pub value: Literal,
    /// What it is when nobody says otherwise.
    pub default: Literal,
    /// Where its value comes from.
    pub source: Origin,
    /// Whether it can be set while the extension is loaded; if not, `load --set` does.
    pub live: bool,
    /// The lowest number that it takes.
    pub minimum: Option<Literal>,
    /// The highest number that it takes.
    pub maximum: Option<Literal>,
    /// What it does.
    pub description: String,
    /// The map that it lives in.
    pub map: String,
}

/// A change that has been checked.
pub(super) struct Change {
    map: Map,
    setting: Settable,
    bytes: Vec<u8>,
    /// What it was before.
    before: Vec<u8>,
}

impl Change {
    /// Puts it in force.
    pub(super) fn write(&self) -> Result<()> {
        self.map.put(&self.setting.place, &self.bytes)
    }

    /// Puts what was there before in force again.
    pub(super) fn take_back(&self) -> Result<()> {
        self.map.put(&self.setting.place, &self.before)
    }
}

impl Control {
    /// An extension's settings. Those that live in maps of an attachment's or target's own are of the
    /// attachment that the selector means in the scope.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`]; as [`Control::map`] for those of attachments.
    pub fn settings(&self, selector: &Selector, scope: &Scope) -> Result<Vec<SettingStatus>> {
        let (_, source) = self.extension_of(selector, "get settings of")?;
        let settings = source.object.settings();
        let one = |setting: &Settable| {
            let map = self.map(selector, scope, &setting.map)?;
            self.setting_status(&source, &map, setting)
        };
        settings.iter().map(one).collect()
    }

    /// Sets settings, by name and text: all of them, or none. They are as they then are in the
    /// result.
    ///
    /// # Errors
    ///
    /// [`Error::NoSetting`], [`Error::Value`]; [`Error::MapUse`] for one that cannot be changed while
    /// its extension is loaded; as [`Control::settings`].
    pub fn set(
        &mut self,
        selector: &Selector,
        scope: &Scope,
        values: &[(String, String)],
    ) -> Result<Vec<SettingStatus>> {
        let (_, source) = self.extension_of(selector, "set settings of")?;
        let changes = self.prepare_set(selector, scope, values)?;
        let mut acts: Vec<_> = changes.into_iter().map(Act::from).collect();
        act::do_all(&self.state, &mut acts, || Ok(()))?;
        let changed = acts.iter().filter_map(|act| match act {
            Act::Setting(change) => Some(&**change),
            Act::Rules { .. } | Act::Set { .. } | Act::Record { .. } => None,
        });
        let status = |change: &Change| {
            let Change { map, setting, .. } = change;
            self.setting_status(&source, map, setting)
        };
        changed.map(status).collect()
    }

    /// Checks settings that are to be set, and reads what they are now.
    pub(super) fn prepare_set(
        &self,
        selector: &Selector,
        scope: &Scope,
        values: &[(String, String)],
    ) -> Result<Vec<Change>> {
        let (extension, source) = self.extension_of(selector, "set settings of")?;
        let settings = source.object.settings();
        let mut changes = Vec::new();
        for (name, text) in values {
            let Some(setting) = settings.iter().find(|setting| setting.name == *name) else {
                return Err(Error::NoSetting {
                    extension: extension.name.clone(),
                    stage: "set",
                    setting: name.clone(),
                    has: settings.into_iter().map(|setting| setting.name).collect(),
                });
            };
            let bytes = setting.parse(text).map_err(|source| Error::Value {
                object: format!("extension {}: setting {name}", extension.name),
                stage: "set",
                source: Box::new(source),
            })?;
            let map = self.map(selector, scope, &setting.map)?;
            map.check("set", &setting.place)?;
            let range = setting.place.offset..setting.place.offset + bytes.len();
            let before = map.section()?.get(range).unwrap_or_default().to_vec();
            let setting = setting.clone();
            changes.push(Change {
                map,
                setting,
                bytes,
                before,
            });
        }
        Ok(changes)
    }

    /// Loads an extension with settings, or sets them and raises the load count if it is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`Control::load`] and [`Control::set`].
    pub fn load_set(
        &mut self,
        wanted: &Wanted,
        values: &[(String, String)],
    ) -> Result<ExtensionStatus> {
        if let Some(name) = self.meant(wanted).map(|found| found.name.clone()) {
            // It must be the same file before anything of it is set.
            self.obtain(wanted, None)?;
            let selector = Selector::Name(name);
            self.set(&selector, &Scope::default(), values)?;
            return self.load(wanted);
        }
        let kmid = self.bring_in_set(wanted, Some(&holder::caller()), Build::Current, values)?;
        self.extension_status(kmid)
    }

    pub(super) fn setting_status(
        &self,
        source: &Source,
        map: &Map,
        setting: &Settable,
    ) -> Result<SettingStatus> {
        let place = &setting.place;
        let range = place.offset..place.offset + place.of.size;
        let initial = source.object.contents(&setting.map);
        let zeros = vec![0; place.of.size];
        let default = initial.get(range.clone()).unwrap_or(&zeros);
        let element = map.section()?;
        let value = element.get(range).unwrap_or_default();
        let bound = |bound: Option<String>| bound.map(Literal::Word);
        let declared = setting.declared.as_ref();
        Ok(SettingStatus {
            name: setting.name.clone(),
            kind: setting.type_name(),
            value: setting.decode(value),
            default: setting.decode(default),
            source: if value == default {
                Origin::Default
            } else {
                Origin::Set
            },
            live: map.check("set", place).is_ok(),
            minimum: bound(
                declared
                    .and_then(|d| d.minimum.as_ref())
                    .map(ToString::to_string),
            ),
            maximum: bound(
                declared
                    .and_then(|d| d.maximum.as_ref())
                    .map(ToString::to_string),
            ),
            description: declared.map_or_else(String::new, |d| d.description.clone()),
            map: setting.map.clone(),
        })
    }
}

/// Gives an object settings before it is loaded.
pub(super) fn preset(object: &mut Object, values: &[(String, String)]) -> Result<()> {
    for (name, text) in values {
        object.preset(name, text).map_err(|error| match error {
            Preset::Unknown(has) => Error::NoSetting {
                extension: object.name().to_owned(),
                stage: "set",
                setting: name.clone(),
                has,
            },
            Preset::Own(map) => Error::MapUse {
                map: format!("{}: map {map}", object.name()),
                stage: "set",
                kind: "attachment map",
                reason: "each attachment or target has its own: use `nke set` once it is attached",
            },
            Preset::Value(source) => Error::Value {
                object: format!("extension {}: setting {name}", object.name()),
                stage: "set",
                source: Box::new(source),
            },
        })?;
    }
    Ok(())
}
