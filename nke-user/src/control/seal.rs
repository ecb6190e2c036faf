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
    /// already; [`Error::Unconfirmed`](crate::error::Error::Unconfirmed) while a change waits that
    /// could then neither go back nor be confirmed; and those of [`Control::look`].
    pub fn seal(state: &Path, level: Level) -> Result<()> {
        let locked = Self::look(state)?;
        if level > Level::Open {
            locked.refuse_pending("seal")?;
        }
        seal::raise(level)
    }
}
