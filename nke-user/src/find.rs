//! Finding an extension's file: a name is searched for, a path is used as it is.

mod search;

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use semver::Version;

pub use self::search::{
    Candidate, Directory, Identity, Origin, Why, candidates, reasons, search_path,
};
use crate::{
    error::{Error, Result},
    object::LONGEST_MANIFEST,
    trust,
};

/// Bytes of the largest object: one far larger is not read into memory.
const LARGEST: u64 = 64 << 20;
const LARGEST_IN_WORDS: &str = "64 MiB";

/// How an extension is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A loaded extension, or a file of this name on the search path.
    Name(String),
    /// A file: what holds a `/`.
    Path(PathBuf),
    /// A copy, with this name behind the `@`, of a file's extension.
    Instance(PathBuf, String),
}

/// Between an extension's name and that of one of its copies.
const AT: char = '@';

/// The name of an extension, of which a loaded one may be a copy.
pub fn original(name: &str) -> &str {
    name.split_once(AT).map_or(name, |(original, _)| original)
}

/// The name of a copy of an extension: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an instance's name is of letters, digits, - and _, 64 at most".to_owned())
        }
    }
}

impl FromStr for Wanted {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.contains('/') {
            Self::Path(text.into())
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Instance(path, instance) => write!(f, "{}{AT}{instance}", path.display()),
        }
    }
}

impl Wanted {
    /// A copy of this extension, with maps of its own.
    pub fn instance(&self, instance: &Instance) -> Self {
        let Instance(instance) = instance;
        match self {
            Self::Name(_) => Self::Name(format!("{}{AT}{instance}", self.original())),
            Self::Path(path) | Self::Instance(path, _) => {
                Self::Instance(path.clone(), instance.clone())
            }
        }
    }

    /// The name that the extension has when it is loaded: the file's, without `.o`, `.bpf.o` and a
    /// version (`-1.2.3`), and that of its copy behind an `@`. What a pin's name cannot hold becomes `_`.
    pub fn name(&self) -> String {
        match self {
            Self::Name(_) => self.name_of(Path::new(self.original())),
            Self::Path(path) | Self::Instance(path, _) => self.name_of(path),
        }
    }

    /// The name that it has when this is its file.
    fn name_of(&self, path: &Path) -> String {
        let instance = match self {
            Self::Name(name) => name.rsplit_once(AT).map(|(_, instance)| instance),
            Self::Path(_) => None,
            Self::Instance(_, instance) => Some(instance.as_str()),
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = plain(stem(&file));
        match instance {
            Some(instance) => format!("{stem}{AT}{}", plain(instance)),
            None => stem,
        }
    }

    /// Whether it means one file, and no other of the same name.
    pub(crate) fn is_exact(&self) -> bool {
        let original = self.original();
        !matches!(self, Self::Name(_)) || stem(original) != original
    }

    /// The identifier that it may be, and what makes it that of a copy, from the `@` on.
    pub(crate) fn identifier(&self) -> Option<(&str, &str)> {
        let Self::Name(name) = self else {
            return None;
        };
        Some(name.split_at(self.original().len()))
    }

    /// What was typed, without the name of a copy.
    fn original(&self) -> &str {
        match self {
            Self::Name(name) => name.rsplit_once(AT).map_or(name, |(original, _)| original),
            Self::Path(_) | Self::Instance(..) => "",
        }
    }
}

/// A file's name without what says that it is an object, and of which version.
fn stem(file: &str) -> &str {
    let stem = file.strip_suffix(".o").unwrap_or(file);
    let stem = stem.strip_suffix(".bpf").unwrap_or(stem);
    let mut hyphens = stem.match_indices('-');
    let version = hyphens.find(|(at, _)| Version::parse(&stem[at + 1..]).is_ok());
    version.map_or(stem, |(at, _)| &stem[..at])
}

fn plain(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let characters = text.chars().map(|c| if fits(c) { c } else { '_' });
    characters.collect()
}

/// A file that was found.
#[derive(Debug)]
pub struct Found {
    /// The name that the extension has when it is loaded.
    pub name: String,
    /// Where.
    pub path: PathBuf,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// The text of the manifest that lies beside it: `thing.toml` beside `thing.o`.
    pub manifest: Option<Vec<u8>>,
}

impl Wanted {
    /// Where its file is, as far as that is known without opening it.
    fn path(&self) -> Result<PathBuf> {
        match self {
            Self::Path(path) | Self::Instance(path, _) => Ok(path.clone()),
            Self::Name(_) => search(self.original()),
        }
    }
}

/// Reads the file that is wanted, to load what is in it: nobody but root may be able to change it,
/// nor the manifest beside it, and where signatures are required they must have one.
///
/// # Errors
///
/// [`Error::NoExtension`], [`Error::Read`], [`Error::Untrusted`].
pub fn find(wanted: &Wanted) -> Result<Found> {
    let (path, bytes) = trust::open(&wanted.path()?)?.read(LARGEST, LARGEST_IN_WORDS)?;
    let trusted = |path: &Path| {
        let file = trust::open(path)?;
        file.read(LONGEST_MANIFEST as u64, "64 KiB")
            .map(|(_, text)| text)
    };
    let manifest = manifest_beside(&path, trusted)?;
    let found = Found {
        name: wanted.name_of(&path),
        path,
        bytes,
        manifest,
    };
    // Of the bytes that were read, which are those that will be loaded.
    trust::admit(&found)?;
    Ok(found)
}

/// Reads the file that is wanted, only to look at it: whoever can change it.
///
/// # Errors
///
/// [`Error::NoExtension`], [`Error::Read`].
pub fn peek(wanted: &Wanted) -> Result<Found> {
    let path = wanted.path()?;
    let bytes = contents(&path)?;
    let failed = |source| Error::Read {
        path: path.clone(),
        source,
    };
    let path = fs::canonicalize(&path).map_err(failed)?;
    let manifest = manifest_beside(&path, manifest_text)?;
    Ok(Found {
        name: wanted.name_of(&path),
        path,
        bytes,
        manifest,
    })
}

/// The file on the search path that a name means.
fn search(name: &str) -> Result<PathBuf> {
    let found = candidates(name).into_iter().next();
    found.map(|found| found.path).ok_or_else(|| {
        let searched = search_path().into_iter();
        Error::NoExtension {
            name: name.to_owned(),
            searched: searched.map(|at| at.path.display().to_string()).collect(),
        }
    })
}

/// The file in the current directory that a bare name might be thought to mean, though it means
/// `taken`.
pub fn overlooked(wanted: &Wanted, taken: &Path) -> Option<PathBuf> {
    let Wanted::Name(_) = wanted else {
        return None;
    };
    let name = wanted.original();
    let files = [name.to_owned(), format!("{name}.o")];
    let here = files.into_iter().map(|file| Path::new(".").join(file));
    let mut objects = here.filter(|path| path.extension() == Some("o".as_ref()) && path.is_file());
    objects.find(|path| fs::canonicalize(path).ok().as_deref() != Some(taken))
}

/// Reads an object's file.
fn contents(path: &Path) -> Result<Vec<u8>> {
    read(path, LARGEST, LARGEST_IN_WORDS)
}

/// Reads a manifest.
fn manifest_text(path: &Path) -> Result<Vec<u8>> {
    read(path, LONGEST_MANIFEST as u64, "64 KiB")
}

/// Reads the manifest that lies beside a file, if one does.
fn manifest_beside(
    path: &Path,
    read: impl Fn(&Path) -> Result<Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    let manifest = path.with_extension("toml");
    // Somebody may have compiled to a file of that name.
    if manifest == path {
        return Ok(None);
    }
    match read(&manifest) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a regular file that is not too large.
fn read(path: &Path, largest: u64, in_words: &str) -> Result<Vec<u8>> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > largest {
        return Err(failed(io::Error::other(format!(
            "it is not a regular file of {in_words} at most"
        ))));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_names_of_their_own() {
        let instance: Instance = "lab".parse().expect("a fair name");
        let check = |text: &str, name| {
            let Ok(wanted) = text.parse::<Wanted>();
            assert_eq!(wanted.instance(&instance).name(), name);
        };
        check("counter", "counter@lab");
        check("counter@old", "counter@lab");
        check("./counter.o", "counter@lab");
        for bad in ["", "a/b", "a@b", "..", "\n"] {
            assert!(bad.parse::<Instance>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_come_from_files() {
        let check = |text: &str, name| {
            let Ok(wanted) = text.parse::<Wanted>();
            assert_eq!(wanted.name(), name);
        };
        check("counter", "counter");
        check("./a/packet-filter.o", "packet-filter");
        check("/x/foo.bpf.o", "foo");
        check("/x/xdp_pass.kern.o", "xdp_pass_kern");
        check("/x/a b", "a_b");
        check("counter@lab", "counter@lab");
        check("counter@a b", "counter@a_b");
        check("/x/a@b.o", "a_b");
        check("/x/counter-1.2.3.o", "counter");
        check("/x/counter-1.2.3-rc.1.bpf.o", "counter");
        check("/x/counter-2.o", "counter-2");
        check("/x/-1.2.3.o", "");
    }
}
