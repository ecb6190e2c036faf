//! What an extension needs: found, loaded before it, bound to it.
//!
//! A provider is loaded as if a user had attached it: with no load count. Its dependants hold it,
//! each by its record, and it goes with the last of them; so a load that was killed half-way is
//! swept by what sweeps everything else.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::Path};

use super::{Control, Holder};
use crate::{
    depend::{self, Candidate, Plan, Unmet, catalog},
    error::{Error, Result},
    extension::{Build, Extension, Given, Load, Needed},
    find::{self, Wanted, find},
    holder::Users,
    loader::Maps,
    object::{Identifier, Object, map_difference},
};

/// A dependency with its provider.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) needed: Needed,
    /// The provider's name.
    pub(super) name: String,
}

/// What to load, and who provides what then.
struct Choice {
    pool: Vec<Candidate>,
    plan: Plan,
}

impl Control {
    /// Has extensions provide what the next one that is loaded does not say that it needs: they
    /// are its dependencies, as if its manifest said so, for this one time.
    pub fn supply(&mut self, with: &[Wanted]) {
        self.with = with.to_vec();
    }

    /// Loads an object and, before it, all that it needs. If it cannot be, nothing is loaded.
    pub(super) fn load_all(
        &mut self,
        object: &Object,
        path: &Path,
        users: Users,
        build: Build,
    ) -> Result<u32> {
        let with = std::mem::take(&mut self.with);
        let loaded = self
            .load_needed(object, path, &with)
            .and_then(|bound| self.make(object, path, users, build, &bound));
        if loaded.is_err() {
            // What was loaded for its sake goes again.
            self.unload_unused()?;
        }
        loaded
    }

    /// Loads what an object needs; all that it needs directly, with its providers.
    fn load_needed(&mut self, object: &Object, path: &Path, with: &[Wanted]) -> Result<Vec<Bound>> {
        let mut bound = self.load_declared(object, path)?;
        for wanted in with {
            let kmid = self.obtain(wanted, None)?;
            let maps = self.lacking(object, &bound);
            let has = |map: &String| self.defines(kmid, map);
            bound.push(Bound {
                needed: Needed {
                    kmid,
                    range: None,
                    maps: maps.into_iter().filter(has).collect(),
                },
                name: self
                    .known(kmid)
                    .map_or_else(|| wanted.name(), |e| e.name.clone()),
            });
        }
        Ok(bound)
    }

    fn load_declared(&mut self, object: &Object, path: &Path) -> Result<Vec<Bound>> {
        if object.manifest().dependencies.is_empty() {
            return Ok(Vec::new());
        }
        let Choice { pool, plan } = self.choose_providers(object, path)?;
        let mut loaded: BTreeMap<Identifier, (u32, String)> = BTreeMap::new();
        for (identifier, at) in &plan.providers {
            if let Some(kmid) = pool[*at].loaded {
                loaded.insert(identifier.clone(), (kmid, pool[*at].name.clone()));
            }
        }
        for at in plan.order {
            let chosen = &pool[at];
            let object = open(chosen)?;
            self.refuse_name_clash(chosen)?;
            let bound = bind(&object, &loaded);
            let kmid = self.make(
                &object,
                &chosen.path,
                Users::default(),
                Build::Current,
                &bound,
            )?;
            if let Some(identifier) = &chosen.identifier {
                loaded.insert(identifier.clone(), (kmid, chosen.name.clone()));
            }
        }
        Ok(bind(object, &loaded))
    }

    fn choose_providers(&self, object: &Object, path: &Path) -> Result<Choice> {
        let wanted = Candidate::of(object.name().to_owned(), object.manifest(), path);
        let mut pool = self.loaded_candidates();
        pool.extend(catalog::around(path));
        let plan = depend::resolve(&wanted, &pool);
        let plan = plan.map_err(|unmet| {
            passed_over(&unmet).unwrap_or_else(|| unmet_error(object.name(), unmet))
        })?;
        Ok(Choice { pool, plan })
    }

    /// What is loaded: an extension before its copies.
    pub(super) fn loaded_candidates(&self) -> Vec<Candidate> {
        let loaded = self.extensions.iter();
        let loaded = loaded.filter(|e| e.build == Build::Current);
        let mut loaded: Vec<_> = loaded
            .map(|extension| Candidate {
                name: extension.name.clone(),
                identifier: extension.record.identifier.clone(),
                version: extension.record.version.clone(),
                compatible_since: extension.record.compatible_since().clone(),
                needs: Vec::new(),
                loaded: Some(extension.kmid),
                path: extension.record.path.clone(),
            })
            .collect();
        loaded.sort_by_key(|candidate| candidate.name.contains('@'));
        loaded
    }

    fn refuse_name_clash(&self, chosen: &Candidate) -> Result<()> {
        match self.extension(&chosen.name) {
            Some(other) => Err(Error::NameClash {
                name: chosen.name.clone(),
                path: other.record.path.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Loads an object whose providers are loaded.
    fn make(
        &mut self,
        object: &Object,
        path: &Path,
        users: Users,
        build: Build,
        bound: &[Bound],
    ) -> Result<u32> {
        object.refuse_unmet()?;
        let load = Load {
            given: self.given(object, path, bound)?,
            ..Load::new(object, path, users, build)
        };
        let extension = Extension::load(&self.state, load)?;
        let kmid = extension.kmid;
        self.extensions.push(extension);
        Ok(kmid)
    }

    /// Loads what a new version of an extension needs; what it is given of it.
    pub(super) fn load_for_upgrade(&mut self, object: &Object, path: &Path) -> Result<Given> {
        let bound = self.load_needed(object, path, &[])?;
        self.given(object, path, &bound)
    }

    fn given(&self, object: &Object, path: &Path, bound: &[Bound]) -> Result<Given> {
        Ok(Given {
            needs: bound.iter().map(|bound| bound.needed.clone()).collect(),
            shared: self.shared_maps(object, path, bound)?,
        })
    }

    /// The maps of its providers that an object uses.
    fn shared_maps(&self, object: &Object, path: &Path, bound: &[Bound]) -> Result<Maps> {
        let mut shared = Maps::new();
        for Bound { needed, name } in bound {
            for map in &needed.maps {
                let refused = |cause: &'static str| Error::NotShared {
                    object: object.name().to_owned(),
                    map: map.clone(),
                    provider: name.clone(),
                    cause,
                };
                let source = self.source_of(needed.kmid)?;
                let Some(found) = source.map(map) else {
                    let own = source.object.manifest().own_maps().any(|own| own == map);
                    return Err(refused(if own {
                        "every attachment or target has one of its own, and that cannot be shared"
                    } else {
                        "it has no such map"
                    }));
                };
                if object.is_data(map) {
                    return Err(refused("that is a section of data and no map"));
                }
                if let Some(difference) = map_difference(object, &source.object, map) {
                    return Err(Error::MapMismatch {
                        object: object.name().to_owned(),
                        map: map.clone(),
                        provider: name.clone(),
                        difference,
                    });
                }
                let copy = found.as_fd().try_clone_to_owned();
                let copy = copy.map_err(|source| Error::Kernel {
                    object: object.name().to_owned(),
                    stage: "open the maps of others",
                    source,
                    remedy: "raise the limit of open files",
                })?;
                if shared.insert(map.clone(), copy).is_some() {
                    return Err(refused(
                        "it is another dependency's too; name it at one of them",
                    ));
                }
            }
        }
        match self.lacking(object, bound).first() {
            Some(map) => Err(self.undeclared(object, path, map)),
            None => Ok(shared),
        }
    }

    /// The maps that an object only names, and that no dependency has been said to provide.
    pub(super) fn lacking(&self, object: &Object, bound: &[Bound]) -> Vec<String> {
        let named = object.extern_maps().iter();
        let provided = |map: &&String| bound.iter().any(|bound| bound.needed.maps.contains(*map));
        named.filter(|map| !provided(map)).cloned().collect()
    }

    /// Whether a loaded extension has a map that others can use.
    fn defines(&self, kmid: u32, map: &str) -> bool {
        let source = self.source_of(kmid);
        source.is_ok_and(|source| source.map(map).is_some() && !source.object.is_data(map))
    }

    /// The loaded extensions that need this one.
    pub(super) fn dependants(&self, kmid: u32) -> Vec<Holder> {
        let needs = |e: &&Extension| e.record.needs.iter().any(|needed| needed.kmid == kmid);
        // The version before an upgrade finds what it needs when it comes back.
        let all = self.extensions.iter().chain(&self.previous);
        let dependants = all.filter(needs);
        dependants
            .map(|extension| Holder::Dependant {
                name: extension.name.clone(),
                kmid: extension.kmid,
            })
            .collect()
    }
}

/// Reads the extension that was chosen, which must still be what it was.
fn open(chosen: &Candidate) -> Result<Object> {
    let wanted = Wanted::Path(chosen.path.clone());
    let found = find(&wanted)?;
    let object = Object::parse_beside(&chosen.name, found.bytes, found.manifest)?;
    let now = Candidate::of(chosen.name.clone(), object.manifest(), &found.path);
    if now == *chosen {
        return Ok(object);
    }
    Err(Error::Read {
        path: chosen.path.clone(),
        source: std::io::Error::other("it has changed while it was read"),
    })
}

/// What an object says that it needs, with the providers that are loaded.
fn bind(object: &Object, loaded: &BTreeMap<Identifier, (u32, String)>) -> Vec<Bound> {
    let declared = object.manifest().dependencies.iter();
    let bind = |(identifier, dependency): (&Identifier, &crate::object::Dependency)| {
        let (kmid, name) = loaded.get(identifier)?;
        Some(Bound {
            needed: Needed {
                kmid: *kmid,
                range: Some(dependency.version.clone()),
                maps: dependency.maps.clone(),
            },
            name: name.clone(),
        })
    };
    declared.filter_map(bind).collect()
}

/// Why the extension that is missing is not to be had, though it is on the search path: its file may
/// be one that others can write to.
fn passed_over(unmet: &Unmet) -> Option<Error> {
    let Unmet::Missing {
        identifier, seen, ..
    } = unmet
    else {
        return None;
    };
    let files = find::candidates(identifier.as_str()).into_iter();
    let mut files = files.filter(|_| seen.is_empty());
    files.find_map(|file| find(&Wanted::Path(file.path)).err())
}

/// The error of dependencies that cannot be met.
pub(crate) fn unmet_error(object: &str, unmet: Box<Unmet>) -> Error {
    let object = object.to_owned();
    match *unmet {
        Unmet::Cycle(_) => Error::DependencyCycle { object, unmet },
        Unmet::Missing { .. } => Error::NoProvider { object, unmet },
        Unmet::Conflict { .. } => Error::DependencyConflict { object, unmet },
        Unmet::Loaded { .. } => Error::ProviderVersion { object, unmet },
        Unmet::TooMany => Error::TooManyChoices { object, unmet },
    }
}
