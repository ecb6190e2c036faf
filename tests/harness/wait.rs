//! Deadlines: the only way in which tests wait.
//!
//! A wait names an event (a readable descriptor, an RCU grace period) and a deadline that is far
//! beyond what a loaded host needs. It must never be a sleep: a test that passes only because
//! enough time went by proves nothing.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{MembarrierCommand, membarrier},
};

/// A point in time after which a wait has failed.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline for things that take milliseconds: generous, for hosts under load.
    #[must_use]
    pub fn generous() -> Self {
        Self::after(Duration::from_secs(20))
    }

    /// A deadline a given time from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Whether it has gone by.
    #[must_use]
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// Waits until `fd` can be read; false when the deadline came first.
    #[must_use]
    pub fn readable(self, fd: impl AsFd) -> bool {
        loop {
            let left = self.0.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a deadline fits a timespec");
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(n) => return n > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => crate::fail(format!("poll: {error}")),
            }
        }
    }

    /// Asks again after each RCU grace period of the kernel until the answer is yes; false when
    /// the deadline came first. For what the kernel frees or publishes after a grace period.
    #[must_use]
    pub fn until(self, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.passed() {
                return false;
            }
            membarrier(MembarrierCommand::Global).expect("membarrier");
        }
    }
}
