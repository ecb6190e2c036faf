//! `seal`: from now until the next boot, less can be changed.

use std::path::Path;

use super::Control;
use crate::{
    error::Result,
    seal::{self, Level},
};

impl Control {
    /// Seals the host, once whoever is changing this state is done. It cannot be undone.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`](crate::error::Error::Sealed) if the host is sealed at a higher level
    /// already, and those of [`Control::look`].
    pub fn seal(state: &Path, level: Level) -> Result<()> {
        let _locked = Self::look(state)?;
        seal::raise(level)
    }
}
