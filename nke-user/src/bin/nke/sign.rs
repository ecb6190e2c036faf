//! `nke keygen`, `nke sign`, `nke verify`: signatures of objects.

use std::path::PathBuf;

use clap::Args;
use nke::{
    find::Wanted,
    trust::{generate, sign, verify},
};
use serde_json::json;

use crate::{
    arguments::Format,
    output::{line, print_json},
};

/// Make a key to sign extensions with
///
/// The secret key goes into FILE, the public one into FILE.pub. A host trusts the keys *.pub in
/// /etc/nke/trust; with `require-signature = true` in /etc/nke/trust/policy.toml it loads nothing
/// else.
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// The file of the secret key, which must not exist
    file: PathBuf,
}

/// Sign an object, and the manifest beside it: the signature goes into FILE.sig
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The object
    file: PathBuf,
    /// The file of the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Say which trusted key has signed an object, and the manifest beside it
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A name to search in $NKE_PATH, or a path (what holds a '/')
    extension: Wanted,
    #[command(flatten)]
    format: Format,
}

impl Keygen {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let public = generate(&self.file)?;
        let (secret, public) = (self.file.display(), public.display());
        line(format_args!(
            "made the secret key {secret} and the public key {public}"
        ));
        Ok(())
    }
}

impl Sign {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let signature = sign(&self.file, &self.key)?;
        line(format_args!(
            "signed {} in {}",
            self.file.display(),
            signature.display()
        ));
        Ok(())
    }
}

impl Verify {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let signer = verify(&self.extension)?;
        if self.format.json {
            return print_json(&json!({ "signer": signer }));
        }
        line(format_args!("{} is signed by {signer}", self.extension));
        Ok(())
    }
}
