//! Sockets as programs of a cgroup see them: contexts, what is kept of a socket, records.
//!
//! An *observer* is a function that sees what happens to sockets and lets it happen. It is compiled for
//! every hook that [`observe!`](crate::observe) names. Three kinds of context reach it: [`SockOps`] of
//! the TCP stack, mostly not in any process's name; [`SockAddr`] and [`Sock`] of a process's calls.
//!
//! What is kept of a socket lies in a storage of the kernel's that goes with it.
#![expect(
    unsafe_code,
    reason = "the kernel's contexts and helpers, which the verifier checks"
)]

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock, bpf_sock_addr,
        bpf_sock_ops,
    },
    btf_maps::{PerCpuArray, RingBuf, SkStorage},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_get_current_uid_gid, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_sk_storage_get,
        bpf_sock_ops_cb_flags_set,
    },
};

use crate::{
    abi::records::Socket,
    kernel::{Tcp, mapped, words},
};

const AF_INET: u32 = 2;
const IPPROTO_TCP: u8 = 6;

/// What happens in the TCP stack (hook `socket/events`).
#[derive(Debug)]
pub struct SockOps(*mut bpf_sock_ops);

/// A call with the peer's address: hooks `socket/connect`, `socket/getpeername`.
#[derive(Debug)]
pub struct SockAddr<const V6: bool>(*mut bpf_sock_addr);

/// A call without an address: hooks `socket/create`, `socket/release`.
#[derive(Debug)]
pub struct Sock(*mut bpf_sock);

/// A call that has given the socket its address: hook `socket/post-bind`.
#[derive(Debug)]
pub struct Bound<const V6: bool>(Sock);

/// Any of the contexts.
pub trait Context: sealed::Sealed {
    /// Fills in what the context says of its socket, and when.
    fn describe(&self, socket: &mut Socket);
}

/// A context in the name of the process that runs.
pub trait Call: Context {}

impl<const V6: bool> Call for SockAddr<V6> {}
impl Call for Sock {}
impl<const V6: bool> Call for Bound<V6> {}

pub(crate) mod sealed {
    pub trait Sealed {
        /// What stands for the socket with the helpers of storages; null if there is none.
        fn socket(&self) -> *mut core::ffi::c_void;
    }
}

impl sealed::Sealed for SockOps {
    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        // SAFETY: the kernel's context.
        unsafe { (*self.0).__bindgen_anon_2.sk }.cast()
    }
}

impl<const V6: bool> sealed::Sealed for SockAddr<V6> {
    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        // SAFETY: the kernel's context.
        unsafe { (*self.0).__bindgen_anon_1.sk }.cast()
    }
}

impl sealed::Sealed for Sock {
    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        self.0.cast()
    }
}

impl<const V6: bool> sealed::Sealed for Bound<V6> {
    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        self.0.socket()
    }
}

/// An address of a context, read word by word: the verifier takes no wider reads of some.
///
/// # Safety
///
/// It must be a member of the program's context.
#[inline(always)]
unsafe fn words_at(address: *const [u32; 4]) -> [u8; 16] {
    // SAFETY: promised by the caller.
    let word = |nth| unsafe { address.cast::<u32>().add(nth).read_volatile() };
    words([word(0), word(1), word(2), word(3)])
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

impl SockOps {
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn new(context: *mut bpf_sock_ops) -> Self {
        Self(context)
    }

    /// What happens: `BPF_SOCK_OPS_…`
    #[inline(always)]
    pub fn operation(&self) -> u32 {
        // SAFETY: the kernel's context.
        unsafe { (*self.0).op }
    }

    /// The states before and after, of `BPF_SOCK_OPS_STATE_CB`.
    #[inline(always)]
    pub fn states(&self) -> (u32, u32) {
        // SAFETY: the kernel's context; every operation has these words.
        unsafe {
            let arguments = &raw const (*self.0).__bindgen_anon_1.args;
            ((*arguments)[0], (*arguments)[1])
        }
    }

    /// Has the kernel tell of this socket's changes of state.
    #[inline(always)]
    pub fn watch_states(&self) {
        // SAFETY: the kernel's context. What it answers are flags that it does not know, and it
        // knows this one since 4.16.
        unsafe {
            let flags = (*self.0).bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG;
            bpf_sock_ops_cb_flags_set(self.0, flags as i32);
        }
    }

    /// Bytes received in order, and bytes acknowledged by the other end. A SYN or FIN is counted as
    /// one of them.
    #[inline(always)]
    pub fn bytes(&self) -> (u64, u64) {
        // SAFETY: the kernel's context.
        unsafe { ((*self.0).bytes_received, (*self.0).bytes_acked) }
    }

    /// The round trip time, smoothed, in microseconds.
    #[inline(always)]
    pub fn rtt(&self) -> u32 {
        // SAFETY: the kernel's context. The kernel keeps eighths (tcp_rtt_estimator).
        unsafe { (*self.0).srtt_us >> 3 }
    }

    /// Whether the peer's FIN has come.
    #[inline(always)]
    pub fn peer_has_finished(&self) -> bool {
        self.tcp().is_some_and(|tcp| tcp.full().peer_has_finished())
    }

    #[inline(always)]
    fn tcp(&self) -> Option<Tcp> {
        // SAFETY: the context's own socket.
        unsafe { Tcp::of(sealed::Sealed::socket(self)) }
    }
}

impl Context for SockOps {
    #[inline(always)]
    fn describe(&self, socket: &mut Socket) {
        // SAFETY: the kernel's context.
        unsafe {
            let context = self.0;
            socket.cookie = bpf_get_socket_cookie(context.cast());
            if (*context).family == AF_INET {
                socket.local = mapped((*context).local_ip4);
                socket.remote = mapped((*context).remote_ip4);
            } else {
                let (local, remote) = (
                    &raw const (*context).local_ip6,
                    &raw const (*context).remote_ip6,
                );
                socket.local = words_at(local);
                socket.remote = words_at(remote);
            }
            socket.local_port = (*context).local_port as u16;
            socket.remote_port = u32::from_be((*context).remote_port) as u16;
            socket.family = (*context).family as u8;
        }
        socket.protocol = IPPROTO_TCP;
        socket.time = now();
        if let Some(tcp) = self.tcp() {
            socket.cgroup = tcp.full().cgroup();
            socket.error = tcp.full().error();
        }
    }
}

impl<const V6: bool> SockAddr<V6> {
    /// # Safety
    ///
    /// See [`SockOps::new`].
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn new(context: *mut bpf_sock_addr) -> Self {
        Self(context)
    }
}

impl<const V6: bool> Context for SockAddr<V6> {
    #[inline(always)]
    fn describe(&self, socket: &mut Socket) {
        // SAFETY: the kernel's context.
        unsafe {
            let context = self.0;
            socket.cookie = bpf_get_socket_cookie(context.cast());
            // The verifier lets each family's programs see that family's address only.
            socket.remote = if V6 {
                words_at(&raw const (*context).user_ip6)
            } else {
                mapped((*context).user_ip4)
            };
            socket.remote_port = u16::from_be((*context).user_port as u16);
            socket.family = (*context).family as u8;
            socket.protocol = (*context).protocol as u8;
        }
        socket.time = now();
    }
}

impl Sock {
    /// # Safety
    ///
    /// See [`SockOps::new`].
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn new(context: *mut bpf_sock) -> Self {
        Self(context)
    }
}

impl<const V6: bool> Bound<V6> {
    /// # Safety
    ///
    /// See [`SockOps::new`].
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn new(context: *mut bpf_sock) -> Self {
        Self(Sock(context))
    }
}

impl<const V6: bool> Context for Bound<V6> {
    #[inline(always)]
    fn describe(&self, socket: &mut Socket) {
        self.0.describe(socket);
        // SAFETY: the kernel's context.
        unsafe {
            let context = self.0.0;
            // As for the peer's.
            socket.local = if V6 {
                words_at(&raw const (*context).src_ip6)
            } else {
                mapped((*context).src_ip4)
            };
            socket.local_port = (*context).src_port as u16;
        }
    }
}

impl Context for Sock {
    #[inline(always)]
    fn describe(&self, socket: &mut Socket) {
        // SAFETY: the kernel's context.
        unsafe {
            socket.cookie = bpf_get_socket_cookie(self.0.cast());
            socket.family = (*self.0).family as u8;
            socket.protocol = (*self.0).protocol as u8;
        }
        socket.time = now();
    }
}

/// Says that a socket is the running process's.
#[inline(always)]
pub fn own(socket: &mut Socket, _: &impl Call) {
    // SAFETY: the helpers take nothing but a buffer, which has this size. The pid is last: with it
    // the rest counts.
    unsafe {
        bpf_get_current_comm(socket.command.as_mut_ptr().cast(), 16);
        socket.uid = bpf_get_current_uid_gid() as u32;
        socket.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    }
}

/// The cgroup of the running process; of a socket only where it is being made.
#[inline(always)]
pub fn current_cgroup(_: &impl Call) -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_get_current_cgroup_id() }
}

/// What an extension keeps of each socket, as long as the socket is there. It begins as zeros.
pub trait Storage<T> {
    /// What is kept of the context's socket, made if need be; `None` without memory for it.
    fn kept(&self, context: &impl Context) -> Option<&mut T>;
    /// What is kept of the context's socket, if anything.
    fn found(&self, context: &impl Context) -> Option<&mut T>;
}

impl<T> Storage<T> for SkStorage<T> {
    #[inline(always)]
    fn kept(&self, context: &impl Context) -> Option<&mut T> {
        get(self, context, BPF_SK_STORAGE_GET_F_CREATE.into())
    }

    #[inline(always)]
    fn found(&self, context: &impl Context) -> Option<&mut T> {
        get(self, context, 0)
    }
}

#[inline(always)]
fn get<'a, T>(map: &'a SkStorage<T>, context: &impl Context, flags: u64) -> Option<&'a mut T> {
    let socket = context.socket();
    if socket.is_null() {
        return None;
    }
    let map = ptr::from_ref(map).cast_mut().cast();
    // SAFETY: the socket is the context's; what comes back is null, or a value of the map.
    unsafe {
        bpf_sk_storage_get(map, socket, ptr::null_mut(), flags)
            .cast::<T>()
            .as_mut()
    }
}

/// A ring buffer of records.
pub trait Send<T> {
    /// Sends a record; one that does not fit any more is counted as lost.
    fn send(&self, record: &T, lost: &PerCpuArray<u64, 1>);
}

/// Counts a record that there is no room for.
#[inline(always)]
pub fn lose(lost: &PerCpuArray<u64, 1>) {
    if let Some(lost) = lost.get_ptr_mut(0) {
        // SAFETY: this CPU's copy of the value; a program can come between another's instructions,
        // so the addition is one.
        unsafe { crate::branchless::add_at_once(&mut *lost, 1) };
    }
}

impl<T, const BYTES: usize> Send<T> for RingBuf<T, BYTES> {
    #[inline(always)]
    fn send(&self, record: &T, lost: &PerCpuArray<u64, 1>) {
        if self.output(record, 0).is_err() {
            lose(lost);
        }
    }
}

/// Compiles one observer for every socket hook that is named: `events` (whose context is a
/// [`SockOps`](crate::SockOps)), `connect`, `getpeername` ([`SockAddr`](crate::SockAddr)), `post_bind`
/// ([`Bound`](crate::Bound)), `create`, `release` ([`Sock`](crate::Sock)). Those but the first are
/// all [`Call`](crate::Call)s.
///
/// An observer answers nothing: what it sees goes on.
///
/// ```ignore
/// // owner_connect4, owner_connect6, owner_release
/// nke_ebpf::observe!(owner => connect, release);
/// ```
#[macro_export]
macro_rules! observe {
    ($observer:ident => $($hook:ident),+ $(,)?) => {
        $($crate::__observer!($observer, $hook);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __observer {
    ($f:ident, events) => {
        $crate::__observer!($f, "sockops", "_events", bpf_sock_ops, SockOps);
    };
    ($f:ident, connect) => {
        $crate::__observer!($f, "cgroup/connect4", "_connect4", bpf_sock_addr, SockAddr<false>);
        $crate::__observer!($f, "cgroup/connect6", "_connect6", bpf_sock_addr, SockAddr<true>);
    };
    ($f:ident, getpeername) => {
        $crate::__observer!($f, "cgroup/getpeername4", "_peer4", bpf_sock_addr, SockAddr<false>);
        $crate::__observer!($f, "cgroup/getpeername6", "_peer6", bpf_sock_addr, SockAddr<true>);
    };
    ($f:ident, post_bind) => {
        $crate::__observer!($f, "cgroup/post_bind4", "_bound4", bpf_sock, Bound<false>);
        $crate::__observer!($f, "cgroup/post_bind6", "_bound6", bpf_sock, Bound<true>);
    };
    ($f:ident, create) => {
        $crate::__observer!($f, "cgroup/sock_create", "_create", bpf_sock, Sock);
    };
    ($f:ident, release) => {
        $crate::__observer!($f, "cgroup/sock_release", "_release", bpf_sock, Sock);
    };
    ($f:ident, $section:literal, $suffix:literal, $raw:ident, $context:ident $(<$v6:literal>)?) => {
        const _: () = {
            // The entry function hides the observer's name in the block below.
            #[inline(always)]
            fn observe(context: &$crate::$context $(::<$v6>)?) {
                $f(context);
            }
            const _: () = {
                #[unsafe(export_name = concat!(stringify!($f), $suffix))]
                #[unsafe(link_section = $section)]
                extern "C" fn $f(context: *mut $crate::aya_ebpf::bindings::$raw) -> i32 {
                    // SAFETY: the kernel calls this, with its context.
                    observe(&unsafe { $crate::$context::$(<$v6>::)?new(context) });
                    1
                }
            };
        };
    };
}
