//! Who has signed what is loaded.

use super::Control;
use crate::{error::Result, trust};

impl Control {
    /// The trusted key that has signed the bytes which an extension was loaded from, by its name:
    /// by the signature that now lies beside its file, and the keys that are trusted now.
    ///
    /// # Errors
    ///
    /// [`Error::BadSignature`](crate::error::Error::BadSignature) where that signature is of other
    /// bytes, and those of reading.
    pub fn signer(&self, kmid: u32) -> Result<Option<String>> {
        let Some(extension) = self.extensions.iter().find(|e| e.kmid == kmid) else {
            return Ok(None);
        };
        let (object, manifest) = extension.contents(&self.state)?;
        trust::signer(&extension.record.path, &object, manifest.as_deref())
    }
}
