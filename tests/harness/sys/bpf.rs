//! The few `bpf(2)` commands with which the harness asks the kernel what is true.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};

/// What kind of kernel object an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Program,
    Map,
    Link,
    Btf,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Program, Self::Map, Self::Link, Self::Btf];

    fn open(self) -> bpf_cmd {
        match self {
            Self::Program => bpf_cmd::BPF_PROG_GET_FD_BY_ID,
            Self::Map => bpf_cmd::BPF_MAP_GET_FD_BY_ID,
            Self::Link => bpf_cmd::BPF_LINK_GET_FD_BY_ID,
            Self::Btf => bpf_cmd::BPF_BTF_GET_FD_BY_ID,
        }
    }

    fn next(self) -> bpf_cmd {
        match self {
            Self::Program => bpf_cmd::BPF_PROG_GET_NEXT_ID,
            Self::Map => bpf_cmd::BPF_MAP_GET_NEXT_ID,
            Self::Link => bpf_cmd::BPF_LINK_GET_NEXT_ID,
            Self::Btf => bpf_cmd::BPF_BTF_GET_NEXT_ID,
        }
    }
}

fn attributes() -> bpf_attr {
    // SAFETY: `bpf_attr` is a union of plain integers, for which all zeroes is a value.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the union is as long as we say, and every pointer in it was put there by the caller
    // in this file from a buffer that outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

fn descriptor(answer: i64) -> OwnedFd {
    let fd = i32::try_from(answer).expect("a descriptor fits an int");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The object pinned at a path.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attributes();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(descriptor)
}

/// Pins an object.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attributes();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = fd.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// The object with an id.
pub(crate) fn open(kind: Kind, id: u32) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    bpf(kind.open(), &mut attr).map(descriptor)
}

/// Every id of a kind that the kernel knows, from `after` (exclusive) on.
pub(crate) fn ids(kind: Kind, after: u32) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut last = after;
    loop {
        let mut attr = attributes();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = last;
        if bpf(kind.next(), &mut attr).is_err() {
            return ids;
        }
        // SAFETY: the kernel has filled in `next_id`, a plain integer.
        last = unsafe { attr.__bindgen_anon_6.next_id };
        ids.push(last);
    }
}

/// Whether an object exists. It is not opened: a program array whose last descriptor is closed
/// is cleared by deferred work, and a second last descriptor that is closed before that work has
/// run leaks the array (`prog_array_map_clear`, kernel/bpf/arraymap.c, as of 6.18).
pub(crate) fn exists(kind: Kind, id: u32) -> bool {
    let mut attr = attributes();
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id - 1;
    // SAFETY: the kernel has filled in `next_id`, a plain integer.
    bpf(kind.next(), &mut attr).is_ok() && unsafe { attr.__bindgen_anon_6.next_id } == id
}

/// A program's info and the ids of its maps.
pub(crate) fn program_info(fd: BorrowedFd<'_>) -> io::Result<(bpf_prog_info, Vec<u32>)> {
    let mut maps = vec![0u32; 128];
    // SAFETY: `bpf_prog_info` is made of plain integers, for which all zeroes is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.nr_map_ids = 128;
    info.map_ids = maps.as_mut_ptr() as u64;
    let mut attr = attributes();
    attr.info.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.info.info_len = u32::try_from(size_of::<bpf_prog_info>()).expect("small");
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    maps.truncate(info.nr_map_ids as usize);
    Ok((info, maps))
}

/// The id of the program that a link holds.
pub(crate) fn link_program(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: `bpf_link_info` is made of plain integers, for which all zeroes is a value.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).expect("small");
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.prog_id)
}

/// Runs a program once on a packet: its answer, and the packet as it left it.
pub(crate) fn test_run(fd: BorrowedFd<'_>, packet: &[u8]) -> io::Result<(u32, Vec<u8>)> {
    let mut out = vec![0u8; packet.len() + 512];
    let mut attr = attributes();
    attr.test.prog_fd = fd.as_raw_fd().cast_unsigned();
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = u32::try_from(packet.len()).expect("a packet is small");
    attr.test.data_out = out.as_mut_ptr() as u64;
    attr.test.data_size_out = u32::try_from(out.len()).expect("a packet is small");
    attr.test.repeat = 1;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has filled in these plain integers.
    let (answer, size) = unsafe { (attr.test.retval, attr.test.data_size_out) };
    out.truncate(size as usize);
    Ok((answer, out))
}

/// The programs at an attach point of an interface of the calling thread's namespace.
pub(crate) fn query(ifindex: u32, point: bpf_attach_type) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; 64];
    let mut attr = attributes();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = point as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = 64;
    bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)?;
    // SAFETY: the kernel has filled in the count, a plain integer.
    let count = unsafe { attr.query.__bindgen_anon_2.prog_cnt };
    ids.truncate(count as usize);
    Ok(ids)
}

/// Puts a program at a TCX attach point with no link, as an older loader does.
pub(crate) fn attach_tcx(
    program: BorrowedFd<'_>,
    ifindex: u32,
    point: bpf_attach_type,
) -> io::Result<()> {
    let mut attr = attributes();
    attr.__bindgen_anon_5.__bindgen_anon_1.target_ifindex = ifindex;
    attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_5.attach_type = point as u32;
    bpf(bpf_cmd::BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Puts a program on a cgroup's list with no link, as an older loader does.
pub(crate) fn attach_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    point: u32,
    flags: u32,
) -> io::Result<()> {
    let mut attr = attributes();
    attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = cgroup.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_5.attach_type = point;
    attr.__bindgen_anon_5.attach_flags = flags;
    bpf(bpf_cmd::BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Takes it off again.
pub(crate) fn detach_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    point: u32,
) -> io::Result<()> {
    let mut attr = attributes();
    attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = cgroup.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_5.attach_type = point;
    bpf(bpf_cmd::BPF_PROG_DETACH, &mut attr).map(drop)
}
