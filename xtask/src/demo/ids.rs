//! Walks the numbers of the kernel's BPF objects, without opening any.
//!
//! Every lister opens what it lists. For program arrays that is harmful at the moment when they
//! go: each time its last user lets go of such a map, Linux (up to 6.18 at least) takes a
//! reference and schedules the clearing; if the one before is still pending, that reference is
//! never given back, and the map stays for ever. Whoever asks whether something has gone must
//! not open it.
#![expect(unsafe_code, reason = "one system call that no library offers")]

use std::collections::BTreeSet;
use std::io;

/// A kind of object, by the command that walks it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i64)]
pub(super) enum Kind {
    /// `BPF_PROG_GET_NEXT_ID`
    Program = 11,
    /// `BPF_MAP_GET_NEXT_ID`
    Map = 12,
    /// `BPF_LINK_GET_NEXT_ID`
    Link = 31,
}

/// The start of `union bpf_attr`, as these commands use it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    start: u32,
    next: u32,
    open_flags: u32,
}

/// The numbers of all objects of a kind.
pub(super) fn all(kind: Kind) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut attributes = Attributes::default();
    loop {
        // SAFETY: the pointer and the length are those of one live value, in which the command
        // reads `start` and writes `next`.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                kind as libc::c_long,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        };
        if answer < 0 {
            let error = io::Error::last_os_error();
            // The end of the walk.
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(found),
                _ => Err(error),
            };
        }
        found.insert(u64::from(attributes.next));
        attributes.start = attributes.next;
    }
}
