//! `seccomp(2)` and `personality(2)`: a kernel that says no, or that says it is an old one.

use std::{io, os::unix::process::CommandExt as _, process::Command};

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Offsets in `struct seccomp_data`; of an argument the low half, on a little-endian machine.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// Makes every `bpf(2)` with this command fail with an errno, in the process that is spawned.
pub(crate) fn refuse_bpf(command: &mut Command, bpf: u32, errno: i32) {
    let refuse = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let step = |code, unequal, k| libc::sock_filter {
        code,
        jt: 0,
        jf: unequal,
        k,
    };
    let number = u32::try_from(libc::SYS_bpf).unwrap_or_default();
    let mut filter = [
        step(LOAD_WORD, 0, NUMBER),
        step(JUMP_EQUAL, 3, number),
        step(LOAD_WORD, 0, FIRST_ARGUMENT),
        step(JUMP_EQUAL, 1, bpf),
        step(RETURN, 0, refuse),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: 6,
            filter: filter.as_mut_ptr(),
        };
        let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, 0);
        // SAFETY: the program has six instructions, which outlive the call; the kernel copies them.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes one async-signal-safe system call and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Lets the process that is spawned read from uname(2) that the kernel is a 2.6.
pub(crate) fn look_old(command: &mut Command) {
    let look = || {
        const UNAME26: libc::c_ulong = 0x0002_0000;
        // SAFETY: no pointers.
        match unsafe { libc::personality(UNAME26) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes one async-signal-safe system call.
    unsafe { command.pre_exec(look) };
}
