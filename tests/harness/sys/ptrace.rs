//! `ptrace(2)`: a child that stops at every system call of every one of its threads.
//!
//! All of it happens on the thread that spawned the child: that is ptrace's own rule, and the
//! waits below see only that thread's children, so tracers in parallel never disturb each other.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
};

/// Why a traced thread has stopped, or ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the entry of a system call: its number and arguments.
    Entry(u64, [u64; 6]),
    /// On the way out of a system call.
    Exit,
    /// A signal is about to be delivered.
    Signal(i32),
    /// Something of ptrace's own: a new thread, an exec.
    Event,
    /// It ended with this code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
}

fn request(what: u32, pid: i32, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: `data` is an integer, or points to a buffer of the caller's in this file whose
    // length is in `address`.
    let answer = unsafe { libc::ptrace(what as _, pid, address, data) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// Spawns a command that is traced from its first instruction on.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // SAFETY: the closure makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(|| request(libc::PTRACE_TRACEME as _, 0, 0, 0).map(drop));
    }
    let child = command.spawn()?;
    let pid = child.id().cast_signed();
    let (_, first) = wait(pid)?;
    assert_eq!(
        first,
        Stop::Signal(libc::SIGTRAP),
        "a traced child stops at its exec"
    );
    // Threads are the command; processes that it leaves behind are not.
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS as _, pid, 0, options as usize)?;
    Ok(child)
}

/// Waits for any child of this thread (`-1`) or a certain one; who it was, and why it stopped.
pub(crate) fn wait(pid: i32) -> io::Result<(i32, Stop)> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let who = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    if who < 0 {
        return Err(io::Error::last_os_error());
    }
    let stop = if libc::WIFEXITED(status) {
        Stop::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Stop::Killed(libc::WTERMSIG(status))
    } else if status >> 16 != 0 {
        Stop::Event
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        at_system_call(who)?
    } else {
        Stop::Signal(libc::WSTOPSIG(status))
    };
    Ok((who, stop))
}

fn at_system_call(pid: i32) -> io::Result<Stop> {
    // SAFETY: the struct is made of plain integers, for which all zeroes is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let data = &raw mut info as usize;
    match request(
        libc::PTRACE_GET_SYSCALL_INFO as _,
        pid,
        size_of_val(&info),
        data,
    ) {
        // Killed while it stood here: the wait that follows says so.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Stop::Event),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(Stop::Exit);
    }
    // SAFETY: the kernel says that it has filled in the entry's part of the union.
    let entry = unsafe { info.u.entry };
    Ok(Stop::Entry(entry.nr, entry.args))
}

/// Lets a stopped thread run to its next system call, with a signal to deliver or 0.
pub(crate) fn go_on(pid: i32, signal: i32) -> io::Result<()> {
    match request(libc::PTRACE_SYSCALL as _, pid, 0, signal as usize) {
        // It was killed in the meantime: the wait that follows says so.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Has the system call at whose entry a thread stands fail with `ENOSYS`: the kernel knows no call
/// of this number.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fail(pid: i32) -> io::Result<()> {
    let number = std::mem::offset_of!(libc::user_regs_struct, orig_rax);
    request(libc::PTRACE_POKEUSER as _, pid, number, usize::MAX).map(drop)
}

/// Has the system call from which a thread returns have failed with this error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn answer(pid: i32, errno: i32) -> io::Result<()> {
    let result = std::mem::offset_of!(libc::user_regs_struct, rax);
    request(libc::PTRACE_POKEUSER as _, pid, result, -errno as usize).map(drop)
}

/// Kills a process with all its threads, wherever they are.
pub(crate) fn kill(pid: i32) {
    // SAFETY: no pointers; the process is our child and not yet reaped.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
