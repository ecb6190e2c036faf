//! Iterators: programs that the kernel runs over all objects of a kind, each time somebody reads.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
};

use super::{Attribute, Command, bpf_fd, link, raw};

/// `BPF_TRACE_ITER` of `enum bpf_attach_type`.
pub const ATTACH_TYPE: u32 = 28;

#[repr(C)]
struct CreateAttribute {
    link_fd: u32,
    flags: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for CreateAttribute {}

/// Ties an iterator's program to what it runs over (since 5.8).
///
/// # Errors
///
/// The kernel's.
pub fn create(program: impl AsFd) -> io::Result<OwnedFd> {
    link::create(program, 0, ATTACH_TYPE, 0)
}

/// Runs an iterator's program over everything once. Sockets are those of the calling thread's network
/// namespace. What the program prints is thrown away.
///
/// # Errors
///
/// The kernel's: `ENOMEM`.
pub fn run(link: impl AsFd) -> io::Result<()> {
    let mut attribute = CreateAttribute {
        link_fd: raw(&link),
        flags: 0,
    };
    let mut output = File::from(bpf_fd(Command::IteratorCreate, &mut attribute)?);
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // The kernel wants a rest: a million objects, and nothing printed (bpf_seq_read,
            // kernel/bpf/bpf_iter.c).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
