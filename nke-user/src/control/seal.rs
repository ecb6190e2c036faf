//! `seal`: from now until the next boot, less can be changed.

use std::path::Path;

use super::Control;
use crate::{
    error::Result,
    seal::{self, Level, Sealing, Who},
};

impl Control {
    /// Seals the host, once whoever is changing this state is done. It cannot be undone. If the kernel
    /// is to refuse others as well and cannot, nke alone does, and the result says why.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`](crate::error::Error::Sealed) if the host is sealed at a higher level
    /// already; [`Error::Unconfirmed`](crate::error::Error::Unconfirmed) while a change waits that
    /// could then neither go back nor be confirmed; and those of [`Control::look`].
    pub fn seal(state: &Path, level: Level, who: Who) -> Result<Sealing> {
        let control = Self::look(state)?;
        if level > Level::Open {
            control.refuse_pending("seal")?;
        }
        seal::raise(&control.state, level, who)
    }
}
