//! What is on the search path and beside an object, as far as dependencies go. Only manifests are looked at, so files
//! that are broken otherwise do no harm until one of them is chosen.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Candidate, Need};
use crate::{
    find::{Wanted, find, search_path},
    object::{Manifest, manifest_of},
    state::names,
};

impl Candidate {
    /// An extension that is not loaded.
    pub(crate) fn of(name: String, manifest: &Manifest, path: &Path) -> Self {
        let needs = manifest.dependencies.iter();
        let needs = needs.map(|(identifier, dependency)| Need {
            identifier: identifier.clone(),
            range: dependency.version.clone(),
        });
        Self {
            name,
            identifier: manifest.identifier.clone(),
            version: manifest.version.clone(),
            compatible_since: manifest.compatible_since().clone(),
            needs: needs.collect(),
            loaded: None,
            path: path.to_owned(),
        }
    }
}

/// The objects on the search path, in its order, and then those beside an object; each file once.
pub(crate) fn files(object: &Path) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    let beside = object.parent().map(Path::to_owned);
    let on_path = search_path().into_iter().map(|directory| directory.path);
    for directory in on_path.chain(beside) {
        for name in names(&directory) {
            let path = directory.join(&name);
            let is_object = name.ends_with(".o") && path.is_file();
            if is_object && path.canonicalize().is_ok_and(|path| seen.insert(path)) {
                files.push(path);
            }
        }
    }
    files
}

/// The extensions that an object can be given: on the search path, and beside it. What is no
/// extension is passed over.
pub(crate) fn around(object: &Path) -> Vec<Candidate> {
    let files = files(object).into_iter();
    files.filter_map(candidate).collect()
}

/// What a file is to who needs it.
pub(crate) fn candidate(path: PathBuf) -> Option<Candidate> {
    let found = find(&Wanted::Path(path)).ok()?;
    let manifest = manifest_of(&found.bytes, found.manifest.as_deref()).ok()?;
    Some(Candidate::of(found.name, &manifest, &found.path))
}
