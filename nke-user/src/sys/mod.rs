//! The system calls that nke makes itself: those parts of bpf(2) that aya keeps private or
//! lacks, as safe functions over owned descriptors.
//!
//! This is the crate's only place for `unsafe`. No raw pointer leaves the function that owns the
//! bytes it points to, and no descriptor is ever returned as a bare integer.
//!
//! ```no_run
//! let map = nke::sys::map::create(nke::sys::map::Shape::program_array("next"))?;
//! nke::sys::pin(&map, "/run/nke/next".as_ref())?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![expect(unsafe_code, reason = "the one place that talks to bpf(2) directly")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

pub mod iterator;
pub mod link;
pub mod map;
pub mod process;
pub mod program;
pub mod socket;

/// `enum bpf_cmd`, uapi/linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    ProgramLoad = 5,
    Pin = 6,
    Get = 7,
    MapNextKey = 4,
    TestRun = 10,
    ProgramNextId = 11,
    MapNextId = 12,
    ProgramById = 13,
    MapById = 14,
    Info = 15,
    Query = 16,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    BtfNextId = 23,
    MapLookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkById = 30,
    LinkNextId = 31,
    IteratorCreate = 33,
    LinkDetach = 34,
}

/// A prefix of `union bpf_attr`: the kernel takes what is missing as zero.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding, and every address in a value points to memory that
/// the kernel may read (or write, where the command says so) for the length given beside it.
unsafe trait Attribute {}

/// Makes the call; the result is a descriptor or a count, by the command.
fn bpf<A: Attribute>(command: Command, attribute: &mut A) -> io::Result<i32> {
    // SAFETY: `attribute` is a valid prefix of bpf_attr of the size given, and its addresses
    // are valid by the contract of `Attribute`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            std::ptr::from_mut(attribute),
            size_of::<A>(),
        )
    };
    match i32::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a call that returns a new descriptor.
fn bpf_fd<A: Attribute>(command: Command, attribute: &mut A) -> io::Result<OwnedFd> {
    let fd: RawFd = bpf(command, attribute)?;
    // SAFETY: the kernel has just made this descriptor for us (bpf(2) sets close-on-exec), and
    // nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The address of a slice, as bpf_attr wants it.
fn address<T>(slice: &[T]) -> u64 {
    if slice.is_empty() {
        0
    } else {
        slice.as_ptr().expose_provenance() as u64
    }
}

/// The address of a slice that the kernel writes to.
fn address_mut<T>(slice: &mut [T]) -> u64 {
    if slice.is_empty() {
        0
    } else {
        slice.as_mut_ptr().expose_provenance() as u64
    }
}

fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// A name as the kernel takes it: 15 bytes at most, letters, digits, `_` and `.` only.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'.' {
            from
        } else {
            b'_'
        };
    }
    bytes
}

#[repr(C)]
struct PinAttribute {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}
// SAFETY: repr(C), no padding; `pathname` is a NUL-terminated string that outlives the call.
unsafe impl Attribute for PinAttribute {}

/// Pins a map, program or link at `path`, which must be on a bpffs and not exist.
///
/// # Errors
///
/// The kernel's: `EEXIST`, `ENOENT`, `EPERM` (a dot in the name, or not a bpffs).
pub fn pin(fd: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let bytes = path.as_bytes_with_nul();
    let mut attribute = PinAttribute {
        pathname: address(bytes),
        fd: raw(&fd),
        file_flags: 0,
    };
    bpf(Command::Pin, &mut attribute).map(drop)
}

/// Opens what is pinned at `path`.
///
/// # Errors
///
/// The kernel's: `ENOENT`, `EACCES` (not a pin).
pub fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let bytes = path.as_bytes_with_nul();
    let mut attribute = PinAttribute {
        pathname: address(bytes),
        fd: 0,
        file_flags: 0,
    };
    bpf_fd(Command::Get, &mut attribute)
}

#[repr(C)]
struct InfoAttribute {
    fd: u32,
    length: u32,
    info: u64,
}
// SAFETY: repr(C), no padding; `info` points to `length` writable bytes.
unsafe impl Attribute for InfoAttribute {}

/// Plain old data that the kernel can fill: any bytes are a value.
///
/// # Safety
///
/// `repr(C)`, integers and arrays of integers only, no padding. Where the kernel takes one of them
/// for an address, it is 0, or that of as many writable bytes as another of them says.
unsafe trait Info: Default {}

/// Reads the head of a kernel object's info structure. An older kernel fills less of it.
fn info<I: Info>(fd: impl AsFd) -> io::Result<I> {
    let mut info = I::default();
    info_into(fd, &mut info)?;
    Ok(info)
}

/// The same, with what the structure says beforehand: where lists are to go.
fn info_into<I: Info>(fd: impl AsFd, info: &mut I) -> io::Result<()> {
    let mut attribute = InfoAttribute {
        fd: raw(&fd),
        length: u32::try_from(size_of::<I>()).unwrap_or_default(),
        info: std::ptr::from_mut(info).expose_provenance() as u64,
    };
    bpf(Command::Info, &mut attribute).map(drop)
}

#[repr(C)]
struct IdAttribute {
    id: u32,
    next: u32,
    flags: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for IdAttribute {}

fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    bpf_fd(
        command,
        &mut IdAttribute {
            id,
            next: 0,
            flags: 0,
        },
    )
}

fn ids(command: Command) -> impl Iterator<Item = u32> {
    let mut last = 0;
    std::iter::from_fn(move || {
        let mut attribute = IdAttribute {
            id: last,
            next: 0,
            flags: 0,
        };
        bpf(command, &mut attribute).ok()?;
        last = attribute.next;
        Some(last)
    })
}

/// Whether there is an object of this id. It is not opened: its last user may be just gone.
fn exists(next: Command, id: u32) -> bool {
    let mut attribute = IdAttribute {
        id: id.wrapping_sub(1),
        next: 0,
        flags: 0,
    };
    bpf(next, &mut attribute).is_ok() && attribute.next == id
}

/// The ids of all BTF objects in the kernel.
pub fn btf_ids() -> impl Iterator<Item = u32> {
    ids(Command::BtfNextId)
}

#[repr(C)]
struct BtfAttribute {
    btf: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
}
// SAFETY: repr(C); the tail padding is not read, since the size passed ends with `log_level`
// rounded up, and Default-initialised; `btf` points to `size` readable bytes.
unsafe impl Attribute for BtfAttribute {}

/// Loads type information.
///
/// # Errors
///
/// The kernel's: `EINVAL` for malformed BTF, or kinds that it does not know.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let size =
        u32::try_from(btf.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut attribute = BtfAttribute {
        btf: address(btf),
        log: 0,
        size,
        log_size: 0,
        log_level: 0,
    };
    bpf_fd(Command::BtfLoad, &mut attribute)
}

#[repr(C)]
struct QuestionAttribute {
    words: [u32; 2],
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for QuestionAttribute {}

/// Makes the system call bpf(2) with a command that the kernel does not know, and returns the errno
/// that it answers: `EINVAL`, or what a program at the LSM hook `bpf` says to it.
///
/// `number` must be none of `enum bpf_cmd`; they are small.
#[must_use]
pub fn ask(number: u32, words: [u32; 2]) -> i32 {
    let mut attribute = QuestionAttribute { words };
    // SAFETY: the attribute is a valid prefix of bpf_attr without addresses. What a kernel makes of
    // a command that it does not know is to refuse it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            number,
            std::ptr::from_mut(&mut attribute),
            size_of::<QuestionAttribute>(),
        )
    };
    if result < 0 {
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default()
    } else {
        0
    }
}

/// Waits until every packet that was in flight has left the programs it was in.
///
/// Packets are handled inside RCU read-side sections; `MEMBARRIER_CMD_GLOBAL` is an RCU grace
/// period (kernel/sched/membarrier.c), some 10 ms. On a host with one CPU online the call
/// returns at once, which is right as well: nothing else can be running there.
pub fn grace_period() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: the call takes no pointers. It cannot fail but on kernels built without it or with
    // nohz_full CPUs.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        map::grace_period_by_update();
    }
}

/// Gives the calling thread a working directory, root and umask of its own, so that it may enter
/// another mount namespace.
///
/// # Errors
///
/// The kernel's: `EPERM`.
pub fn unshare_file_system_attributes() -> io::Result<()> {
    // SAFETY: CLONE_FS leaves the descriptor table shared, so no descriptor changes its meaning
    // behind an owner's back.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.map_err(Into::into)
}
