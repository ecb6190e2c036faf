//! The search path, and which of the files on it a name means.
//!
//! There is no index that could be out of date: the directories are read each time. The highest
//! version wins, wherever it lies; of equal ones the earlier directory's. Nothing is ever taken from
//! the current directory.
//!
//! ```no_run
//! for candidate in nke::find::candidates("counter") {
//!     println!("{} {:?}", candidate.path.display(), candidate.identity);
//! }
//! ```

use std::{
    cmp::Reverse,
    env, fmt,
    path::{Path, PathBuf},
};

use semver::Version;

use super::{contents, manifest_beside, manifest_text, stem};
use crate::{
    object::{self, Identifier},
    state::names,
};

/// Where extensions are put that are to last until the next boot; /run/nke is the state's.
const PER_BOOT: &str = "/run/nke-extensions";
/// Where an administrator puts extensions.
const LOCAL: &str = "/usr/local/lib/nke";
/// Where packages of the distribution put extensions.
const DISTRIBUTION: &str = "/usr/lib/nke";

/// A directory of the search path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is; it need not exist.
    pub path: PathBuf,
    /// Why it is searched.
    pub origin: Origin,
}

/// Why a directory is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `$NKE_PATH` names it.
    Environment,
    /// It is for extensions until the next boot.
    PerBoot,
    /// It lies beside the running executable: `../lib/nke`.
    Beside,
    /// It is the administrator's.
    Local,
    /// It is the distribution's.
    Distribution,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "NKE_PATH",
            Self::PerBoot => "per boot",
            Self::Beside => "beside nke",
            Self::Local => "local",
            Self::Distribution => "distribution",
        })
    }
}

/// The directories that names are searched in: `$NKE_PATH` (separated by colons), or else
/// /run/nke-extensions, beside the running executable, /usr/local/lib/nke and /usr/lib/nke.
pub fn search_path() -> Vec<Directory> {
    if let Some(path) = env::var_os("NKE_PATH").filter(|path| !path.is_empty()) {
        let directories = env::split_paths(&path).filter(|path| path != Path::new(""));
        let origin = Origin::Environment;
        return directories.map(|path| Directory { path, origin }).collect();
    }
    let executable = env::current_exe().ok();
    let prefix = executable.as_deref().and_then(Path::parent);
    let beside = prefix.and_then(Path::parent).map(|at| at.join("lib/nke"));
    default_path(beside)
}

/// The search path of an executable; where it is installed, what lies beside it has a place of its
/// own in the order.
fn default_path(beside: Option<PathBuf>) -> Vec<Directory> {
    let fixed = |path: &str, origin| Directory {
        path: path.into(),
        origin,
    };
    let installed = [LOCAL, DISTRIBUTION].map(Path::new);
    let beside = beside.filter(|path| !installed.contains(&path.as_path()));
    let beside = beside.map(|path| Directory {
        path,
        origin: Origin::Beside,
    });
    let mut path = vec![fixed(PER_BOOT, Origin::PerBoot)];
    path.extend(beside);
    path.push(fixed(LOCAL, Origin::Local));
    path.push(fixed(DISTRIBUTION, Origin::Distribution));
    path
}

/// A file that a name may mean.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Which directory of the search path it is in, from 0.
    pub directory: usize,
    /// Who it says it is; what is wrong with it, if that cannot be read.
    pub identity: Result<Identity, String>,
}

/// Who an object says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its identifier.
    pub identifier: Option<Identifier>,
    /// Its version.
    pub version: Version,
    /// The oldest version that it can stand in for.
    pub compatible_since: Version,
}

/// Why a candidate is taken, or comes behind the one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no other.
    Only,
    /// Its version is the highest.
    Highest,
    /// Of those with the highest version, its directory comes first.
    EarlierDirectory,
    /// Of those with the highest version in its directory, its file's name comes first.
    EarlierName,
    /// Its version is lower.
    Lower,
    /// It has the same version, in a later directory.
    LaterDirectory,
    /// It has the same version and directory, and a later name.
    LaterName,
    /// It cannot be read.
    Unreadable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Only => "the only one",
            Self::Highest => "the highest version",
            Self::EarlierDirectory => "the first directory with it",
            Self::EarlierName => "the first name with it",
            Self::Lower => "a lower version",
            Self::LaterDirectory => "a later directory",
            Self::LaterName => "a later name",
            Self::Unreadable => "not readable",
        })
    }
}

/// The files on the search path that a name means, the one that is taken first: those of that name
/// (`counter.o`, `counter-1.2.0.o`) and those that have it as their identifier.
pub fn candidates(name: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let may_identify = name.contains('.') && !name.ends_with(".o");
    for (directory, Directory { path, origin: _ }) in search_path().iter().enumerate() {
        for file in names(path).into_iter().filter(|file| file.ends_with(".o")) {
            let named = is_named(&file, name);
            let path = path.join(&file);
            if !(named || may_identify) || !path.is_file() {
                continue;
            }
            let identity = identify(&path);
            let meant = |identity: &Identity| {
                let identifier = identity.identifier.as_ref().map(Identifier::as_str);
                identifier == Some(name)
            };
            if named || identity.as_ref().is_ok_and(meant) {
                found.push(Candidate {
                    path,
                    directory,
                    identity,
                });
            }
        }
    }
    found.sort_by_key(rank);
    found
}

/// Whether a file is meant by a name: its own, with or without what says that it is an object and
/// of which version.
fn is_named(file: &str, name: &str) -> bool {
    file == name || file.strip_suffix(".o") == Some(name) || stem(file) == name
}

/// What candidates are ordered by: the first is taken.
fn rank(candidate: &Candidate) -> impl Ord + use<> {
    let Candidate {
        path,
        directory,
        identity,
    } = candidate;
    let version = identity.as_ref().ok().map(|it| it.version.clone());
    (Reverse(version), *directory, path.clone())
}

fn identify(path: &Path) -> Result<Identity, String> {
    let bytes = contents(path).map_err(|error| error.to_string())?;
    let beside = manifest_beside(path, manifest_text).map_err(|error| error.to_string())?;
    let manifest = object::manifest_of(&bytes, beside.as_deref())?;
    Ok(Identity {
        compatible_since: manifest.compatible_since().clone(),
        identifier: manifest.identifier,
        version: manifest.version,
    })
}

/// Why each candidate has its place, in their order.
pub fn reasons(candidates: &[Candidate]) -> Vec<Why> {
    let Some((first, rest)) = candidates.split_first() else {
        return Vec::new();
    };
    let version = |candidate: &Candidate| {
        candidate
            .identity
            .as_ref()
            .ok()
            .map(|it| it.version.clone())
    };
    let best = version(first);
    let place = |candidate: &Candidate| match version(candidate) {
        None => Why::Unreadable,
        version if version < best => Why::Lower,
        _ if candidate.directory > first.directory => Why::LaterDirectory,
        _ => Why::LaterName,
    };
    let rest: Vec<_> = rest.iter().map(place).collect();
    let won = match rest.first() {
        _ if best.is_none() => Why::Unreadable,
        None => Why::Only,
        Some(Why::LaterDirectory) => Why::EarlierDirectory,
        Some(Why::LaterName) => Why::EarlierName,
        Some(_) => Why::Highest,
    };
    [won].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(directory: usize, file: &str, version: &str) -> Candidate {
        let identity = |version: Version| Identity {
            identifier: None,
            compatible_since: version.clone(),
            version,
        };
        Candidate {
            path: file.into(),
            directory,
            identity: version.parse().map(identity).map_err(|_| "bad".to_owned()),
        }
    }

    #[track_caller]
    fn check(found: &[(usize, &str, &str)], order: &[(&str, Why)]) {
        let mut found: Vec<_> = found.iter().map(|(d, f, v)| candidate(*d, f, v)).collect();
        found.sort_by_key(rank);
        let names = found.iter().map(|it| it.path.display().to_string());
        let said: Vec<_> = names.zip(reasons(&found)).collect();
        let order: Vec<_> = order.iter().map(|(n, w)| ((*n).to_owned(), *w)).collect();
        assert_eq!(said, order);
    }

    #[test]
    fn the_highest_version_wins_wherever_it_lies() {
        check(
            &[
                (0, "a", "1.9.0"),
                (1, "b", "1.10.0"),
                (2, "c", "1.10.0-rc.1"),
            ],
            &[("b", Why::Highest), ("c", Why::Lower), ("a", Why::Lower)],
        );
        check(&[(3, "a", "0.0.0")], &[("a", Why::Only)]);
        check(&[], &[]);
    }

    #[test]
    fn ties_go_to_the_earlier_directory() {
        check(
            &[(1, "b", "1.0.0"), (0, "a", "1.0.0")],
            &[("a", Why::EarlierDirectory), ("b", Why::LaterDirectory)],
        );
        check(
            &[(0, "a.o", "1.0.0"), (0, "a-1.0.0.o", "1.0.0")],
            &[("a-1.0.0.o", Why::EarlierName), ("a.o", Why::LaterName)],
        );
    }

    #[test]
    fn what_cannot_be_read_comes_last() {
        check(
            &[(0, "a", "?"), (1, "b", "0.0.0")],
            &[("b", Why::Highest), ("a", Why::Unreadable)],
        );
        check(&[(0, "a", "?")], &[("a", Why::Unreadable)]);
    }

    #[test]
    fn files_have_names() {
        let check = |file, name, is| assert_eq!(is_named(file, name), is, "{file} {name}");
        check("counter.o", "counter", true);
        check("counter.bpf.o", "counter", true);
        check("counter-1.2.3.o", "counter", true);
        check("counter-1.2.3.o", "counter-1.2.3", true);
        check("counter-1.2.3.o", "counter-1.2.3.o", true);
        check("counter-1.2.3-rc.1.o", "counter", true);
        check("counter-1.2.3.o", "counter-1.2.4", false);
        check("counter.o", "counter.o", true);
        check("packet-filter.o", "packet", false);
        check("counter-2.o", "counter", false);
    }

    #[test]
    fn an_installed_command_has_no_fourth_directory() {
        let check = |beside: &str, paths: &[&str]| {
            let path = default_path(Some(beside.into()));
            let path: Vec<_> = path
                .iter()
                .map(|it| it.path.display().to_string())
                .collect();
            assert_eq!(path, paths);
        };
        check("/usr/lib/nke", &[PER_BOOT, LOCAL, DISTRIBUTION]);
        check("/usr/local/lib/nke", &[PER_BOOT, LOCAL, DISTRIBUTION]);
        check("/x/lib/nke", &[PER_BOOT, "/x/lib/nke", LOCAL, DISTRIBUTION]);
    }
}
