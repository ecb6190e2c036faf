//! Members of the kernel's own structures, where the program's context has them not.
//!
//! Where a member lies differs from kernel to kernel. Its offset is an undefined symbol of the
//! object, `nke_offset__STRUCT__MEMBER`, which nke fills in from the running kernel's BTF as it loads
//! the program; a kernel without the member is told of then. The verifier follows the types, and
//! refuses a read that does not fit them.
#![expect(
    unsafe_code,
    reason = "the kernel's structures, which the verifier knows the types of"
)]

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;

unsafe extern "C" {
    // struct sock, include/net/sock.h. A `struct tcp_sock` begins with one.
    static nke_offset__sock__sk_err: u8;
    static nke_offset__sock_common__skc_flags: u8;
    // Points to a cgroup of the one hierarchy since Linux 5.15.
    static nke_offset__sock__sk_cgrp_data: u8;
    static nke_offset__cgroup__kn: u8;
    static nke_offset__kernfs_node__id: u8;
}

/// `SOCK_DONE` of `enum sock_flags`: the peer's FIN has come.
const SOCK_DONE: u64 = 1 << 1;

/// A TCP socket, as the kernel has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp(*const c_void);

impl Tcp {
    /// The kernel's structure of a socket, if it is a TCP one.
    ///
    /// # Safety
    ///
    /// The pointer must be a socket of the program's context, or null.
    #[inline(always)]
    pub(crate) unsafe fn of(socket: *mut c_void) -> Option<Self> {
        if socket.is_null() {
            return None;
        }
        // SAFETY: promised by the caller; what is no TCP socket is answered with null.
        let tcp = unsafe { bpf_skc_to_tcp_sock(socket) };
        (!tcp.is_null()).then_some(Self(tcp.cast()))
    }

    /// Its error, an errno.
    #[inline(always)]
    pub(crate) fn error(self) -> u8 {
        // SAFETY: an `int`, by the kernel's types.
        let error: i32 = unsafe { read(self.0, &raw const nke_offset__sock__sk_err) };
        error as u8
    }

    /// Whether the peer's FIN has come.
    #[inline(always)]
    pub(crate) fn peer_has_finished(self) -> bool {
        // SAFETY: an `unsigned long`, by the kernel's types.
        let flags: u64 = unsafe { read(self.0, &raw const nke_offset__sock_common__skc_flags) };
        flags & SOCK_DONE != 0
    }

    /// The id of its cgroup.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        // SAFETY: pointers and a number, by the kernel's types. Should one be null, the kernel reads
        // zeros behind it.
        unsafe {
            let cgroup: *const c_void = read(self.0, &raw const nke_offset__sock__sk_cgrp_data);
            if cgroup.is_null() {
                return 0;
            }
            let node: *const c_void = read(cgroup, &raw const nke_offset__cgroup__kn);
            if node.is_null() {
                return 0;
            }
            read(node, &raw const nke_offset__kernfs_node__id)
        }
    }
}

/// # Safety
///
/// A `T` must lie at this offset of the structure.
#[inline(always)]
unsafe fn read<T>(structure: *const c_void, offset: *const u8) -> T {
    // SAFETY: promised by the caller, and seen by the verifier.
    unsafe { ptr::read_volatile(structure.byte_add(offset.addr()).cast()) }
}
