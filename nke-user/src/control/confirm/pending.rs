//! A change that waits for its confirmation, as it is written down in the state.
//!
//! ```text
//! begun ── in force, deadline set ──▶ waiting ── confirmed ──▶ forgotten
//!   │                                    │ due
//!   └── the command was killed ──▶ due ◀─┘ ── gone back ──▶ forgotten
//!                                   └── going back failed: failed, and due again with each command
//! ```
//!
//! Nothing here does I/O but to read the clock and the seal.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    seal::{Level, refuse_from},
    sys::process::Process,
};

/// A change that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its id: never another's until the next boot.
    pub id: u64,
    /// What it goes back to.
    pub(super) back: Back,
    /// When, in nanoseconds of CLOCK_BOOTTIME: time in suspend counts.
    pub(super) until: u64,
    /// Whether the command that makes the change has not come to its end: nobody was told of it
    /// yet, so if that command is gone, the change goes back at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) begun: bool,
    /// The process that sleeps until it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timer: Option<Process>,
    /// Why it could not go back when it was due, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
}

/// What there is to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Back {
    /// The build of an extension with this kmid.
    Upgrade { name: String, kmid: u32 },
    /// The declaration that is kept beside the record.
    Apply,
}

/// How a change stands that is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It goes back after this time.
    Waiting(Duration),
    /// It could not go back, for this reason; each command tries again.
    Failed(&'a str),
    /// The host is sealed against every change: it stays as it is, for good.
    Sealed,
}

/// Most characters of a reason that are kept: a record is no longer than a page.
const LONGEST_REASON: usize = 480;

impl Pending {
    /// One that has begun just now, and is to be confirmed in so many seconds.
    pub(super) fn begin(back: Back, seconds: u32) -> Self {
        let now = now();
        Self {
            // In milliseconds: it is typed.
            id: now / 1_000_000,
            back,
            until: deadline(now, seconds),
            begun: true,
            timer: None,
            failed: None,
        }
    }

    /// The same, when it is in force: the time counts from here on.
    pub(super) fn in_force(self, seconds: u32, timer: Process) -> Self {
        Self {
            until: deadline(now(), seconds),
            begun: false,
            timer: Some(timer),
            ..self
        }
    }

    /// What it is, in words.
    pub fn what(&self) -> String {
        match &self.back {
            Back::Upgrade { name, .. } => format!("upgrade of {name}"),
            Back::Apply => "apply".to_owned(),
        }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.until.saturating_sub(now()))
    }

    /// How it stands.
    pub fn standing(&self) -> Standing<'_> {
        if refuse_from(Level::NoChange).is_err() {
            return Standing::Sealed;
        }
        match &self.failed {
            Some(reason) => Standing::Failed(reason),
            None => Standing::Waiting(self.left()),
        }
    }

    /// Whether it is to go back now.
    pub(super) fn is_due(&self) -> bool {
        self.begun || self.left().is_zero()
    }

    /// Notes why it could not go back; whether that was not noted already.
    pub(super) fn note(&mut self, error: &Error) -> bool {
        let reason: String = error.to_string().chars().take(LONGEST_REASON).collect();
        let is_new = self.failed.as_ref() != Some(&reason);
        self.failed = Some(reason);
        is_new
    }
}

fn deadline(from: u64, seconds: u32) -> u64 {
    from.saturating_add(u64::from(seconds) * 1_000_000_000)
}

/// Nanoseconds of CLOCK_BOOTTIME.
fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let [seconds, rest] = [tv_sec, tv_nsec].map(|it| u64::try_from(it).unwrap_or_default());
    seconds * 1_000_000_000 + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Pending {
        let name = "x".repeat(255);
        Pending::begin(Back::Upgrade { name, kmid: 7 }, 60)
    }

    #[test]
    fn what_has_only_begun_is_due() {
        let pending = begun();
        assert!(pending.is_due() && !pending.left().is_zero());
        let process = Process::of(std::process::id()).expect("this one is there");
        let waiting = pending.in_force(60, process);
        assert!(!waiting.is_due());
        assert!(
            Pending {
                until: 0,
                ..waiting
            }
            .is_due()
        );
    }

    #[test]
    fn a_record_with_the_longest_reason_is_a_link() {
        for reason in ["\u{1}", "é", "\u{1f980}", "\""] {
            let mut pending = begun();
            let name = reason.repeat(10_000);
            assert!(pending.note(&Error::NoPrevious { name: name.clone() }));
            assert!(!pending.note(&Error::NoPrevious { name }));
            let text = serde_json::to_string(&pending).expect("it is JSON");
            assert!(text.len() < 4096, "{}", text.len());
            assert_eq!(serde_json::from_str::<Pending>(&text).ok(), Some(pending));
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let text = r#"{"id":5,"back":"apply","until":9}"#;
        let pending: Pending = serde_json::from_str(text).expect("it is whole");
        assert!(!pending.begun && pending.timer.is_none() && pending.is_due());
    }
}
