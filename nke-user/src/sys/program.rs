//! Programs: loading what has been placed, running it on one packet, asking about it.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{bpf_func_info, bpf_insn, bpf_line_info};

use super::{
    Attribute, Command, Info, address, address_mut, bpf, bpf_fd, by_id, ids, info, info_into, raw,
};

/// What `BPF_PROG_LOAD` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// `enum bpf_prog_type`
    pub program_type: u32,
    /// `enum bpf_attach_type`
    pub expected_attach_type: u32,
    /// Of a program that traces, the id of the kernel's function that it stands for; 0 of others.
    pub attach_btf_id: u32,
    /// `BPF_F_…`, such as [`XDP_HAS_FRAGS`].
    pub flags: u32,
    /// The name that the kernel shows; cut to 15 characters.
    pub name: &'a str,
    /// The licence, which decides on GPL-only helpers.
    pub license: &'a CStr,
    /// The instructions, relocated.
    pub instructions: &'a [bpf_insn],
    /// The type information that the infos below speak of.
    pub btf: Option<BorrowedFd<'a>>,
    /// One record a function; empty without BTF.
    pub func_info: &'a [bpf_func_info],
    /// One record a source line; empty without BTF.
    pub line_info: &'a [bpf_line_info],
}

/// `BPF_F_XDP_HAS_FRAGS` (since 5.18): the program takes packets of several buffers.
pub const XDP_HAS_FRAGS: u32 = 1 << 5;

/// A program that the kernel did not take.
#[derive(Debug)]
pub struct Refused {
    /// The errno.
    pub error: io::Error,
    /// What the verifier printed; empty if it was never asked.
    pub log: String,
}

#[derive(Default)]
#[repr(C)]
struct LoadAttribute {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}
// SAFETY: repr(C), no padding; each address points to as many records as the count beside it
// says, and `log_buf` to `log_size` writable bytes.
unsafe impl Attribute for LoadAttribute {}

fn count<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

fn attribute(load: &Load<'_>) -> LoadAttribute {
    let infos = load.btf.is_some() && !load.func_info.is_empty();
    let (func_info, line_info) = if infos {
        (load.func_info, load.line_info)
    } else {
        (&[][..], &[][..])
    };
    LoadAttribute {
        prog_type: load.program_type,
        insn_cnt: count(load.instructions),
        insns: address(load.instructions),
        license: address(load.license.to_bytes_with_nul()),
        prog_flags: load.flags,
        prog_name: super::object_name(load.name),
        expected_attach_type: load.expected_attach_type,
        prog_btf_fd: load.btf.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
        func_info_rec_size: if infos { 8 } else { 0 },
        func_info: address(func_info),
        func_info_cnt: count(func_info),
        line_info_rec_size: if line_info.is_empty() { 0 } else { 16 },
        line_info: address(line_info),
        line_info_cnt: count(line_info),
        attach_btf_id: load.attach_btf_id,
        ..LoadAttribute::default()
    }
}

/// The verifier gives up when a signal comes (`do_check`, kernel/bpf/verifier.c), be it only one that stops and continues the
/// process. So often it is asked again.
const INTERRUPTIONS: usize = 8;

/// Has the verifier look at a program.
fn verified(attribute: &mut LoadAttribute) -> io::Result<OwnedFd> {
    let mut left = INTERRUPTIONS;
    loop {
        match bpf_fd(Command::ProgramLoad, attribute) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && left > 0 => left -= 1,
            loaded => return loaded,
        }
    }
}

/// Loads a program. A refused one is tried again with the verifier's log, which may be long.
///
/// # Errors
///
/// [`Refused`] with the kernel's errno and the verifier's log.
pub fn load(load: &Load<'_>) -> Result<OwnedFd, Refused> {
    let error = match verified(&mut attribute(load)) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    if matches!(error.raw_os_error(), Some(libc::EPERM)) {
        return Err(Refused {
            error,
            log: String::new(),
        });
    }
    let mut log = vec![0u8; 1 << 20];
    loop {
        let mut told = attribute(load);
        told.log_level = 1;
        told.log_size = count(&log);
        told.log_buf = address_mut(&mut log);
        match verified(&mut told) {
            Ok(program) => return Ok(program),
            Err(full) if full.raw_os_error() == Some(libc::ENOSPC) && log.len() < 1 << 26 => {
                log = vec![0; log.len() * 8];
            }
            Err(_) => break,
        }
    }
    let log = CStr::from_bytes_until_nul(&log)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Err(Refused { error, log })
}

#[repr(C)]
struct TestRunAttribute {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}
// SAFETY: repr(C), no implicit padding; `data_in` points to `data_size_in` readable bytes and
// `ctx_in` to `ctx_size_in`.
unsafe impl Attribute for TestRunAttribute {}

/// How to run a program on one packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet, from its Ethernet header on.
    pub packet: &'a [u8],
    /// The context (`struct xdp_md`, `struct __sk_buff`); empty for the kernel's own.
    pub context: &'a [u8],
    /// How often; 0 counts as once.
    pub repeat: u32,
    /// `BPF_F_TEST_…`
    pub flags: u32,
    /// Packets a batch, for live frames.
    pub batch: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES` (since 5.18): the verdicts are carried out.
pub const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Runs a program on one packet: its verdict, and the mean duration of a run in nanoseconds.
///
/// # Errors
///
/// The kernel's: `EINVAL` for a packet too short, `ENOTSUPP` for a type that cannot be run.
pub fn test_run(program: impl AsFd, run: &TestRun<'_>) -> io::Result<(u32, u32)> {
    let mut attribute = TestRunAttribute {
        prog_fd: raw(&program),
        retval: 0,
        data_size_in: count(run.packet),
        data_size_out: 0,
        data_in: address(run.packet),
        data_out: 0,
        repeat: run.repeat,
        duration: 0,
        ctx_size_in: count(run.context),
        ctx_size_out: 0,
        ctx_in: address(run.context),
        ctx_out: 0,
        flags: run.flags,
        cpu: 0,
        batch_size: run.batch,
        padding: 0,
    };
    bpf(Command::TestRun, &mut attribute)?;
    Ok((attribute.retval, attribute.duration))
}

#[derive(Default)]
#[repr(C)]
struct ProgramInfo {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited_insns: u64,
    xlated_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}
// SAFETY: repr(C), integers only, no padding: a prefix of struct bpf_prog_info. `map_ids` is 0, or
// points to `map_count` writable integers.
unsafe impl Info for ProgramInfo {}

/// What the kernel says of a program.
#[derive(Clone, Debug)]
pub struct Described {
    /// The kernel's id, not used again until reboot.
    pub id: u32,
    /// `enum bpf_prog_type`
    pub program_type: u32,
    /// Its name, at most 15 characters.
    pub name: String,
    /// Bytes of machine code.
    pub jited_len: u32,
}

/// Asks the kernel about a program.
///
/// # Errors
///
/// The kernel's: `EBADF` if this is not a program.
pub fn describe(program: impl AsFd) -> io::Result<Described> {
    let ProgramInfo {
        id,
        program_type,
        name,
        jited_len,
        ..
    } = info(program)?;
    let name = CStr::from_bytes_until_nul(&name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Described {
        id,
        program_type,
        name,
        jited_len,
    })
}

/// The ids of the maps that a program uses.
///
/// # Errors
///
/// The kernel's: `EBADF` if this is not a program.
pub fn map_ids(program: impl AsFd) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; info::<ProgramInfo>(&program)?.map_count as usize];
    let mut wanted = ProgramInfo {
        map_count: count(&ids),
        map_ids: address_mut(&mut ids),
        ..ProgramInfo::default()
    };
    info_into(program, &mut wanted)?;
    Ok(ids)
}

/// The ids of all programs in the kernel.
pub fn all_ids() -> impl Iterator<Item = u32> {
    ids(Command::ProgramNextId)
}

/// Whether the kernel has a program of this id.
pub fn exists(id: u32) -> bool {
    super::exists(Command::ProgramNextId, id)
}

/// Opens a program by its id.
///
/// # Errors
///
/// The kernel's: `ENOENT` if it is gone.
pub fn open(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::ProgramById, id)
}
