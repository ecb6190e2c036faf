//! Whose signatures are trusted, and whether one is needed: `/etc/nke/trust`.
//!
//! ```text
//! policy.toml      require-signature = true
//! NAME.pub         a key, as `nke keygen` writes it; NAME is what the signer is called
//! ```
//!
//! There is one such place, which no option and no variable changes: another could only be weaker.
//! Without it nothing need be signed. A file in it that cannot be read is an error, never a yes.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    key::{self, PublicKey, Signature},
    open,
};
use crate::error::{Error, Result};

/// Where keys and the policy are.
pub const DIRECTORY: &str = "/etc/nke/trust";
/// More than all that can be said in a policy.
const LONGEST: u64 = 64 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Policy {
    #[serde(default)]
    require_signature: bool,
}

/// Whether only what is signed is loaded.
///
/// # Errors
///
/// [`Error::TrustFile`], [`Error::Untrusted`], [`Error::Read`].
pub(crate) fn requires_signature() -> Result<bool> {
    let path = Path::new(DIRECTORY).join("policy.toml");
    match open(&path) {
        Ok(file) => {
            let (path, text) = file.read(LONGEST, "64 KiB")?;
            let policy = parse(&text).map_err(|cause| Error::TrustFile { path, cause })?;
            Ok(policy.require_signature)
        }
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse(text: &[u8]) -> Result<Policy, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

/// The name of the trusted key that a signature is of; `None` if nobody here trusts it.
///
/// # Errors
///
/// [`Error::TrustFile`], [`Error::Untrusted`], [`Error::Read`].
pub(crate) fn name_of(signature: &Signature) -> Result<Option<String>> {
    for path in keys()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if read_key(&path)? == signature.signer {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
}

/// The files of trusted keys, by name.
fn keys() -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Read {
        path: DIRECTORY.into(),
        source,
    };
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "pub") {
            keys.push(path);
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Reads a trusted key.
pub(crate) fn read_key(path: &Path) -> Result<PublicKey> {
    let (path, text) = open(path)?.read(key::LONGEST, "4 KiB")?;
    PublicKey::parse(&text).map_err(|cause| Error::TrustFile {
        path,
        cause: cause.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn policies() {
        let check = |text: &str, expected| {
            let policy = parse(text.as_bytes()).map(|policy| policy.require_signature);
            assert_eq!(policy.ok(), expected, "{text:?}");
        };
        check("", Some(false));
        check("# none\n", Some(false));
        check("require-signature = true\n", Some(true));
        check("require-signature = false\n", Some(false));
        // What is misspelt must not pass for no.
        check("require-signatures = true\n", None);
        check("require_signature = true\n", None);
        check("require-signature = \"true\"\n", None);
        check("[trust]\nrequire-signature = true\n", None);
        check("require-signature\n", None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(parse(&text));
        }

        #[test]
        fn words_in_any_order(text in "(require-signature|=|true|false|\\[|\\]|\"|#|\n| ){0,12}") {
            drop(parse(text.as_bytes()));
        }
    }
}
