//! Starting a process that outlives its session, and telling whether it is still there.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

/// A process, told from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pid: u32,
    /// When it was started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// The one that has this number now, in the caller's PID namespace.
    ///
    /// # Errors
    ///
    /// Those of reading `/proc/PID/stat`; [`io::ErrorKind::NotFound`] if it has ended.
    pub fn of(pid: u32) -> io::Result<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = started(&line).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, started })
    }

    /// Whether it has not ended. From another PID namespace it looks as if it had.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid).is_ok_and(|found| found == self)
    }
}

/// The parent of a process, which is given by its number or as `self`, from the front of its line in /proc; 0 where that is not to be
/// seen.
pub(crate) fn parent(process: &str) -> Option<u32> {
    let mut line = [0; 128];
    let length = File::open(format!("/proc/{process}/stat"))
        .ok()?
        .read(&mut line)
        .ok()?;
    let line = String::from_utf8_lossy(&line[..length]);
    // Behind the command's closing parenthesis: state, then the parent's pid.
    line.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// When a process was started, from its line in /proc (proc_pid_stat(5)), unless it has ended.
fn started(line: &str) -> Option<u64> {
    // The command's name may have anything in it: behind its last parenthesis come field 3, the
    // state, and the others. Field 22 is the time.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let ended = ["Z", "X"].contains(&fields.next()?);
    let started = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(started)
}

/// Starts a command in a session of its own, with nothing of the caller's: no terminal, no
/// descriptor, no working directory, deaf to SIGHUP. It is all of this before it is executed.
///
/// # Errors
///
/// Those of fork(2), setsid(2) and execve(2).
pub fn spawn_detached(command: &mut Command) -> io::Result<Process> {
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let detach = || {
        rustix::process::setsid()?;
        // SAFETY: both are system calls without memory of ours, and may be made between fork(2) and
        // execve(2). An ignored signal stays ignored through execve(2), and descriptors from 3 on
        // are only marked to be closed by it.
        unsafe {
            if libc::signal(libc::SIGHUP, libc::SIG_IGN) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
            // Kernels before 5.11 do not know it: what the caller was given stays open there.
            let marked = libc::CLOSE_RANGE_CLOEXEC;
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, marked);
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe { command.pre_exec(detach) };
    Process::of(command.spawn()?.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let this = Process::of(std::process::id()).expect("it runs");
        assert!(this.is_alive());
        let other = Process {
            started: this.started + 1,
            ..this
        };
        assert!(!other.is_alive(), "a later one with its number");
        let mut child = Command::new("true").spawn().expect("it is there");
        let process = Process::of(child.id());
        child.wait().expect("it ends");
        assert!(!process.is_ok_and(Process::is_alive));
    }

    #[test]
    fn names_of_commands_may_have_anything_in_them() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22";
        assert_eq!(started(&format!("1 (a) Z 9) {rest}")), Some(19));
        assert_eq!(started(&format!("1 (a) {}", rest.replace('S', "Z"))), None);
        assert_eq!(started("1 (a) S 1"), None);
    }
}
