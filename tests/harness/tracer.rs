//! Runs a command and kills it at the entry of a chosen system call, or has that call fail.

use std::{
    collections::BTreeMap,
    io::Read,
    process::{Command, Stdio},
};

use crate::sys::ptrace::{self, Stop};

/// A system call that a traced command was about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    number: i64,
    arguments: [u64; 6],
}

/// How a traced command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// At the chosen call.
    Killed,
}

/// A traced run.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its system calls, in order, of all its threads.
    pub calls: Vec<Call>,
    /// How it ended.
    pub end: End,
    /// What it wrote on its standard error.
    pub stderr: String,
}

/// What becomes of a system call that a traced command is about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Happens,
    /// It never happens, and fails with this error.
    Fails(i32),
    /// It never happens, and the process is killed there.
    Kills,
}

/// Runs a command to its end, but has the system calls that `fail` says yes to fail with `ENOSYS`.
///
/// # Panics
///
/// As [`trace`].
#[must_use]
#[cfg(target_arch = "x86_64")]
pub fn trace_failing(command: &mut Command, mut fail: impl FnMut(&Call) -> bool) -> Traced {
    run(command, |call| match fail(call) {
        true => Fate::Fails(libc::ENOSYS),
        false => Fate::Happens,
    })
}

/// The same with `EAGAIN`: as of a call that a signal has interrupted.
///
/// # Panics
///
/// As [`trace`].
#[must_use]
#[cfg(target_arch = "x86_64")]
pub fn trace_interrupting(
    command: &mut Command,
    mut interrupt: impl FnMut(&Call) -> bool,
) -> Traced {
    run(command, |call| match interrupt(call) {
        true => Fate::Fails(libc::EAGAIN),
        false => Fate::Happens,
    })
}

/// Runs a command to its end, or to the entry of the first system call that `kill` says yes to,
/// which never happens: there all of the process is killed.
///
/// # Panics
///
/// When the command cannot be traced, or another signal ends it.
#[must_use]
pub fn trace(command: &mut Command, mut kill: impl FnMut(&Call) -> bool) -> Traced {
    run(command, |call| match kill(call) {
        true => Fate::Kills,
        false => Fate::Happens,
    })
}

#[expect(
    clippy::zombie_processes,
    reason = "the waits of ptrace reap the child"
)]
fn run(command: &mut Command, mut decide: impl FnMut(&Call) -> Fate) -> Traced {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = ptrace::spawn(command).expect("the command can be traced");
    let main = child.id().cast_signed();
    let mut calls = Vec::new();
    let mut end = None;
    let mut failing = BTreeMap::new();
    ptrace::go_on(main, 0).expect("the command can be resumed");
    while let Ok((who, stop)) = ptrace::wait(-1) {
        match stop {
            Stop::Entry(number, arguments) => {
                let call = Call {
                    number: number.cast_signed(),
                    arguments,
                };
                match decide(&call) {
                    Fate::Kills if end.is_none() => {
                        end = Some(End::Killed);
                        ptrace::kill(main);
                        continue;
                    }
                    Fate::Fails(errno) => {
                        failing.insert(who, errno);
                        ptrace::fail(who).expect("a stopped thread can be changed");
                    }
                    Fate::Happens | Fate::Kills => {}
                }
                calls.push(call);
                ptrace::go_on(who, 0).expect("a thread can be resumed");
            }
            Stop::Exit | Stop::Event => {
                if stop == Stop::Exit
                    && let Some(errno) = failing.remove(&who)
                {
                    ptrace::answer(who, errno).expect("a stopped thread can be changed");
                }
                ptrace::go_on(who, 0).expect("a thread can be resumed");
            }
            // How new threads, and threads of a traced process in general, first stop.
            Stop::Signal(libc::SIGSTOP | libc::SIGTRAP) => {
                ptrace::go_on(who, 0).expect("a thread can be resumed");
            }
            Stop::Signal(signal) => ptrace::go_on(who, signal).expect("a thread can be resumed"),
            Stop::Exited(code) if who == main => end = Some(end.unwrap_or(End::Exited(code))),
            Stop::Killed(signal) if who == main => {
                assert_eq!(
                    (signal, end),
                    (libc::SIGKILL, Some(End::Killed)),
                    "what killed it?"
                );
            }
            Stop::Exited(_) | Stop::Killed(_) => {}
        }
    }
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("the error output is a pipe");
    pipe.read_to_string(&mut stderr)
        .expect("the error output is UTF-8");
    Traced {
        calls,
        end: end.expect("it has ended"),
        stderr,
    }
}

impl Call {
    /// Which system call: `SYS_…`.
    #[must_use]
    pub const fn number(&self) -> i64 {
        self.number
    }

    /// Whether the call has the verifier look at a program.
    #[must_use]
    pub const fn loads_a_program(&self) -> bool {
        let [first, ..] = self.arguments;
        let load = aya_obj::generated::bpf_cmd::BPF_PROG_LOAD as u64;
        self.number == libc::SYS_bpf && first == load
    }

    /// Whether the call shares memory with others, by which the contents of maps can be changed.
    #[must_use]
    pub fn shares_memory(&self) -> bool {
        let [_, _, _, flags, ..] = self.arguments;
        self.number == libc::SYS_mmap && flags & libc::MAP_SHARED as u64 != 0
    }

    /// Whether the call reads what nke's state or the kernel's BPF objects are: directories, links
    /// of files, whether they are there, pins, the contents of maps.
    #[must_use]
    pub fn reads_the_world(&self) -> bool {
        use aya_obj::generated::bpf_cmd;
        let [first, ..] = self.arguments;
        match self.number {
            libc::SYS_bpf => [
                bpf_cmd::BPF_MAP_LOOKUP_ELEM,
                bpf_cmd::BPF_OBJ_GET,
                bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
            ]
            .iter()
            .any(|&command| command as u64 == first),
            number => READING.contains(&number),
        }
    }

    /// Whether the call may change what outlives the process: files, mounts, pins, the contents
    /// of maps, links, interfaces. Between two of these a kill leaves the same world behind.
    #[must_use]
    pub fn changes_the_world(&self) -> bool {
        use aya_obj::generated::bpf_cmd;
        const MADE: u64 = libc::O_CREAT as u64 | libc::O_TRUNC as u64;
        let [first, _, third, ..] = self.arguments;
        match self.number {
            libc::SYS_bpf => [
                bpf_cmd::BPF_MAP_UPDATE_ELEM,
                bpf_cmd::BPF_MAP_DELETE_ELEM,
                bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_ELEM,
                bpf_cmd::BPF_MAP_UPDATE_BATCH,
                bpf_cmd::BPF_MAP_DELETE_BATCH,
                bpf_cmd::BPF_OBJ_PIN,
                bpf_cmd::BPF_PROG_ATTACH,
                bpf_cmd::BPF_PROG_DETACH,
                bpf_cmd::BPF_LINK_CREATE,
                bpf_cmd::BPF_LINK_UPDATE,
                bpf_cmd::BPF_LINK_DETACH,
            ]
            .iter()
            .any(|&command| command as u64 == first),
            libc::SYS_openat => third & MADE != 0,
            libc::SYS_write => first > 2,
            number => CHANGING.contains(&number),
        }
    }
}

const READING: &[i64] = &[
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_sendto,
    libc::SYS_socket,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

const CHANGING: &[i64] = &[
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_ftruncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
];
