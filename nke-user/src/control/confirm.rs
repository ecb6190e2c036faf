//! `--confirm`: a change that goes back by itself unless `nke confirm` is given in time.
//!
//! ```text
//! record written, timer started     change in force, deadline set     confirmed: record removed
//!                                                                     due: back, record removed
//! ```
//!
//! The timer is a process that sleeps until the deadline and then opens the state: whoever opens it
//! when the deadline has passed goes back, so nothing hangs on the process but the moment. The record
//! is there before the change and goes after it was taken back: killed in between, going back finds
//! nothing to do. This must never go back to anything but what was there when the record was written.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    io::Errno,
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec, clock_gettime},
};
use serde::{Deserialize, Serialize};

use super::{Control, Terms, Upgrade, Upgraded};
use crate::{
    declare::{self, Declaration, plan::Plan},
    error::{Error, Result},
    extension::{Build, keep_file, read_file},
    seal::{Level, refuse_from},
    state::{State, in_outermost},
};

/// How long a change waits for its confirmation, and what starts the timer of this id: a process
/// that calls [`wait`] and lives on without the caller.
pub struct Timer<'a> {
    /// The time, in seconds.
    pub seconds: u32,
    /// Starts it, and returns once it no longer depends on the caller.
    pub start: &'a dyn Fn(u64) -> io::Result<()>,
}

/// A change that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its id: never another's until the next boot.
    pub id: u64,
    /// What it goes back to.
    back: Back,
    /// When, in nanoseconds of CLOCK_BOOTTIME: time in suspend counts.
    until: u64,
}

/// What there is to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Back {
    /// The build of an extension with this kmid.
    Upgrade { name: String, kmid: u32 },
    /// The declaration that is kept beside the record.
    Apply,
}

impl Pending {
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
}

/// Sleeps until a change is due, and has it go back unless it was confirmed.
///
/// # Errors
///
/// Those of [`Control::look`].
pub fn wait(state: &Path, id: u64) -> Result<()> {
    let mut tried = false;
    // While it sleeps, the change comes in force, and is due later than was known before.
    while let Some(pending) = peek(state).filter(|pending| pending.id == id) {
        let left = pending.left();
        if left.is_zero() {
            if tried {
                break;
            }
            tried = true;
            drop(Control::look(state)?);
        } else {
            sleep_until(pending.until);
        }
    }
    Ok(())
}

/// The record, without the lock.
fn peek(state: &Path) -> Option<Pending> {
    let path = State::pending_in(state).join(RECORD);
    let text = in_outermost(|| fs::read_link(path)).ok()?.ok()?;
    serde_json::from_slice(text.as_os_str().as_bytes()).ok()
}

/// Nanoseconds of CLOCK_BOOTTIME.
fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let [seconds, rest] = [tv_sec, tv_nsec].map(|it| u64::try_from(it).unwrap_or_default());
    seconds * 1_000_000_000 + rest
}

fn sleep_until(time: u64) {
    let parts = [time / 1_000_000_000, time % 1_000_000_000];
    let [tv_sec, tv_nsec] = parts.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    let time = Timespec { tv_sec, tv_nsec };
    while clock_nanosleep_absolute(ClockId::Boottime, &time) == Err(Errno::INTR) {}
}

/// The record.
const RECORD: &str = "record";

/// The pin of the text to go back to.
const DECLARATION: &str = "declaration";

impl Control {
    /// As [`Control::upgrade`], and it goes back unless it is confirmed. No change is pending if
    /// there was nothing to upgrade.
    ///
    /// # Errors
    ///
    /// Those of [`Control::upgrade`], and [`Error::Kernel`] if the timer cannot be started.
    pub fn upgrade_to_confirm(
        &mut self,
        upgrade: &Upgrade,
        timer: &Timer<'_>,
    ) -> Result<(Upgraded, Option<Pending>)> {
        self.refuse_pending("upgrade")?;
        let old = self.upgradable(&upgrade.extension)?;
        let back = Back::Upgrade {
            name: old.name,
            kmid: old.kmid,
        };
        self.guard(back, timer, |control| {
            let upgraded = control.upgrade_now(upgrade)?;
            Ok((upgraded.changed, upgraded))
        })
    }

    /// As [`Control::apply`], and it goes back unless it is confirmed. No change is pending if
    /// there was nothing to change.
    ///
    /// # Errors
    ///
    /// Those of [`Control::apply`], [`Error::NoWayBack`], and [`Error::Kernel`] if the timer
    /// cannot be started.
    pub fn apply_to_confirm(
        &mut self,
        declaration: &Declaration,
        terms: Terms,
        timer: &Timer<'_>,
    ) -> Result<(Plan, Option<Pending>)> {
        self.refuse_pending("apply")?;
        let (before, lost) = self.save()?;
        if !lost.is_empty() {
            return Err(Error::NoWayBack {
                lost: lost.join(", "),
            });
        }
        let directory = self.state.pending();
        self.state.make_directory(&directory)?;
        let text = declare::text(&before);
        // A map holds no nothing.
        let kept = if text.is_empty() {
            Ok(())
        } else {
            keep_file(
                &self.state,
                text.as_bytes(),
                "apply",
                &directory.join(DECLARATION),
            )
            .map(drop)
        };
        if let Err(error) = kept {
            let _: Result<()> = self.state.remove(&directory);
            return Err(error);
        }
        self.guard(Back::Apply, timer, |control| {
            let plan = control.apply_now(declaration, terms)?;
            Ok((!plan.is_empty(), plan))
        })
    }

    /// Carries out a change that says whether it changed anything, with a way back.
    fn guard<T>(
        &mut self,
        back: Back,
        timer: &Timer<'_>,
        change: impl FnOnce(&mut Self) -> Result<(bool, T)>,
    ) -> Result<(T, Option<Pending>)> {
        let directory = self.state.pending();
        self.state.make_directory(&directory)?;
        let begun = now();
        let time = u64::from(timer.seconds) * 1_000_000_000;
        let mut pending = Pending {
            // In milliseconds: it is typed.
            id: begun / 1_000_000,
            back,
            until: begun.saturating_add(time),
        };
        let started = self.write_pending(&pending).and_then(|()| {
            (timer.start)(pending.id).map_err(|source| Error::Kernel {
                object: "confirm".to_owned(),
                stage: "start the timer",
                source,
                remedy: "raise the limit of processes",
            })
        });
        let done = started.and_then(|()| change(self));
        match done {
            Ok((true, done)) => {
                pending.until = now().saturating_add(time);
                // Without it the change is due a little earlier.
                let _: Result<()> = self.write_pending(&pending);
                Ok((done, Some(pending)))
            }
            Ok((false, done)) => self.forget_pending().map(|()| (done, None)),
            Err(error) => {
                // What cannot be removed now finds nothing to go back from.
                let _: Result<()> = self.forget_pending();
                Err(error)
            }
        }
    }

    /// The change that waits for its confirmation.
    ///
    /// # Errors
    ///
    /// [`Error::State`].
    pub fn pending(&self) -> Result<Option<Pending>> {
        self.state.read_record(&self.pending_record())
    }

    /// Confirms the change that waits for it; with `id`, only if it is this one.
    ///
    /// # Errors
    ///
    /// [`Error::NothingPending`].
    pub fn confirm(&mut self, id: Option<u64>) -> Result<Pending> {
        let pending = self.pending()?;
        let meant = pending.filter(|pending| id.is_none_or(|id| id == pending.id));
        let pending = meant.ok_or(Error::NothingPending)?;
        self.forget_pending()?;
        Ok(pending)
    }

    /// Refuses what would take away what a pending change goes back to.
    pub(super) fn refuse_pending(&self, stage: &'static str) -> Result<()> {
        self.pending()?.map_or(Ok(()), |pending| {
            Err(Error::Unconfirmed {
                what: pending.what(),
                id: pending.id,
                stage,
            })
        })
    }

    /// Takes back a change that is due.
    pub(super) fn go_back_if_due(&mut self) -> Result<()> {
        let directory = self.state.pending();
        if !directory.exists() {
            return Ok(());
        }
        self.state.sweep_record(&directory)?;
        let Some(pending) = self.pending()? else {
            return self.state.remove(&directory);
        };
        // A sealed host stays as it is.
        if !pending.left().is_zero() || refuse_from(Level::NoChange).is_err() {
            return Ok(());
        }
        // Where this fails all stays as it is, until it does not.
        if self.take_back(&pending).is_ok() {
            self.forget_pending()?;
        }
        Ok(())
    }

    fn take_back(&mut self, pending: &Pending) -> Result<()> {
        match &pending.back {
            Back::Upgrade { name, kmid } => {
                let previous = self.build_of(name, Build::Previous);
                // If not, it was never in force, or has been undone or unloaded since.
                if previous.is_some_and(|previous| previous.kmid == *kmid) {
                    self.rollback(name, None)?;
                }
                Ok(())
            }
            Back::Apply => {
                let pin = self.state.pending().join(DECLARATION);
                let kept = pin.exists().then(|| read_file(&self.state, &pin));
                let text = kept.transpose()?.unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let before = Declaration::parse("what ran before", &text)?;
                let terms = Terms {
                    prune: true,
                    force: true,
                };
                self.apply_now(&before, terms).map(drop)
            }
        }
    }

    fn pending_record(&self) -> PathBuf {
        self.state.pending().join(RECORD)
    }

    fn write_pending(&self, pending: &Pending) -> Result<()> {
        self.state.write_record(&self.pending_record(), pending)
    }

    /// The record goes first: without it there is nothing to go back to.
    fn forget_pending(&self) -> Result<()> {
        if self.pending()?.is_some() {
            self.state.remove_record(&self.pending_record())?;
        }
        self.state.remove(&self.state.pending())
    }
}
