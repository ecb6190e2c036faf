//! The harness's only unsafe code: `bpf(2)`, packet sockets, socket options, `ptrace(2)` and
//! `seccomp(2)`.
//!
//! Safe functions over system calls that no safe crate offers. Raw pointers never leave the
//! function that owns the bytes.
#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

pub(crate) mod bpf;
pub(crate) mod packet;
pub(crate) mod ptrace;
pub(crate) mod seccomp;
pub mod socket;
