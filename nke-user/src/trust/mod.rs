//! Trust: what comes into the kernel is what root, and nobody else, has put there.
//!
//! A file is trusted if root owns it and nobody else can write to it, and if that holds for every
//! directory on the way to it. Bytes are read from the descriptor that was looked at: no name is
//! looked up twice, so nobody can put another file in its place in between. This module never
//! changes a file, and never believes a path.
//!
//! ```no_run
//! let file = nke::trust::open("/usr/lib/nke/counter.o".as_ref())?;
//! println!("{}", file.path.display());
//! # Ok::<(), nke::error::Error>(())
//! ```

mod key;
mod policy;
mod signature;
mod walk;

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub(crate) use self::signature::{admit, signer};
pub use self::{
    key::{Malformed, PublicKey, SecretKey, Signature},
    policy::DIRECTORY,
    signature::{beside, generate, sign, verify},
    walk::{Trusted, open},
};
use crate::error::{Error, Result};

/// Why something is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Another user than root owns it.
    #[error("user {0} owns it")]
    Owner(u32),
    /// Others than root can write to it.
    #[error("others than root can write to it (mode {0:04o})")]
    Writable(u32),
}

impl Trusted {
    /// Reads all of it, unless it is larger than this many bytes: `in_words` says how many.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn read(self, largest: u64, in_words: &str) -> Result<(PathBuf, Vec<u8>)> {
        let Self { path, file } = self;
        let mut bytes = Vec::new();
        let odd = || io::Error::other(format!("it is not a regular file of {in_words} at most"));
        let read = file.take(largest + 1).read_to_end(&mut bytes);
        let fits = read.and_then(|length| match u64::try_from(length) {
            Ok(length) if length <= largest => Ok(()),
            Ok(_) | Err(_) => Err(odd()),
        });
        match fits {
            Ok(()) => Ok((path, bytes)),
            Err(source) => Err(Error::Read { path, source }),
        }
    }
}

/// What mends distrust of a file or directory on the way to `file`.
pub(crate) fn remedy(why: Distrust, path: &Path, file: &Path) -> String {
    let (shown, copy) = (path.display(), file.display());
    match why {
        Distrust::Writable(_) => format!("`chmod go-w {shown}`"),
        Distrust::Owner(_) if path == file => {
            format!(
                "`chown root {shown}`, or copy it: `install -m 644 {copy} -t /usr/local/lib/nke`"
            )
        }
        // A home directory is its user's: what is in it must be taken out.
        Distrust::Owner(_) => format!(
            "copy the file: `install -D -m 644 {copy} -t /usr/local/lib/nke`, or `chown root {shown}`"
        ),
    }
}
