//! The files of a declaration.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::Declaration;
use crate::error::{Error, Result};

/// More than a declaration of 32 attachments at each of 10,000 hooks takes.
const LARGEST: u64 = 32 << 20;

impl Declaration {
    /// Reads a file, standard input (`-`), or all files `*.toml` of a directory, in the order of
    /// their names; directories in it are not read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Declaration`].
    pub fn read(path: &Path) -> Result<Self> {
        let mut declaration = Self::default();
        for path in files(path)? {
            let text = text(&path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?;
            declaration.append(Self::parse(&path.display().to_string(), &text)?);
        }
        Ok(declaration)
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

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = if path == Path::new("-") {
        io::stdin().take(LARGEST + 1).read_to_string(&mut text)?
    } else {
        File::open(path)?
            .take(LARGEST + 1)
            .read_to_string(&mut text)?
    };
    match u64::try_from(length) {
        Ok(length) if length <= LARGEST => Ok(text),
        Ok(_) | Err(_) => Err(io::Error::other("it is larger than 32 MiB")),
    }
}
