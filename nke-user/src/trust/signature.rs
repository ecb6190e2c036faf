//! Signing files, and checking the signature of bytes that are about to be loaded.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    key::{self, SecretKey, Signature},
    open, policy,
};
use crate::{
    error::{Error, Result},
    find::{Found, Wanted, peek},
};

/// Where the signature of a file is: `thing.o.sig` beside `thing.o`.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".sig");
    name.into()
}

/// Makes a key: the secret one in `path`, which only its owner can read, the public one in `path`
/// with `.pub` behind it. A file that is there already stays.
///
/// # Errors
///
/// [`Error::Write`], [`Error::Read`] where there is no randomness.
pub fn generate(path: &Path) -> Result<PathBuf> {
    let mut random = [0; 32];
    let source = Path::new("/dev/urandom");
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| Error::Read {
        path: source.to_owned(),
        source: error,
    })?;
    let key = SecretKey::new(&random);
    let mut public = OsString::from(path);
    public.push(".pub");
    let public = PathBuf::from(public);
    write_new(&public, 0o644, &key.public().text())?;
    let written = write_new(path, 0o600, &key.text());
    if written.is_err() {
        // Half a pair is of no use.
        let _: io::Result<()> = fs::remove_file(&public);
    }
    written.map(|()| public)
}

/// Signs an object, and the manifest beside it, with the key in a file; where the signature is.
///
/// # Errors
///
/// [`Error::Read`], [`Error::TrustFile`] for what is no key, [`Error::Write`].
pub fn sign(wanted: &Path, secret: &Path) -> Result<PathBuf> {
    let failed = |source| Error::Read {
        path: secret.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(secret).map_err(failed)?;
    let read = file.take(key::LONGEST).read_to_end(&mut text);
    read.map_err(failed)?;
    let secret = SecretKey::parse(&text).map_err(|cause| Error::TrustFile {
        path: secret.to_owned(),
        cause: cause.to_string(),
    })?;
    let found = peek(&Wanted::Path(wanted.to_owned()))?;
    let signature = secret.sign(&found.bytes, found.manifest.as_deref());
    let path = beside(&found.path);
    // Never half a signature in the place of a whole one.
    let mut fresh = OsString::from(&path);
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    write_new(&fresh, 0o644, &signature.text())?;
    fs::rename(&fresh, &path).map_err(|source| {
        let _: io::Result<()> = fs::remove_file(&fresh);
        Error::Write {
            path: path.clone(),
            source,
        }
    })?;
    Ok(path)
}

/// The trusted signer of bytes that lay at `path`; `None` if they have no signature, or one of a key
/// that nobody trusts here.
///
/// # Errors
///
/// [`Error::BadSignature`] if there is a signature of a trusted key, and it is not of these bytes.
pub(crate) fn signer(
    path: &Path,
    object: &[u8],
    manifest: Option<&[u8]>,
) -> Result<Option<String>> {
    match check(path, object, manifest) {
        Ok(signer) => Ok(Some(signer)),
        Err(Error::Unsigned { .. } | Error::UnknownSigner { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses what is about to be loaded, if its signature is wrong, or if one is required and there is
/// none of a trusted key.
pub(crate) fn admit(found: &Found) -> Result<()> {
    let checked = check(&found.path, &found.bytes, found.manifest.as_deref());
    match checked {
        Err(Error::Unsigned { .. } | Error::UnknownSigner { .. })
            if !policy::requires_signature()? =>
        {
            Ok(())
        }
        checked => checked.map(drop),
    }
}

/// The trusted key that has signed these bytes, by name.
///
/// # Errors
///
/// [`Error::Unsigned`], [`Error::UnknownSigner`], [`Error::BadSignature`], [`Error::TrustFile`], and
/// those of reading.
pub fn verify(wanted: &Wanted) -> Result<String> {
    let found = peek(wanted)?;
    check(&found.path, &found.bytes, found.manifest.as_deref())
}

fn check(path: &Path, object: &[u8], manifest: Option<&[u8]>) -> Result<String> {
    let path = path.to_owned();
    let at = beside(&path);
    let text = match open(&at) {
        Ok(file) => file.read(key::LONGEST, "4 KiB")?.1,
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Unsigned { path });
        }
        Err(error) => return Err(error),
    };
    let signature = Signature::parse(&text).map_err(|cause| Error::TrustFile {
        path: at,
        cause: cause.to_string(),
    })?;
    let Some(signer) = policy::name_of(&signature)? else {
        let signer = signature.signer.to_string();
        return Err(Error::UnknownSigner { path, signer });
    };
    if !signature.fits(object, manifest) {
        return Err(Error::BadSignature { path, signer });
    }
    Ok(signer)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = opened.and_then(|mut file| {
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        if written.is_err() {
            let _: io::Result<()> = fs::remove_file(path);
        }
        written
    });
    written.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}
