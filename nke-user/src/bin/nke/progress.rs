//! How far long work is: a line on a terminal, which is gone when the work is done.
//!
//! It is on standard error, and nowhere but on a terminal: nothing that is read by a program ever has it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Work that is done sooner has no line.
const LATEST: Duration = Duration::from_millis(500);
/// How often the line is another one.
const EACH: Duration = Duration::from_millis(100);

/// Work of some steps.
pub(crate) struct Progress {
    what: String,
    next: Instant,
    is_seen: bool,
    is_shown: bool,
}

impl Progress {
    /// Begins it.
    pub(crate) fn begin(what: String) -> Self {
        Self {
            what,
            next: Instant::now() + LATEST,
            is_seen: io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Tells how many steps are done, of how many.
    pub(crate) fn tell(&mut self, done: usize, all: usize) {
        if !self.is_seen || all == 0 || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EACH;
        self.is_shown = true;
        let (what, percent) = (&self.what, done * 100 / all);
        // A terminal that is gone is no reason to stop.
        let _: io::Result<()> = write!(io::stderr(), "\r\x1b[K{what}: {percent} %");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _: io::Result<()> = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
