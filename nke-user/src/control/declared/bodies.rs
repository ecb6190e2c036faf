//! What the extensions of a declaration are: as they are loaded, or as their files have them.
//!
//! Reads files and the state, and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    rc::Rc,
};

use crate::{
    control::Control,
    declare::{Declaration, Origin, plan::Upgrading},
    error::{Error, Result},
    extension::{Extension, Source},
    find::{Wanted, find},
    object::Object,
    upgrade::{Fate, Plan},
};

/// An extension's object: as it is loaded, or as its file has it.
pub(in crate::control) enum Body {
    Loaded(Rc<Source>),
    File(Box<Object>),
}

impl Body {
    pub(in crate::control) fn object(&self) -> &Object {
        match self {
            Self::Loaded(source) => &source.object,
            Self::File(object) => object,
        }
    }
}

/// An extension as it is declared.
pub(in crate::control) struct Named {
    /// How it is asked for, the first time.
    pub(in crate::control) wanted: Wanted,
    /// Where that is.
    pub(in crate::control) origin: Origin,
    pub(in crate::control) body: Rc<Body>,
    /// The upgrade that it takes, if another version is loaded.
    pub(in crate::control) upgrade: Option<Upgrade>,
}

/// An upgrade to what is declared.
pub(in crate::control) struct Upgrade {
    /// What is loaded.
    pub(in crate::control) old: Extension,
    /// The file of the other version.
    pub(in crate::control) path: PathBuf,
    /// What becomes of the maps.
    pub(in crate::control) plan: Plan,
}

/// Objects: by their extensions' names, and by how they are asked for.
#[derive(Default)]
pub(in crate::control) struct Bodies {
    pub(super) named: BTreeMap<String, Named>,
    spelt: HashMap<String, (String, Rc<Body>)>,
}

impl Bodies {
    /// The object that an extension is upgraded to.
    pub(super) fn upgraded(&self, extension: &str) -> Option<&Object> {
        let named = self.named.get(extension)?;
        named.upgrade.as_ref().map(|_| named.body.object())
    }

    /// What becomes of a map of an extension that is upgraded.
    pub(super) fn fate(&self, extension: &str, map: &str) -> Option<&Fate> {
        let upgrade = self.named.get(extension)?.upgrade.as_ref()?;
        upgrade.plan.fates.get(map)
    }

    /// Whether a map of a loaded extension stays the one that it is.
    pub(super) fn keeps(&self, extension: &str, map: &str) -> bool {
        let named = self.named.get(extension);
        let upgrade = named.and_then(|named| named.upgrade.as_ref());
        upgrade.is_none_or(|upgrade| upgrade.plan.keeps(map))
    }

    /// All upgrades.
    pub(super) fn upgrades(&self) -> Vec<Upgrading> {
        let named = self.named.values();
        let upgrades = named.filter_map(|named| {
            let old = &named.upgrade.as_ref()?.old;
            Some(Upgrading {
                extension: old.name.clone(),
                from: old.record.version.clone(),
                to: named.body.object().manifest().version.clone(),
            })
        });
        upgrades.collect()
    }
}

impl Control {
    /// Reads what is declared by its file, so that its name means that everywhere.
    pub(super) fn named_by_files(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
    ) -> Result<()> {
        let Declaration {
            loads,
            attachments,
            policies: _,
            settings,
        } = declaration;
        let loads = loads.iter().map(|load| (&load.what, &load.origin));
        let attachments = attachments.iter().map(|a| (&a.what.extension, &a.origin));
        let settings = settings.iter().map(|s| (&s.what.extension, &s.origin));
        let all = loads.chain(attachments).chain(settings);
        for (wanted, origin) in all.filter(|(wanted, _)| wanted.is_exact()) {
            self.body(bodies, wanted, origin)?;
        }
        Ok(())
    }

    /// The name and the object of an extension, read once.
    pub(in crate::control) fn body(
        &self,
        bodies: &mut Bodies,
        wanted: &Wanted,
        origin: &Origin,
    ) -> Result<(String, Rc<Body>)> {
        let spelt = wanted.to_string();
        if let Some(known) = bodies.spelt.get(&spelt) {
            return Ok(known.clone());
        }
        let meant = self.meant(wanted).map(|extension| extension.name.clone());
        let name = meant.unwrap_or_else(|| wanted.name());
        let (name, body) = match bodies.named.get(&name) {
            // By its name, what is declared with its file.
            Some(named) if !wanted.is_exact() => (name, Rc::clone(&named.body)),
            _ => {
                let found = self.find_body(bodies, wanted);
                let (name, body, upgrade) = found.map_err(|error| origin.blame(error))?;
                bodies.named.entry(name.clone()).or_insert_with(|| Named {
                    wanted: wanted.clone(),
                    origin: origin.clone(),
                    body: Rc::clone(&body),
                    upgrade,
                });
                (name, body)
            }
        };
        bodies.spelt.insert(spelt, (name.clone(), Rc::clone(&body)));
        Ok((name, body))
    }

    /// What is loaded, or what a file holds; with the upgrade from the one to the other.
    ///
    /// A file that is named is what is wanted, whichever version it is. A name means what is loaded,
    /// or a newer version of it that the search path has.
    fn find_body(&self, bodies: &Bodies, wanted: &Wanted) -> Result<Resolved> {
        let loaded = self.meant(wanted).filter(|_| !wanted.is_exact());
        let found = match (find(wanted), loaded) {
            (Ok(found), _) => found,
            (Err(_), Some(extension)) => return self.loaded_body(extension),
            (Err(error), None) => return Err(error),
        };
        let name = loaded.map_or(&found.name, |extension| &extension.name);
        if let Some(known) = bodies.named.get(name) {
            let object = known.body.object();
            if object.bytes() == found.bytes && same_text(object.beside(), &found.manifest) {
                return Ok((name.clone(), Rc::clone(&known.body), None));
            }
            return Err(Error::NameClash {
                name: name.clone(),
                path: known.wanted.to_string().into(),
            });
        }
        let Some(extension) = loaded.or_else(|| self.extension(name)) else {
            let object = Object::parse_beside(name, found.bytes, found.manifest)?;
            return Ok((name.clone(), Rc::new(Body::File(Box::new(object))), None));
        };
        if extension.is(&self.state, &found)? {
            return self.loaded_body(extension);
        }
        let parsed = Object::parse_beside(&extension.name, found.bytes, found.manifest);
        let object = match (parsed, wanted.is_exact()) {
            (Ok(object), true) => object,
            (Err(error), true) => return Err(error),
            (Ok(object), false) if object.manifest().version > extension.record.version => object,
            (Ok(_) | Err(_), false) => return self.loaded_body(extension),
        };
        let plan = self.plan_upgrade(extension, &object, true, &BTreeSet::new())?;
        let upgrade = Upgrade {
            old: extension.clone(),
            path: found.path,
            plan,
        };
        let body = Rc::new(Body::File(Box::new(object)));
        Ok((extension.name.clone(), body, Some(upgrade)))
    }

    fn loaded_body(&self, extension: &Extension) -> Result<Resolved> {
        let source = self.source_of(extension.kmid)?;
        let body = Rc::new(Body::Loaded(source));
        Ok((extension.name.clone(), body, None))
    }
}

/// An extension's name and object, and the upgrade that it takes.
type Resolved = (String, Rc<Body>, Option<Upgrade>);

/// Whether manifests beside objects are the same: an empty one says no more than none.
fn same_text(one: Option<&[u8]>, other: &Option<Vec<u8>>) -> bool {
    one.unwrap_or_default() == other.as_deref().unwrap_or_default()
}
