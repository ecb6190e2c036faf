//! Log lines that an extension has not written, for they would have been too many: their number.
//!
//! An extension that limits its lines counts them in a map of its own
//! ([`nke_ebpf::abi::map::LEFT_OUT`]). This module must never keep a lock.
//!
//! ```no_run
//! use nke::control::Control;
//!
//! let control = Control::look("/run/nke".as_ref())?;
//! let kmid = control.extensions()[0].kmid;
//! let mut left_out = control.left_out(kmid)?.unwrap();
//! drop(control);
//! if let Some(lines) = left_out.next()? {
//!     println!("{} lines were left out", lines.new);
//! }
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::{io, os::fd::OwnedFd};

use crate::{
    error::{Error, Result},
    sys,
};

/// The count of an extension.
pub struct LeftOut {
    extension: String,
    counts: OwnedFd,
    told: u64,
}

/// How many lines were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Since this was told last.
    pub new: u64,
    /// Since the extension was loaded.
    pub total: u64,
}

impl LeftOut {
    /// Nothing if the map has another shape: then it is no such count.
    pub(crate) fn of(extension: &str, counts: OwnedFd) -> Option<Self> {
        let found = Self {
            extension: extension.to_owned(),
            counts,
            told: 0,
        };
        found.total().is_ok().then_some(found)
    }

    /// The name of the extension.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// How many lines were left out since this was told last; nothing if none was.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] if the count cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and goes on")]
    pub fn next(&mut self) -> Result<Option<Lines>> {
        let total = self.total().map_err(|source| Error::Kernel {
            object: self.extension.clone(),
            stage: "read how many lines it left out",
            source,
            remedy: "try again",
        })?;
        let new = total.saturating_sub(self.told);
        self.told = total;
        Ok((new > 0).then_some(Lines { new, total }))
    }

    /// Of all CPUs.
    fn total(&self) -> io::Result<u64> {
        let mut counts = vec![0; 8 * sys::map::cpus()];
        let found = sys::map::lookup(&self.counts, &0u32.to_ne_bytes(), &mut counts)?;
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let (counts, _) = counts.as_chunks();
        Ok(counts.iter().map(|count| u64::from_ne_bytes(*count)).sum())
    }
}
