//! Records that extensions send: a ring buffer's reader, and the count of what did not fit.
//!
//! An extension whose manifest says `records = …` has them ([`crate::object::Manifest`]). A ring
//! buffer has one reader: two share its records out between them (see [`crate::reading`]). This module must never keep a
//! lock, and never says that nothing was lost when something was.
//!
//! ```no_run
//! use nke::{control::Control, records::Record};
//!
//! let control = Control::open("/run/nke".as_ref())?;
//! let kmid = control.extensions()[0].kmid;
//! let mut tail = control.records(kmid)?.unwrap();
//! drop(control);
//! while let Some(record) = tail.next()? {
//!     if let Record::Lost { lost, .. } = record {
//!         println!("{lost} records did not fit");
//!     }
//! }
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::maps::{Map, MapData, RingBuf};
use nke_ebpf::abi::records::{Connection, Socket};

use crate::{
    error::{Error, Result},
    object::RecordKind,
    sys,
};

/// What an extension has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A TCP connection has ended.
    Connection(Connection),
    /// Something has happened to a socket.
    Event(Socket),
    /// Records did not fit into the ring buffer.
    Lost {
        /// How many since this was told last.
        lost: u64,
        /// How many since the extension was loaded.
        total: u64,
    },
}

/// A reader of an extension's records.
pub struct Tail {
    extension: String,
    kind: RecordKind,
    ring: RingBuf<MapData>,
    lost: OwnedFd,
    told: u64,
}

impl Tail {
    pub(crate) fn new(
        extension: &str,
        kind: RecordKind,
        ring: OwnedFd,
        lost: OwnedFd,
    ) -> Result<Self> {
        let ring = MapData::from_fd(ring)
            .and_then(|data| RingBuf::try_from(Map::RingBuf(data)))
            .map_err(|error| failed(extension, "open its records", io::Error::other(error)))?;
        Ok(Self {
            extension: extension.to_owned(),
            kind,
            ring,
            lost,
            told: 0,
        })
    }

    /// The name of the extension.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// The next record; what was lost is told when there is no other. `None` when there is nothing
    /// to tell now: the descriptor is readable when there is again.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] if a record is none of its kind, or the losses cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and goes on")]
    pub fn next(&mut self) -> Result<Option<Record>> {
        if let Some(bytes) = self.ring.next() {
            let record = match self.kind {
                RecordKind::Connection => Connection::from_bytes(&bytes).map(Record::Connection),
                RecordKind::Event => Socket::from_bytes(&bytes).map(Record::Event),
            };
            let other = || io::Error::new(io::ErrorKind::InvalidData, "it is not of its kind");
            return record
                .map(Some)
                .ok_or_else(|| failed(&self.extension, "read a record", other()));
        }
        let total = self.total()?;
        let lost = total.saturating_sub(self.told);
        self.told = total;
        Ok((lost > 0).then_some(Record::Lost { lost, total }))
    }

    /// How many records did not fit, on all CPUs.
    fn total(&self) -> Result<u64> {
        let mut counts = vec![0; 8 * sys::map::cpus()];
        sys::map::lookup(&self.lost, &0u32.to_ne_bytes(), &mut counts)
            .map_err(|source| failed(&self.extension, "read its losses", source))?;
        let (counts, _) = counts.as_chunks();
        Ok(counts.iter().map(|count| u64::from_ne_bytes(*count)).sum())
    }
}

impl AsFd for Tail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn failed(extension: &str, stage: &'static str, source: io::Error) -> Error {
    Error::Kernel {
        object: extension.to_owned(),
        stage,
        source,
        remedy: "build the extension with the records of this nke",
    }
}
