//! What is on the search path, as far as dependencies go. Only manifests are looked at, so files
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

/// The objects on the search path, in its order; each file once.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for directory in search_path() {
        for name in names(&directory.path) {
            let path = directory.path.join(&name);
            let is_object = name.ends_with(".o") && path.is_file();
            if is_object && path.canonicalize().is_ok_and(|path| seen.insert(path)) {
                files.push(path);
            }
        }
    }
    files
}

/// The extensions on the search path; what is no extension is passed over.
pub(crate) fn on_path() -> Vec<Candidate> {
    let files = files().into_iter();
    files.filter_map(candidate).collect()
}

fn candidate(path: PathBuf) -> Option<Candidate> {
    let found = find(&Wanted::Path(path)).ok()?;
    let manifest = manifest_of(&found.bytes, found.manifest.as_deref()).ok()?;
    Some(Candidate::of(found.name, &manifest, &found.path))
}
