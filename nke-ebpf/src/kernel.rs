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

use crate::abi::records::Socket;

unsafe extern "C" {
    // struct sock, include/net/sock.h. A `struct tcp_sock` begins with one.
    static nke_offset__sock__sk_err: u8;
    static nke_offset__sock_common__skc_flags: u8;
    // Points to a cgroup of the one hierarchy since Linux 5.15.
    static nke_offset__sock__sk_cgrp_data: u8;
    static nke_offset__cgroup__kn: u8;
    static nke_offset__kernfs_node__id: u8;
    static nke_offset__cgroup__self: u8;
    static nke_offset__cgroup_subsys_state__parent: u8;
    static nke_offset__cgroup_subsys_state__cgroup: u8;
    static nke_offset__sock__sk_protocol: u8;
    static nke_offset__sock_common__skc_family: u8;
    static nke_offset__sock_common__skc_state: u8;
    static nke_offset__sock_common__skc_num: u8;
    static nke_offset__sock_common__skc_dport: u8;
    static nke_offset__sock_common__skc_rcv_saddr: u8;
    static nke_offset__sock_common__skc_daddr: u8;
    static nke_offset__sock_common__skc_v6_rcv_saddr: u8;
    static nke_offset__sock_common__skc_v6_daddr: u8;
    static nke_offset__tcp_sock__bytes_acked: u8;
    static nke_offset__tcp_sock__bytes_sent: u8;
    static nke_offset__tcp_sock__bytes_retrans: u8;
    static nke_offset__tcp_sock__snd_nxt: u8;
    static nke_offset__tcp_sock__snd_una: u8;
    static nke_offset__tcp_sock__write_seq: u8;
    static nke_offset__tcp_sock__bpf_sock_ops_cb_flags: u8;
    /// The id of the cgroup that an iterator's program is run for.
    static nke_target__cgroup: u8;
}

/// `SOCK_DONE` of `enum sock_flags`: the peer's FIN has come.
const SOCK_DONE: u64 = 1 << 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Cgroups above one another that are looked through for the one that is meant.
const DEEPEST: usize = 64;

/// A full socket, as the kernel has it: whatever begins with a `struct sock`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full(*const c_void);

/// A TCP socket, as the kernel has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp(*const c_void);

/// What a TCP socket has sent so far, of its own counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// What the other end has acknowledged; a SYN or FIN is one byte.
    pub(crate) acknowledged: u64,
    /// Bytes of data, without those that were sent again.
    pub(crate) data: u64,
    /// Bytes that are not acknowledged yet; a FIN is one.
    pub(crate) in_flight: u64,
    /// Whether all that it has to send is sent.
    pub(crate) all: bool,
}

impl Full {
    /// # Safety
    ///
    /// The pointer must be one that the verifier knows as a structure which begins with a `struct
    /// sock`.
    #[inline(always)]
    pub(crate) const unsafe fn new(socket: *const c_void) -> Self {
        Self(socket)
    }

    /// What stands for it with the kernel's helpers.
    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> *mut c_void {
        self.0.cast_mut()
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
        // SAFETY: see `own_cgroup`.
        unsafe { cgroup_id(self.own_cgroup()) }
    }

    /// Whether its cgroup is the one that the program is run for, or below it.
    #[inline(always)]
    pub(crate) fn is_meant(self) -> bool {
        let meant = (&raw const nke_target__cgroup).addr() as u64;
        // SAFETY: pointers, by the kernel's types. A cgroup's own state leads to that of the cgroup
        // above, which leads to that cgroup.
        unsafe {
            let mut cgroup = self.own_cgroup();
            for _ in 0..DEEPEST {
                if cgroup.is_null() {
                    return false;
                }
                if cgroup_id(cgroup) == meant {
                    return true;
                }
                let own = cgroup.byte_add((&raw const nke_offset__cgroup__self).addr());
                let above: *const c_void =
                    read(own, &raw const nke_offset__cgroup_subsys_state__parent);
                if above.is_null() {
                    return false;
                }
                cgroup = read(above, &raw const nke_offset__cgroup_subsys_state__cgroup);
            }
        }
        false
    }

    #[inline(always)]
    fn own_cgroup(self) -> *const c_void {
        // SAFETY: a pointer, by the kernel's types.
        unsafe { read(self.0, &raw const nke_offset__sock__sk_cgrp_data) }
    }

    /// Its state: `BPF_TCP_…`, of other protocols as well.
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        // SAFETY: an `unsigned char`, by the kernel's types.
        unsafe { read(self.0, &raw const nke_offset__sock_common__skc_state) }
    }

    /// What the kernel says of it. A socket of another family than IP has no address here.
    #[inline(always)]
    pub(crate) fn describe(self, socket: &mut Socket) {
        // SAFETY: integers and addresses of these lengths, by the kernel's types.
        unsafe {
            let family: u16 = read(self.0, &raw const nke_offset__sock_common__skc_family);
            let protocol: u16 = read(self.0, &raw const nke_offset__sock__sk_protocol);
            socket.family = family as u8;
            socket.protocol = protocol as u8;
            if family == AF_INET {
                socket.local = mapped(read(
                    self.0,
                    &raw const nke_offset__sock_common__skc_rcv_saddr,
                ));
                socket.remote = mapped(read(self.0, &raw const nke_offset__sock_common__skc_daddr));
            } else if family == AF_INET6 {
                socket.local =
                    address(self.0, &raw const nke_offset__sock_common__skc_v6_rcv_saddr);
                socket.remote = address(self.0, &raw const nke_offset__sock_common__skc_v6_daddr);
            } else {
                return;
            }
            socket.local_port = read(self.0, &raw const nke_offset__sock_common__skc_num);
            let port: u16 = read(self.0, &raw const nke_offset__sock_common__skc_dport);
            socket.remote_port = u16::from_be(port);
        }
    }
}

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

    /// As any socket.
    #[inline(always)]
    pub(crate) const fn full(self) -> Full {
        Full(self.0)
    }

    /// Which of its events the kernel calls programs for: `BPF_SOCK_OPS_…_CB_FLAG`.
    #[inline(always)]
    pub(crate) fn watched(self) -> u8 {
        // SAFETY: a `u8`, by the kernel's types.
        unsafe {
            read(
                self.0,
                &raw const nke_offset__tcp_sock__bpf_sock_ops_cb_flags,
            )
        }
    }

    /// What it has sent.
    #[inline(always)]
    pub(crate) fn sent(self) -> Sent {
        // SAFETY: integers of these lengths, by the kernel's types.
        unsafe {
            let sent: u64 = read(self.0, &raw const nke_offset__tcp_sock__bytes_sent);
            let again: u64 = read(self.0, &raw const nke_offset__tcp_sock__bytes_retrans);
            let next: u32 = read(self.0, &raw const nke_offset__tcp_sock__snd_nxt);
            let first: u32 = read(self.0, &raw const nke_offset__tcp_sock__snd_una);
            let end: u32 = read(self.0, &raw const nke_offset__tcp_sock__write_seq);
            Sent {
                acknowledged: read(self.0, &raw const nke_offset__tcp_sock__bytes_acked),
                data: sent.wrapping_sub(again),
                in_flight: u64::from(next.wrapping_sub(first)),
                all: next == end,
            }
        }
    }
}

/// An address of four bytes, mapped into IPv6. The word is as the network has it.
#[inline(always)]
pub(crate) fn mapped(address: u32) -> [u8; 16] {
    words([0, 0, 0xffff_u32.to_be(), address])
}

/// Sixteen bytes from four words, without a loop over bytes.
#[inline(always)]
pub(crate) fn words(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words;
    let low = u64::from(a) | u64::from(b) << 32;
    let high = u64::from(c) | u64::from(d) << 32;
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// # Safety
///
/// An address of sixteen bytes must lie at this offset of the structure.
#[inline(always)]
unsafe fn address(structure: *const c_void, offset: *const u8) -> [u8; 16] {
    // SAFETY: promised by the caller.
    let word = |nth: usize| unsafe { read(structure.byte_add(4 * nth), offset) };
    words([word(0), word(1), word(2), word(3)])
}

/// The id of a cgroup; 0 of none.
///
/// # Safety
///
/// It must be a `struct cgroup`, or null.
#[inline(always)]
unsafe fn cgroup_id(cgroup: *const c_void) -> u64 {
    if cgroup.is_null() {
        return 0;
    }
    // SAFETY: a pointer and a number, by the kernel's types. Should it be null, the kernel reads zeros
    // behind it.
    unsafe {
        let node: *const c_void = read(cgroup, &raw const nke_offset__cgroup__kn);
        if node.is_null() {
            return 0;
        }
        read(node, &raw const nke_offset__kernfs_node__id)
    }
}

/// # Safety
///
/// A `T` must lie at this offset of the structure.
#[inline(always)]
pub(crate) unsafe fn read<T>(structure: *const c_void, offset: *const u8) -> T {
    // SAFETY: promised by the caller, and seen by the verifier.
    unsafe { ptr::read_volatile(structure.byte_add(offset.addr()).cast()) }
}
