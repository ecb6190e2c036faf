//! Links: what ties a root program to its hook.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{Attribute, Command, Info, address_mut, bpf, bpf_fd, by_id, ids, info, raw};

#[repr(C)]
struct CreateAttribute {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for CreateAttribute {}

/// Attaches a program to an interface of the calling thread's network namespace. The link lasts
/// as long as a descriptor or a pin of it, or the interface.
///
/// `attach_type` is an `enum bpf_attach_type`; `flags` are the mechanism's (`XDP_FLAGS_…`).
///
/// # Errors
///
/// The kernel's: `EBUSY` or `EEXIST` when the hook is taken, `EOPNOTSUPP` when the driver has no
/// such hook, `EINVAL` when the kernel has none.
pub fn create(
    program: impl AsFd,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attribute = CreateAttribute {
        prog_fd: raw(&program),
        target: ifindex,
        attach_type,
        flags,
    };
    bpf_fd(Command::LinkCreate, &mut attribute)
}

/// Attaches a program to what a descriptor stands for: a cgroup's directory.
///
/// # Errors
///
/// The kernel's: `E2BIG` when the cgroup's list of this type is full, `EPERM` when a cgroup above
/// allows no others, `EINVAL` when the kernel has no such hook.
pub fn create_at(program: impl AsFd, target: impl AsFd, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attribute = CreateAttribute {
        prog_fd: raw(&program),
        target: raw(&target),
        attach_type,
        flags: 0,
    };
    bpf_fd(Command::LinkCreate, &mut attribute)
}

#[repr(C)]
struct RawTracepointAttribute {
    name: u64,
    prog_fd: u32,
    padding: u32,
}
// SAFETY: repr(C), no implicit padding; `name` is 0, which the kernel takes for none.
unsafe impl Attribute for RawTracepointAttribute {}

/// Attaches a program to the kernel's function that it was loaded for: an LSM hook (since 5.7).
///
/// # Errors
///
/// The kernel's: `EBUSY` when too many programs are on the function.
pub fn create_at_function(program: impl AsFd) -> io::Result<OwnedFd> {
    let mut attribute = RawTracepointAttribute {
        name: 0,
        prog_fd: raw(&program),
        padding: 0,
    };
    bpf_fd(Command::RawTracepointOpen, &mut attribute)
}

/// Where a program sits in netfilter.
#[derive(Clone, Copy, Debug)]
pub struct Netfilter {
    /// `PF_INET` or `PF_INET6`.
    pub family: u32,
    /// `enum nf_inet_hooks`, uapi/linux/netfilter.h.
    pub hook: u32,
    /// Lower runs first; no two BPF programs of a hook have the same.
    pub priority: i32,
    /// Whether packets are put together from their fragments before (since 6.6).
    pub defrag: bool,
}

#[repr(C)]
struct NetfilterAttribute {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    family: u32,
    hook: u32,
    priority: i32,
    netfilter_flags: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for NetfilterAttribute {}

/// Attaches a program to netfilter in the calling thread's network namespace (since 6.4).
///
/// # Errors
///
/// The kernel's: `EBUSY` when another BPF program has the priority, `ERANGE` for one that it keeps
/// for itself, `EINVAL` before 6.4. For reassembly `EOPNOTSUPP` before 6.6, `EAFNOSUPPORT` or
/// `ENOENT` when the kernel has none for the family (net/netfilter/nf_bpf_link.c).
pub fn create_netfilter(program: impl AsFd, at: Netfilter) -> io::Result<OwnedFd> {
    const BPF_NETFILTER: u32 = 45;
    const BPF_F_NETFILTER_IP_DEFRAG: u32 = 1;
    let mut attribute = NetfilterAttribute {
        prog_fd: raw(&program),
        target: 0,
        attach_type: BPF_NETFILTER,
        flags: 0,
        family: at.family,
        hook: at.hook,
        priority: at.priority,
        netfilter_flags: if at.defrag {
            BPF_F_NETFILTER_IP_DEFRAG
        } else {
            0
        },
    };
    bpf_fd(Command::LinkCreate, &mut attribute)
}

#[repr(C)]
struct UpdateAttribute {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for UpdateAttribute {}

/// Puts another program in a link's place, in one step.
///
/// # Errors
///
/// The kernel's: `ENOLINK` when the interface is gone.
pub fn update(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attribute = UpdateAttribute {
        link_fd: raw(&link),
        new_prog_fd: raw(&program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(Command::LinkUpdate, &mut attribute).map(drop)
}

#[repr(C)]
struct DetachAttribute {
    link_fd: u32,
}
// SAFETY: repr(C), no padding, no addresses.
unsafe impl Attribute for DetachAttribute {}

/// Takes the program off the hook now; the link stays as an empty shell.
///
/// # Errors
///
/// The kernel's: `EOPNOTSUPP` for links that cannot.
pub fn detach(link: impl AsFd) -> io::Result<()> {
    bpf(
        Command::LinkDetach,
        &mut DetachAttribute {
            link_fd: raw(&link),
        },
    )
    .map(drop)
}

#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    target: u32,
    detail: u32,
}
// SAFETY: repr(C), integers only, no implicit padding: a prefix of struct bpf_link_info, whose
// union starts with what the link hangs on.
unsafe impl Info for LinkInfo {}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The kernel's id.
    pub id: u32,
    /// `enum bpf_link_type`
    pub link_type: u32,
    /// The program that it calls.
    pub program_id: u32,
    /// Whether the interface, namespace or cgroup that it hangs on is still there. A netfilter
    /// link always says yes.
    pub attached: bool,
    /// What it hangs on: an interface's index, a namespace's inode, the low half of a cgroup's id.
    pub target: u32,
}

/// Asks the kernel about a link.
///
/// # Errors
///
/// The kernel's: `EBADF` if this is not a link.
pub fn describe(link: impl AsFd) -> io::Result<Described> {
    // An interface's index, a namespace's inode, the low half of a cgroup's id: 0 once it is gone.
    let LinkInfo {
        id,
        link_type,
        program_id,
        target,
        ..
    } = info(link)?;
    Ok(Described {
        id,
        link_type,
        program_id,
        attached: target != 0,
        target,
    })
}

/// The ids of all links in the kernel.
pub fn all_ids() -> impl Iterator<Item = u32> {
    ids(Command::LinkNextId)
}

/// Opens a link by its id.
///
/// # Errors
///
/// The kernel's: `ENOENT` if it is gone.
pub fn open(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::LinkById, id)
}

#[derive(Default)]
#[repr(C)]
struct QueryAttribute {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}
// SAFETY: repr(C), no implicit padding; `program_ids` points to `count` writable integers.
unsafe impl Attribute for QueryAttribute {}

/// The ids of the programs on an interface's TCX hook, in the order in which they run (since 6.6).
///
/// # Errors
///
/// The kernel's: `EINVAL` before 6.6, `ENODEV` when there is no such interface here.
pub fn query_interface(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    query_at(ifindex, attach_type, 0)
}

/// The ids of the programs that a cgroup has of its own, or a network namespace, in the order of
/// the list: that in which they run, but for those with `BPF_F_PREORDER` (cgroups, 6.15).
///
/// # Errors
///
/// The kernel's: `EINVAL` when the kernel has no such hook.
pub fn query(target: impl AsFd, attach_type: u32) -> io::Result<Vec<u32>> {
    query_at(raw(&target), attach_type, 0)
}

/// The ids of the programs that run for a cgroup, its own and those of cgroups above it, in the
/// order in which they run.
///
/// # Errors
///
/// The kernel's: `EINVAL` when the kernel has no such hook.
pub fn query_effective(cgroup: impl AsFd, attach_type: u32) -> io::Result<Vec<u32>> {
    const BPF_F_QUERY_EFFECTIVE: u32 = 1;
    query_at(raw(&cgroup), attach_type, BPF_F_QUERY_EFFECTIVE)
}

fn query_at(target: u32, attach_type: u32, query_flags: u32) -> io::Result<Vec<u32>> {
    // The kernel's limit of programs on one hook is 64 (BPF_MPROG_MAX, include/linux/bpf_mprog.h,
    // and BPF_CGROUP_MAX_PROGS, include/linux/bpf-cgroup-defs.h), and cgroups nest.
    const ROOM: u32 = 64 * 16;
    let mut programs = vec![0u32; ROOM as usize];
    let mut attribute = QueryAttribute {
        target,
        attach_type,
        query_flags,
        program_ids: address_mut(&mut programs),
        count: ROOM,
        ..QueryAttribute::default()
    };
    bpf(Command::Query, &mut attribute)?;
    programs.truncate(attribute.count as usize);
    Ok(programs)
}
