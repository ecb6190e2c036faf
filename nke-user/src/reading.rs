//! The right to read an extension's lines and records, which one process has at a time: what one takes from a ring buffer,
//! another never sees.
//!
//! ```no_run
//! use nke::control::Control;
//!
//! let control = Control::look("/run/nke".as_ref())?;
//! let kmid = control.extensions()[0].kmid;
//! let reading = control.reading(kmid)?;
//! // … and as long as that is kept, `nke log` refuses to read this extension.
//! # drop(reading);
//! # Ok::<(), nke::error::Error>(())
//! ```
//!
//! It is a lock of the extension's directory, and ends with the process. Nobody else locks that.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use rustix::fs::{FlockOperation, Mode, OFlags, fstat, major, minor};

use crate::error::{Error, Result};

/// The right to read one extension; given back when it is dropped.
#[derive(Debug)]
pub struct Reading {
    _directory: OwnedFd,
}

impl Reading {
    /// Of the extension in this directory.
    pub(crate) fn of(name: &str, directory: &Path) -> Result<Self> {
        let failed = |source: io::Error| Error::State {
            path: directory.to_owned(),
            stage: "lock",
            source,
            remedy: "try again",
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty());
        let opened = opened.map_err(|error| failed(error.into()))?;
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: opened }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::BeingRead {
                name: name.to_owned(),
                reader: holder(&opened).map_or_else(|| "another process".to_owned(), described),
            }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// The process that has locked this, as proc_locks(5) tells; nothing if it is not to be seen from here.
fn holder(locked: &OwnedFd) -> Option<u32> {
    let about = fstat(locked).ok()?;
    let (major, minor) = (major(about.st_dev), minor(about.st_dev));
    let place = format!("{major:02x}:{minor:02x}:{}", about.st_ino);
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 1234 00:2d:5678 0 EOF
    let mut lines = locks.lines().map(|line| line.split_whitespace().collect());
    let line = lines.find(|words: &Vec<&str>| {
        words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&place.as_str())
    })?;
    line.get(4)?.parse().ok().filter(|pid| *pid != 0)
}

fn described(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match command.trim_end() {
        "" => format!("process {pid}"),
        command => format!("process {pid} ({command})"),
    }
}
