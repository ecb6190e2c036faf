//! The files of a declaration. What lies on a disk must be root's alone, as extensions must.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{Declaration, Declared};
use crate::{
    error::{Error, Result},
    filter::{About, SetText, StatedMembers},
    trust,
};

/// More than a declaration of 32 attachments at each of 10,000 hooks takes, or one with ten million members of sets.
const LARGEST: u64 = 256 << 20;
const IN_WORDS: &str = "256 MiB";

impl Declaration {
    /// Reads a file, standard input (`-`), or all files `*.toml` of a directory, in the order of
    /// their names; directories in it are not read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Untrusted`], [`Error::Declaration`].
    pub fn read(path: &Path) -> Result<Self> {
        let mut declaration = Self::default();
        for path in files(path)? {
            let text = text(&path)?;
            let mut read = Self::parse(&path.display().to_string(), &text)?;
            read.read_members(path.parent().unwrap_or(Path::new("")))?;
            declaration.append(read);
        }
        Ok(declaration)
    }

    /// Reads the files that sets take their members from, which lie from this directory on.
    fn read_members(&mut self, directory: &Path) -> Result<()> {
        for Declared { what, origin } in &mut self.attachments {
            for set in &mut what.sets {
                let About { kind, timeout, .. } = set.about;
                let StatedMembers::File(file) = &set.members else {
                    continue;
                };
                let path = directory.join(file);
                let text = text(&path).map_err(|error| origin.blame(error))?;
                // Their ends are counted from when the set is made.
                let now = 0;
                let members = SetText { kind, timeout, now }.read(&text);
                let members = members.map_err(|error| Error::Declaration {
                    place: format!("{}:{}", path.display(), error.line),
                    key: format!("set {}", set.about.name),
                    cause: error.to_string(),
                })?;
                set.members = StatedMembers::Here(members);
            }
        }
        Ok(())
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
            && !file.is_dir()
        {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A file decides what runs in the kernel as much as an object does: nobody but root may be able to
/// change it. What is piped in is the caller's.
fn text(path: &Path) -> Result<String> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if path.is_file() {
        let (_, bytes) = trust::open(path)?.read(LARGEST, IN_WORDS)?;
        let text = String::from_utf8(bytes);
        return text.map_err(|error| failed(io::Error::other(error.utf8_error())));
    }
    // Whoever gives a pipe knows who writes to it.
    let mut text = String::new();
    let length = if path == Path::new("-") {
        io::stdin().take(LARGEST + 1).read_to_string(&mut text)
    } else {
        let file = File::open(path);
        file.and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
    };
    match u64::try_from(length.map_err(failed)?) {
        Ok(length) if length <= LARGEST => Ok(text),
        Ok(_) | Err(_) => {
            let larger = format!("it is larger than {IN_WORDS}");
            Err(failed(io::Error::other(larger)))
        }
    }
}
