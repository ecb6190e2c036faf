//! Members as text, from the command line or from a file.

use std::{path::Path, time::Duration};

use nke::filter::{self, Error, Lasting, MemberError, SetKind, SetText, now};

use super::{super::bytes_of, Members};

/// A file that is larger is none of members: some ten millions of them.
const LARGEST_FILE: u64 = 1 << 30;

/// Members that were typed, or stand in a file, and not yet read.
pub(super) struct Text {
    pub(super) origin: String,
    pub(super) text: String,
}

impl Text {
    pub(super) fn of_file(path: &Path) -> anyhow::Result<Self> {
        let bytes = bytes_of(path, LARGEST_FILE, "set")?;
        let origin = path.display().to_string();
        let text = filter::text_of(bytes).map_err(|error| Error::Malformed {
            origin: origin.clone(),
            error: Box::new(error),
        })?;
        Ok(Self { origin, text })
    }

    pub(super) fn of(members: &Members) -> anyhow::Result<Self> {
        match &members.from {
            Some(file) => Self::of_file(file),
            None => Ok(Self {
                origin: "member".to_owned(),
                text: members.member.join(" "),
            }),
        }
    }

    pub(super) fn members(
        &self,
        kind: SetKind,
        timeout: Option<Duration>,
    ) -> Result<Vec<Lasting>, Error> {
        let now = now();
        // Nothing that is a port ends: whoever says so of all says it of none.
        let read = SetText { kind, timeout, now }.read(&self.text);
        read.map_err(|error| self.malformed(error))
    }

    pub(super) fn malformed(&self, error: MemberError) -> Error {
        Error::MalformedMember {
            origin: self.origin.clone(),
            error: Box::new(error),
        }
    }
}
