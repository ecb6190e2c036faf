//! `libs`: what an object needs, and which extensions provide it. Names are compared whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use semver::Version;
use serde::Serialize;

use super::Control;
use crate::{
    depend::catalog,
    error::{Error, Result},
    extension::Build,
    find::{Wanted, find},
    object::{Identifier, Object, map_difference},
};

/// What an object needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Libs {
    /// The object.
    pub path: PathBuf,
    /// All that it needs.
    pub needs: Vec<Lib>,
    /// The lines that its manifest lacks, under `[dependencies]`.
    pub lines: Vec<String>,
}

/// Something that an object needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lib {
    /// What it is.
    pub kind: LibKind,
    /// Its name.
    pub name: String,
    /// The versions that will do; `null` where none are said.
    pub range: Option<String>,
    /// Whether the manifest says so.
    pub declared: bool,
    /// Those that provide it; of several versions of one extension the one that would be taken.
    pub providers: Vec<Provider>,
}

/// What kind of thing is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LibKind {
    /// An extension, by its identifier.
    Extension,
    /// A map of another extension.
    Map,
    /// A function or variable of the kernel.
    Kernel,
}

/// Who provides something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// The extension's name, or `kernel`.
    pub name: String,
    /// Who it is; `null` if it does not say, and for the kernel.
    pub identifier: Option<Identifier>,
    /// Its version; `null` for the kernel.
    pub version: Option<Version>,
    /// Its kmid, if it is loaded.
    pub kmid: Option<u32>,
    /// Its file; `null` for the kernel.
    pub path: Option<PathBuf>,
}

/// How a search came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All that is needed is provided once.
    Found,
    /// Something is provided by several.
    Several,
    /// Something is provided by nobody.
    Undefined,
}

impl Libs {
    /// How the search came out: the worst of all.
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.needs.iter().map(|lib| match lib.providers.as_slice() {
            [] => Outcome::Undefined,
            [_] => Outcome::Found,
            [_, _, ..] => Outcome::Several,
        });
        outcomes.max().unwrap_or(Outcome::Found)
    }
}

/// An extension whose maps others can use.
struct Shelf {
    provider: Provider,
    object: Object,
}

impl Shelf {
    fn new(path: PathBuf, kmid: Option<u32>, object: Object) -> Self {
        let manifest = object.manifest();
        Self {
            provider: Provider {
                name: object.name().to_owned(),
                identifier: manifest.identifier.clone(),
                version: Some(manifest.version.clone()),
                kmid,
                path: Some(path),
            },
            object,
        }
    }

    /// Whether it has a map that will do for what an object takes it for.
    fn has(&self, object: &Object, map: &str) -> bool {
        let manifest = self.object.manifest();
        let defined = self.object.maps().any(|(name, _)| name == map)
            && !self.object.is_data(map)
            && !self.object.extern_maps().iter().any(|name| name == map)
            && !manifest.own_maps().any(|name| name == map);
        defined && map_difference(object, &self.object, map).is_none()
    }
}

impl Control {
    /// What an object needs, and which extensions, loaded or on the search path, provide it.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing an object.
    pub fn libs(&self, wanted: &Wanted) -> Result<Libs> {
        let found = find(wanted)?;
        let object = Object::parse_beside(&found.name, found.bytes, found.manifest);
        let object = match object {
            Ok(object) => object,
            // It cannot be used for anything, and this says why.
            Err(Error::NoSymbol { symbol, .. }) => {
                let needs = vec![kernel(&symbol, false)];
                let (path, lines) = (found.path, Vec::new());
                return Ok(Libs { path, needs, lines });
            }
            Err(error) => return Err(error),
        };
        let symbols = object.kernel_symbols().into_iter();
        let mut needs = self.declared(&object, &found.path);
        let mut lines = Vec::new();
        for map in self.lacking(&object, &[]) {
            if object
                .manifest()
                .dependencies
                .values()
                .any(|d| d.maps.contains(&map))
            {
                continue;
            }
            let shelves = self.shelves(&object, &found.path, &map);
            lines.extend(shelves.iter().map(|shelf| line(&object, shelf, &map)));
            needs.push(Lib {
                kind: LibKind::Map,
                name: map,
                range: None,
                declared: false,
                providers: shelves.into_iter().map(|shelf| shelf.provider).collect(),
            });
        }
        needs.extend(symbols.map(|(symbol, present)| kernel(symbol, present)));
        lines.dedup();
        let path = found.path;
        Ok(Libs { path, needs, lines })
    }

    /// The dependencies that the manifest names, and their maps.
    fn declared(&self, object: &Object, path: &Path) -> Vec<Lib> {
        let mut pool = self.loaded_candidates();
        let mut declared = Vec::new();
        let dependencies = &object.manifest().dependencies;
        if !dependencies.is_empty() {
            pool.extend(catalog::around(path));
        }
        for (identifier, dependency) in dependencies {
            let who = |c: &&crate::depend::Candidate| c.identifier.as_ref() == Some(identifier);
            let mut seen: Vec<_> = pool.iter().filter(who).collect();
            if seen.iter().any(|candidate| candidate.loaded.is_some()) {
                seen.retain(|candidate| candidate.loaded.is_some());
            }
            seen.retain(|candidate| candidate.satisfies(&dependency.version));
            seen.reverse();
            let best = seen.into_iter().max_by_key(|candidate| &candidate.version);
            let provider = best.map(|candidate| Provider {
                name: candidate.name.clone(),
                identifier: candidate.identifier.clone(),
                version: Some(candidate.version.clone()),
                kmid: candidate.loaded,
                path: Some(candidate.path.clone()),
            });
            let lib = |kind, name: &str| Lib {
                kind,
                name: name.to_owned(),
                range: Some(dependency.version.to_string()),
                declared: true,
                providers: provider.clone().into_iter().collect(),
            };
            declared.push(lib(LibKind::Extension, identifier.as_str()));
            for map in &dependency.maps {
                let mut lib = lib(LibKind::Map, map);
                lib.providers
                    .retain(|provider| self.offers(provider, object, map));
                declared.push(lib);
            }
        }
        declared
    }

    /// Whether a provider has a map that will do.
    fn offers(&self, provider: &Provider, object: &Object, map: &str) -> bool {
        let shelf = match (provider.kmid, &provider.path) {
            (Some(kmid), _) => self.loaded_shelf(kmid),
            (None, Some(path)) => file_shelf(path.clone()),
            (None, None) => None,
        };
        shelf.is_some_and(|shelf| shelf.has(object, map))
    }

    /// The extensions, loaded or in files, that have a map which will do.
    fn shelves(&self, object: &Object, path: &Path, map: &str) -> Vec<Shelf> {
        let loaded = self.extensions.iter();
        let loaded = loaded.filter(|e| e.build == Build::Current);
        let loaded = loaded.filter_map(|e| self.loaded_shelf(e.kmid));
        best(loaded.chain(file_shelves(path)), object, map)
    }

    fn loaded_shelf(&self, kmid: u32) -> Option<Shelf> {
        let extension = self.extensions.iter().find(|e| e.kmid == kmid)?;
        let source = self.source_of(kmid).ok()?;
        let (path, object) = (extension.record.path.clone(), source.object.clone());
        Some(Shelf::new(path, Some(kmid), object))
    }

    /// The error of a map that no dependency names, with the lines that would mend it.
    pub(super) fn undeclared(&self, object: &Object, path: &Path, map: &str) -> Error {
        lacks(object, map, &self.shelves(object, path, map))
    }
}

/// The error of a map that no dependency names, with the lines that would mend it, by files alone.
pub(crate) fn undeclared(object: &Object, path: &Path, map: &str) -> Error {
    lacks(object, map, &best(file_shelves(path), object, map))
}

fn lacks(object: &Object, map: &str, shelves: &[Shelf]) -> Error {
    let lines = shelves.iter().map(|shelf| line(object, shelf, map));
    Error::Undeclared {
        object: object.name().to_owned(),
        map: map.to_owned(),
        lines: lines.collect(),
    }
}

/// Those that have a map which will do; of several versions of one the one that is loaded, or else
/// the highest.
fn best(all: impl Iterator<Item = Shelf>, object: &Object, map: &str) -> Vec<Shelf> {
    let mut best: BTreeMap<String, Shelf> = BTreeMap::new();
    for shelf in all.filter(|shelf| shelf.has(object, map)) {
        let who = match &shelf.provider.identifier {
            Some(identifier) => identifier.to_string(),
            // A name has no dot, and an identifier has one.
            None => shelf.provider.name.clone(),
        };
        match best.get(&who) {
            Some(other) if other.provider.kmid.is_some() => {}
            Some(other) if other.provider.version >= shelf.provider.version => {}
            _ => drop(best.insert(who, shelf)),
        }
    }
    best.into_values().collect()
}

/// Those on the search path and beside an object.
fn file_shelves(object: &Path) -> impl Iterator<Item = Shelf> {
    let files = catalog::files(object).into_iter();
    files.filter_map(file_shelf)
}

fn file_shelf(path: PathBuf) -> Option<Shelf> {
    let found = find(&Wanted::Path(path)).ok()?;
    let object = Object::parse_beside(&found.name, found.bytes, found.manifest).ok()?;
    Some(Shelf::new(found.path, None, object))
}

fn kernel(symbol: &str, present: bool) -> Lib {
    let provider = Provider {
        name: "kernel".to_owned(),
        identifier: None,
        version: None,
        kmid: None,
        path: None,
    };
    Lib {
        kind: LibKind::Kernel,
        name: symbol.to_owned(),
        range: None,
        declared: false,
        providers: present.then_some(provider).into_iter().collect(),
    }
}

/// The line that an object's manifest lacks, if it is to use a map of this extension.
fn line(object: &Object, shelf: &Shelf, map: &str) -> String {
    let Provider {
        name,
        identifier,
        version,
        ..
    } = &shelf.provider;
    let Some(identifier) = identifier else {
        return format!("nothing can: {name} has no identifier, and is had by --with {name} only");
    };
    let known = object.manifest().dependencies.get(identifier);
    let range = match (known, version) {
        (Some(dependency), _) => dependency.version.to_string(),
        (None, Some(version)) if shelf.object.manifest().is_versioned() => format!("^{version}"),
        (None, _) => "*".to_owned(),
    };
    let mut maps: Vec<_> = known.map(|d| d.maps.clone()).unwrap_or_default();
    maps.push(map.to_owned());
    let maps: Vec<_> = maps.iter().map(|map| format!("{map:?}")).collect();
    let maps = maps.join(", ");
    format!("\"{identifier}\" = {{ version = \"{range}\", maps = [{maps}] }}")
}
