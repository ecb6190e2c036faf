//! Kernels that one cannot boot here: one that refuses, one that is old.

use std::process::Command;

use aya_obj::generated::bpf_cmd;

use crate::sys::seccomp;

/// Makes a kind of `bpf(2)` fail for a command that is about to run.
///
/// ```no_run
/// use aya_obj::generated::bpf_cmd::BPF_PROG_LOAD;
/// use nke_tests::{Ran, World, refuse};
///
/// let world = World::new();
/// let mut command = world.command(&["attach", "counter", "-i", "inside"]);
/// refuse(&mut command, BPF_PROG_LOAD, 1);
/// Ran::of(&mut command).fails("kernel");
/// ```
pub fn refuse(command: &mut Command, kind: bpf_cmd, errno: i32) {
    seccomp::refuse_bpf(command, kind as u32, errno);
}

/// Makes a command that is about to run believe in Linux 2.6.
pub fn look_old(command: &mut Command) {
    seccomp::look_old(command);
}
