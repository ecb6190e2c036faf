//! Changes that wait for `nke confirm`: their record, and the processes that sleep for them.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use rustix::{
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};
use serde_json::Value;

use crate::{Deadline, World, fail};

impl World {
    /// Where the state keeps what waits.
    #[must_use]
    pub fn pending(&self) -> PathBuf {
        self.state().join("confirm")
    }

    /// The processes that sleep for this world.
    #[must_use]
    pub fn timers(&self) -> Vec<Pid> {
        let state = self.state();
        let mine = |process: &PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.contains(&b"confirm-timer".as_slice())
                && words.contains(&state.as_os_str().as_encoded_bytes())
        };
        let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
        let found = processes.map(|entry| entry.path()).filter(mine);
        let pid = |path: PathBuf| Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?);
        found.filter_map(pid).collect()
    }

    /// The one that sleeps for this world.
    #[track_caller]
    #[must_use]
    pub fn timer(&self) -> Pid {
        let [timer] = self.timers()[..] else {
            fail(format!("one timer: {:?}", self.timers()));
        };
        timer
    }

    /// Kills it, as whoever kills all of a session does.
    #[track_caller]
    pub fn kill_timer(&self) {
        let process = pidfd_open(self.timer(), PidfdFlags::empty()).expect("it is there");
        pidfd_send_signal(&process, Signal::KILL).expect("it is there");
        assert!(Deadline::generous().readable(&process), "it ends");
    }

    /// Once a change is decided, nobody sleeps for it any more.
    #[track_caller]
    pub fn assert_no_timer(&self) {
        assert!(Deadline::generous().until(|| self.timers().is_empty()));
    }

    /// Has what waits be due in so many seconds, or at once. A timer that is there notices.
    pub fn set_deadline(&self, seconds: u64) {
        let path = self.pending().join("record");
        let text = fs::read_link(&path).expect("it waits");
        let text = text.to_str().expect("it is UTF-8");
        let mut written: Value = serde_json::from_str(text).expect("it is JSON");
        let now = clock_gettime(ClockId::Boottime).tv_sec.cast_unsigned();
        written["until"] = match seconds {
            0 => 1.into(),
            _ => ((now + 1 + seconds) * 1_000_000_000).into(),
        };
        fs::remove_file(&path).expect("it is there");
        symlink(written.to_string(), &path).expect("the name is free");
    }
}
