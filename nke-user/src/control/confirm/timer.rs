//! The timer of a change that waits for its confirmation: a process that sleeps until it is due, and
//! then opens the state. Whoever opens it goes back, so nothing hangs on this process but the moment.
//!
//! It holds nothing of the state open while it sleeps: the bpffs can be unmounted. When the change
//! is decided before its time, by anybody, the timer ends.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{CreateFlags, WatchFlags, add_watch, init},
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::{Control, Pending, RECORD};
use crate::{
    error::{Error, Result},
    state::{State, in_outermost},
};

/// Sleeps until a change is due, and has it go back unless it was confirmed.
///
/// # Errors
///
/// Those of [`Control::look`], and [`Error::Kernel`].
pub fn wait(state: &Path, id: u64) -> Result<()> {
    let mine = || peek(state).filter(|pending| pending.id == id);
    // Watched before it is read, so that no change of it is missed.
    let watch = watch(state);
    while let Some(pending) = mine() {
        if !pending.left().is_zero() {
            sleep(pending.until, watch.as_ref()).map_err(failed)?;
            continue;
        }
        drop(Control::look(state)?);
        // If it came in force only meanwhile, it is due later than was known before.
        if mine().is_none_or(|pending| pending.left().is_zero()) {
            break;
        }
    }
    Ok(())
}

fn failed(source: io::Error) -> Error {
    Error::Kernel {
        object: "confirm".to_owned(),
        stage: "sleep",
        source,
        remedy: "raise the limit of open files",
    }
}

/// The record, without the lock.
fn peek(state: &Path) -> Option<Pending> {
    let path = State::pending_in(state).join(RECORD);
    let text = in_outermost(|| std::fs::read_link(path)).ok()?.ok()?;
    serde_json::from_slice(text.as_os_str().as_bytes()).ok()
}

/// Tells when the record is replaced or goes. Without it, the timer sleeps its time out.
fn watch(state: &Path) -> Option<OwnedFd> {
    let path = State::pending_in(state);
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let events = WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::DELETE_SELF;
    let flags = events | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
    let watched = in_outermost(|| add_watch(&watch, path, flags).is_ok());
    watched.ok()?.then_some(watch)
}

/// Sleeps until a time of CLOCK_BOOTTIME, in nanoseconds, or until something is to be seen.
fn sleep(until: u64, watch: Option<&OwnedFd>) -> io::Result<()> {
    let parts = [until / 1_000_000_000, until % 1_000_000_000];
    let [tv_sec, tv_nsec] = parts.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    let time = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec { tv_sec, tv_nsec },
    };
    let clock = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
    timerfd_settime(&clock, TimerfdTimerFlags::ABSTIME, &time)?;
    let both = [Some(&clock), watch].into_iter().flatten();
    let mut both: Vec<_> = both
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    while let Err(error) = poll(&mut both, None) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    // What it says does not matter, only that it has said it: who sleeps looks again.
    if let Some(watch) = watch {
        let mut events = [0; 4096];
        while rustix::io::read(watch, &mut events).is_ok_and(|length| length > 0) {}
    }
    Ok(())
}
