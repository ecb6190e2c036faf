//! Declared settings: which of them are to change, and what `save` writes of them.
//!
//! Every value is checked against its extension here, before anything is loaded or changed; nothing
//! here writes.

use std::collections::HashMap;

use super::{
    bodies::{Bodies, Body},
    draft::{present, wrong},
};
use crate::{
    control::{Control, Origin as ValueOrigin, Scope, save},
    declare::{
        Attachment, Declaration, Declared, Origin, SettingChange, Settings,
        plan::{Plan, Waiting},
    },
    error::{Error, Result},
    object::{Object, Settable},
    order::Selector,
    upgrade::Fate,
};

/// Values that have been declared, by extension and setting.
type Known = HashMap<(String, String), (Vec<u8>, Origin)>;

impl Control {
    /// Plans what is declared of settings. `names` are the extensions that are declared to be loaded
    /// or attached; with `prune` no others stay, but for those that they need.
    pub(in crate::control) fn plan_settings(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        plan: &mut Plan,
        prune: bool,
    ) -> Result<()> {
        let mut stay = Vec::new();
        let mut to_come = Vec::new();
        for Declared { what, origin } in &declaration.loads {
            stay.push(self.body(bodies, what, origin)?.0);
        }
        for Declared { what, origin } in &declaration.attachments {
            let Attachment {
                extension, place, ..
            } = what;
            let (name, _) = self.body(bodies, extension, origin)?;
            let here = present(place)
                .map_err(|error| origin.blame(error))?
                .is_some();
            let list = if here { &mut stay } else { &mut to_come };
            list.push(name);
        }
        let mut known = Known::new();
        for Declared { what, origin } in &declaration.settings {
            let (name, body) = self.body(bodies, &what.extension, origin)?;
            let changes = self.changed_settings(&name, &body, bodies, what, &mut known)?;
            let loaded = self.extension(&name).map(|extension| extension.kmid);
            let needed = |kmid| !prune || !self.dependants(kmid).is_empty();
            if stay.contains(&name) || loaded.is_some_and(needed) {
                plan.settings.extend(changes);
            } else if to_come.contains(&name) {
                plan.waiting.push(Waiting {
                    place: format!("extension {name}"),
                    origin: origin.to_string(),
                    what: "its settings".to_owned(),
                });
            } else {
                let cause = format!("{name} is not loaded; declare it with [[load]] or [[attach]]");
                return Err(wrong(origin, "set.extension", cause));
            }
        }
        plan.settings
            .sort_by(|one, other| one.extension.cmp(&other.extension));
        Ok(())
    }

    /// Those of an extension's declared settings that have another value now.
    fn changed_settings(
        &self,
        name: &str,
        body: &Body,
        bodies: &Bodies,
        declared: &Settings,
        known: &mut Known,
    ) -> Result<Vec<SettingChange>> {
        let object = body.object();
        let mut changes = Vec::new();
        for Declared { what, origin } in &declared.values {
            let (setting, text) = what;
            let key = format!("set.settings.{setting}");
            let bad = |cause: String| wrong(origin, &key, cause);
            let (settable, wanted) = checked(object, setting, text).map_err(bad)?;
            let of = (name.to_owned(), setting.clone());
            if let Some((earlier, at)) = known.get(&of) {
                if *earlier != wanted {
                    let cause = format!("{at} says another value; leave one out");
                    return Err(bad(cause));
                }
                continue;
            }
            known.insert(of, (wanted.clone(), origin.clone()));
            let place = &settable.place;
            let range = place.offset..place.offset + place.of.size;
            let fate = bodies.fate(name, &settable.map);
            let at_load = self.extension(name).is_none() || fate == Some(&Fate::Make);
            if let Some(Fate::Copy(_)) = fate {
                let cause = "its map is laid out anew by the upgrade; use `nke set` behind it";
                return Err(bad(cause.to_owned()));
            }
            let map = match at_load {
                false => {
                    let selector = Selector::Name(name.to_owned());
                    let map = self.map(&selector, &Scope::default(), &settable.map);
                    Some(map.map_err(|error| origin.blame(error))?)
                }
                true => None,
            };
            let whole = match &map {
                Some(map) => map.section()?,
                None => object.contents(&settable.map),
            };
            let zeros = vec![0; place.of.size];
            let running = whole.get(range).unwrap_or(&zeros);
            if running == wanted {
                continue;
            }
            if let Some(map) = &map {
                map.check("set", place)
                    .map_err(|error| bad(error.to_string()))?;
            }
            changes.push(SettingChange {
                extension: name.to_owned(),
                setting: setting.clone(),
                running: settable.decode(running),
                wanted: settable.decode(&wanted),
                text: text.clone(),
                at_load,
            });
        }
        Ok(changes)
    }

    /// The settings of extensions that are saved, where they are not the defaults; in words those
    /// of extensions that are there only because others need them.
    pub(in crate::control) fn save_settings(&self, saved: &mut Declaration) -> Result<Vec<String>> {
        let loads = saved.loads.iter().map(|load| load.what.to_string());
        let attached = saved.attachments.iter();
        let attached = attached.map(|attachment| attachment.what.extension.to_string());
        let named: Vec<_> = loads.chain(attached).collect();
        let mut extensions: Vec<_> = self.extensions.iter().collect();
        extensions.sort_unstable_by_key(|extension| &extension.name);
        let mut lost = Vec::new();
        for extension in extensions {
            let values = self.values_saved(&extension.name)?;
            if values.is_empty() {
                continue;
            }
            let wanted = save::spelling(extension);
            if named.contains(&wanted.to_string()) {
                let extension = wanted;
                let set = Settings { extension, values };
                saved.settings.push(save::declared(set));
            } else {
                lost.push(format!(
                    "settings of {}: it is only loaded because others need it",
                    extension.name
                ));
            }
        }
        Ok(lost)
    }

    /// What the manifest calls settings: other variables are the program's own, and change by
    /// themselves.
    fn values_saved(&self, name: &str) -> Result<Vec<Declared<(String, String)>>> {
        let selector = Selector::Name(name.to_owned());
        let (_, source) = self.extension_of(&selector, "save settings of")?;
        let manifest = source.object.manifest();
        let mut values = Vec::new();
        for setting in source.object.settings() {
            let own = manifest.own_maps().any(|own| *own == setting.map);
            if own || setting.declared.is_none() {
                continue;
            }
            let map = self.map(&selector, &Scope::default(), &setting.map)?;
            let status = self.setting_status(&source, &map, &setting)?;
            if status.source == ValueOrigin::Set {
                let what = (status.name, status.value.typed());
                values.push(save::declared(what));
            }
        }
        Ok(values)
    }
}

/// A setting and the bytes that a text means for it; what is wrong in words.
fn checked(object: &Object, name: &str, text: &str) -> Result<(Settable, Vec<u8>), String> {
    let settings = object.settings();
    let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
        let unknown = Error::NoSetting {
            extension: object.name().to_owned(),
            stage: "set",
            setting: name.to_owned(),
            has: settings.into_iter().map(|setting| setting.name).collect(),
        };
        return Err(unknown.to_string());
    };
    if object.manifest().own_maps().any(|own| *own == setting.map) {
        let cause = "each attachment or target has its own; use `nke set` once it is attached";
        return Err(cause.to_owned());
    }
    let bytes = setting.parse(text).map_err(|error| error.to_string())?;
    Ok((setting.clone(), bytes))
}
