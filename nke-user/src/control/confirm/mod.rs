//! `--confirm`: a change that goes back by itself unless `nke confirm` is given in time.
//!
//! ```text
//! record written, timer started     change in force, deadline set     confirmed: record removed
//!                                                                     due: back, record removed
//! ```
//!
//! Whoever opens the state when a change is due goes back. The record is there before the change and
//! goes after it was taken back: killed in between, going back finds nothing to do. A command that
//! was killed before the deadline was set has its change taken back by the next one. What cannot go
//! back stays, with the reason in its record, and each command tries again. This must never go back
//! to anything but what was there when the record was written.

mod pending;
mod timer;

use std::{io, path::PathBuf};

use self::pending::Back;
pub use self::{
    pending::{Pending, Standing},
    timer::wait,
};
use super::{Control, Terms, Upgrade, Upgraded, save::spelling};
use crate::{
    declare::{self, Declaration, plan::Plan},
    error::{Error, Result},
    extension::{Build, keep_file, read_file},
    find::find,
    seal::{Level, refuse_from},
    sys::process::Process,
};

/// How long a change waits for its confirmation, and what starts the timer of this id: a process
/// that calls [`wait`] and lives on without the caller.
pub struct Timer<'a> {
    /// The time, in seconds.
    pub seconds: u32,
    /// Starts it, and returns once it no longer depends on the caller.
    pub start: Start<'a>,
}

/// What starts a timer.
pub type Start<'a> = &'a dyn Fn(u64) -> io::Result<Process>;

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
        let (mut before, mut lost) = self.save()?;
        self.name_by_files(&mut before);
        lost.extend(self.without_files()?);
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

    /// The extensions that could not be loaded once more as they are, in words.
    fn without_files(&self) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        for extension in self.extensions.iter().filter(|e| e.build == Build::Current) {
            let same = match find(&spelling(extension)) {
                Ok(found) => extension.is(&self.state, &found)?,
                Err(_) => false,
            };
            if !same {
                let (name, path) = (&extension.name, extension.record.path.display());
                lost.push(format!("{name}: {path} is not there, or another file now"));
            }
        }
        Ok(lost)
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
        let pending = Pending::begin(back, timer.seconds);
        let started = self.write_pending(&pending);
        let started = started.and_then(|()| start(timer.start, pending.id));
        let done = started.and_then(|process| Ok((process, change(self)?)));
        match done {
            Ok((process, (true, done))) => {
                let pending = pending.in_force(timer.seconds, process);
                if let Err(error) = self.write_pending(&pending) {
                    // What could not be noted is not done. If this fails too, the next command goes
                    // back.
                    let _: Result<()> = self
                        .take_back(&pending)
                        .and_then(|()| self.forget_pending());
                    return Err(error);
                }
                Ok((done, Some(pending)))
            }
            Ok((_, (false, done))) => self.forget_pending().map(|()| (done, None)),
            Err(error) => {
                // What cannot be removed now finds nothing to go back from.
                let _: Result<()> = self.forget_pending();
                Err(error)
            }
        }
    }

    /// Starts the timer again of a change that is not due yet, if it is not there any more.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] if it cannot be started, [`Error::State`].
    pub fn rearm(&mut self, start: Start<'_>) -> Result<()> {
        let waits = |pending: &Pending| match pending.standing() {
            Standing::Waiting(left) => !left.is_zero(),
            Standing::Failed(_) | Standing::Sealed => false,
        };
        let Some(mut pending) = self.pending()?.filter(waits) else {
            return Ok(());
        };
        if pending.timer.is_some_and(Process::is_alive) {
            return Ok(());
        }
        pending.timer = Some(self::start(start, pending.id)?);
        self.write_pending(&pending)
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
        let Some(mut pending) = self.pending()? else {
            return self.state.remove(&directory);
        };
        // A sealed host stays as it is.
        if refuse_from(Level::NoChange).is_err() || (!pending.is_due() && self.has_way(&pending)) {
            return Ok(());
        }
        match self.take_back(&pending) {
            Ok(()) => self.forget_pending(),
            // All stays as it is. If it cannot even be noted, the next command tries that too.
            Err(error) if pending.note(&error) => self.write_pending(&pending),
            Err(_) => Ok(()),
        }
    }

    /// Whether there is something to go back to. If not, the change was never in force, or whoever
    /// took the version before away has decided it: by a rollback, or by unloading the extension.
    fn has_way(&self, pending: &Pending) -> bool {
        match &pending.back {
            Back::Upgrade { name, kmid } => {
                let previous = self.build_of(name, Build::Previous);
                previous.is_some_and(|previous| previous.kmid == *kmid)
            }
            Back::Apply => true,
        }
    }

    fn take_back(&mut self, pending: &Pending) -> Result<()> {
        match &pending.back {
            Back::Upgrade { .. } if !self.has_way(pending) => Ok(()),
            Back::Upgrade { name, .. } => self.rollback(name, None).map(drop),
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

/// Starts the timer of a change.
fn start(start: Start<'_>, id: u64) -> Result<Process> {
    start(id).map_err(|source| Error::Kernel {
        object: "confirm".to_owned(),
        stage: "start the timer",
        source,
        remedy: "raise the limit of processes",
    })
}
