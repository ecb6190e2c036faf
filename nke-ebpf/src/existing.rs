//! Sockets that are there already when an extension is attached to their cgroup.
//!
//! The kernel has programs that it runs over all sockets of a network namespace (BPF iterators). nke
//! runs those of an extension once, behind attaching it: [`existing!`](crate::existing) compiles
//! them, and lets none but the sockets of the cgroup and of those below it through. TIME_WAIT, and
//! connections that nobody has accepted a handshake of yet, are no sockets.
//!
//! A socket is seen here while others use it: an event of it can come before. What an extension keeps
//! of a socket says so, for both share the [`Storage`](crate::Storage).
#![expect(
    unsafe_code,
    reason = "the kernel's contexts and helpers, which the verifier checks"
)]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_STATE_CB_FLAG,
    helpers::generated::{bpf_get_socket_cookie, bpf_setsockopt},
};

use crate::{
    Context,
    abi::records::{Socket, State},
    kernel::{Full, Tcp},
    now,
    observer::sealed::Sealed,
};

/// The kernel's `struct bpf_iter__tcp`.
#[derive(Debug)]
#[repr(C)]
pub struct TcpIteration {
    meta: *const c_void,
    socket: *mut c_void,
}

/// The kernel's `struct bpf_iter__udp`.
#[derive(Debug)]
#[repr(C)]
pub struct UdpIteration {
    meta: *const c_void,
    socket: *mut c_void,
}

/// A socket that is there already, of TCP or of UDP.
#[derive(Debug)]
pub struct Existing<const TCP: bool>(Full);

impl TcpIteration {
    /// The socket that the program is called for: `None` at the end, and for what is no full one.
    ///
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn socket(context: *mut Self) -> Option<Existing<true>> {
        // SAFETY: the kernel's context.
        let tcp = unsafe { Tcp::of((*context).socket) }?;
        let full = tcp.full();
        full.is_meant().then_some(Existing(full))
    }
}

impl UdpIteration {
    /// The socket that the program is called for: `None` at the end.
    ///
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn socket(context: *mut Self) -> Option<Existing<false>> {
        // SAFETY: the kernel's context.
        let socket = unsafe { (*context).socket };
        if socket.is_null() {
            return None;
        }
        // SAFETY: the kernel's `struct udp_sock`.
        let full = unsafe { Full::new(socket) };
        full.is_meant().then_some(Existing(full))
    }
}

impl<const TCP: bool> Sealed for Existing<TCP> {
    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl<const TCP: bool> Context for Existing<TCP> {
    #[inline(always)]
    fn describe(&self, socket: &mut Socket) {
        // SAFETY: the socket is the context's.
        socket.cookie = unsafe { bpf_get_socket_cookie(self.0.as_ptr()) };
        self.0.describe(socket);
        socket.cgroup = self.0.cgroup();
        socket.error = self.0.error();
        socket.state = self.0.state();
        socket.time = now();
    }
}

impl<const TCP: bool> Existing<TCP> {
    /// Its state: `BPF_TCP_…`, of UDP as well.
    #[inline(always)]
    pub fn state(&self) -> u32 {
        self.0.state().into()
    }

    /// Has the kernel tell of this socket's changes of state, from 6.12 on. Of UDP there are none.
    #[inline(always)]
    pub fn watch_states(&self) {
        if !TCP {
            return;
        }
        const SOL_TCP: i32 = 6;
        // enum of TCP_BPF_…, uapi/linux/bpf.h
        const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
        // SAFETY: the iteration's own socket; an older kernel answers EINVAL, and nothing is changed.
        unsafe {
            let Some(tcp) = Tcp::of(self.0.as_ptr()) else {
                return;
            };
            let mut flags = u32::from(tcp.watched()) | BPF_SOCK_OPS_STATE_CB_FLAG;
            bpf_setsockopt(
                self.0.as_ptr(),
                SOL_TCP,
                TCP_BPF_SOCK_OPS_CB_FLAGS,
                (&raw mut flags).cast(),
                4,
            );
        }
    }
}

impl Existing<true> {
    /// Whether this end has connected, or was connected to: the kernel counts the SYN of who connects
    /// among the bytes that were acknowledged. `None` where its counts do not tell.
    #[inline(always)]
    pub fn has_connected(&self) -> Option<bool> {
        // SAFETY: the iteration's own socket.
        let sent = unsafe { Tcp::of(self.0.as_ptr()) }?.sent();
        let state = self.0.state();
        let fin_sent = u64::from(
            sent.all
                && (state == State::FinWait1 as u8
                    || state == State::Closing as u8
                    || state == State::LastAck as u8),
        );
        let fin_acknowledged = u64::from(state == State::FinWait2 as u8);
        let data = sent
            .data
            .wrapping_sub(sent.in_flight)
            .wrapping_add(fin_sent);
        let beyond = sent
            .acknowledged
            .wrapping_sub(data)
            .wrapping_sub(fin_acknowledged);
        match beyond {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Compiles one function for the sockets that a cgroup has already, of the protocols that are named:
/// `tcp`, `udp`. It takes an [`Existing`](crate::Existing), and answers nothing.
///
/// The manifest says `existing = true`.
///
/// ```ignore
/// // found_tcp, found_udp
/// nke_ebpf::existing!(found => tcp, udp);
///
/// fn found<const TCP: bool>(socket: &nke_ebpf::Existing<TCP>) {}
/// ```
#[macro_export]
macro_rules! existing {
    ($found:ident => $($protocol:ident),+ $(,)?) => {
        $($crate::__existing!($found, $protocol);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __existing {
    ($f:ident, tcp) => {
        $crate::__existing!($f, "iter/tcp", "_tcp", TcpIteration, true);
    };
    ($f:ident, udp) => {
        $crate::__existing!($f, "iter/udp", "_udp", UdpIteration, false);
    };
    ($f:ident, $section:literal, $suffix:literal, $context:ident, $tcp:literal) => {
        const _: () = {
            // The entry function hides the function's name in the block below.
            #[inline(always)]
            fn found(socket: &$crate::Existing<$tcp>) {
                $f(socket);
            }
            const _: () = {
                #[unsafe(export_name = concat!(stringify!($f), $suffix))]
                #[unsafe(link_section = $section)]
                extern "C" fn $f(context: *mut $crate::$context) -> i32 {
                    // SAFETY: the kernel calls this, with its context.
                    if let Some(socket) = unsafe { $crate::$context::socket(context) } {
                        found(&socket);
                    }
                    0
                }
            };
        };
    };
}
