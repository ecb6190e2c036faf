//! Starting a process that outlives its session.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// Starts a command in a session of its own, with nothing of the caller's: no terminal, no
/// descriptor, no working directory, deaf to SIGHUP. It is all of this before it is executed.
///
/// # Errors
///
/// Those of fork(2), setsid(2) and execve(2).
pub fn spawn_detached(command: &mut Command) -> io::Result<()> {
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
    command.spawn().map(drop)
}
