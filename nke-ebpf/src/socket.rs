//! The socket call that a guard looks at: `connect`, `bind` or `sendmsg`, and its address.
//!
//! ```ignore
//! nke_ebpf::guard!(no_telnet => connect);
//!
//! fn no_telnet(call: &impl SocketCall) -> Verdict {
//!     match call.flow().destination_port() {
//!         Some(23) => Verdict::Drop, // connect fails with EPERM
//!         _ => Verdict::Pass,
//!     }
//! }
//! ```
//!
//! The address is what the program gave, but for two ways to say another one, which the kernel
//! resolves behind these hooks and a guard must not be got around with:
//!
//! - `::ffff:192.0.2.1` is IPv4, `192.0.2.1`;
//! - nobody (`0.0.0.0`, `::`) as a destination is this host: the address that the socket is bound
//!   to, or the loopback address (net/ipv4/route.c `ip_route_output_key_hash_rcu`,
//!   net/ipv6/tcp_ipv6.c `tcp_v6_connect`).
//!
//! A call is never changed here. Nothing reads fields that the verifier keeps from a hook's
//! programs (net/core/filter.c `sock_addr_is_valid_access`).
#![expect(unsafe_code, reason = "fields of the kernel's context")]

use core::mem::offset_of;

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};

use crate::{Flow, abi::facts, branchless::load, flow::mapped};

/// What a program asks of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// `connect`: a TCP connection, or where a UDP socket sends by default. Also the first
    /// `sendmsg` of a TCP socket with `MSG_FASTOPEN`.
    Connect,
    /// `sendmsg`, `sendto` or `sendmmsg` of a UDP socket, with an address.
    Sendmsg,
    /// `bind` of a TCP or UDP socket.
    Bind,
}

/// One call, before the kernel has done anything about it. Nothing but the kernel makes one.
pub trait SocketCall: sealed::Sealed {
    /// What is asked.
    fn operation(&self) -> Operation;

    /// The protocol of the socket. Of multipath TCP (262), TCP, which it is to whoever is at the
    /// other end.
    fn protocol(&self) -> u8;

    /// The port, in the host's byte order.
    fn port(&self) -> u16;

    /// Address, protocol and port, as [`Flow::destination_v4`] and so on: where it goes, or of
    /// `bind` the socket's own. There is no sender in it.
    fn flow(&self) -> Flow;

    /// What is known of the operation, as bits: [`facts`].
    #[inline(always)]
    fn facts(&self) -> u64 {
        match self.operation() {
            Operation::Connect => facts::OUT | facts::CONNECT,
            Operation::Sendmsg => facts::OUT | facts::SENDMSG,
            Operation::Bind => facts::BIND,
        }
    }
}

mod sealed {
    /// Only this crate says what is a call.
    pub trait Sealed {}
}

/// The call of one hook: of this [`Operation`], with an address of IPv6 or IPv4.
//
// In the type, so that each program is compiled with what its hook may read, and no more.
#[derive(Debug)]
pub struct AddressCall<const OPERATION: u8, const IS_V6: bool>(*mut bpf_sock_addr);

/// 127.0.0.1, in memory order.
const LOOPBACK_V4: u32 = u32::from_ne_bytes([127, 0, 0, 1]);
/// The second half of ::1, in memory order.
const LOOPBACK_V6: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
/// What is in front of an IPv4 address that is mapped into IPv6, in memory order.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

const CONNECT: u8 = Operation::Connect as u8;
const SENDMSG: u8 = Operation::Sendmsg as u8;

impl<const OPERATION: u8, const IS_V6: bool> sealed::Sealed for AddressCall<OPERATION, IS_V6> {}

impl<const OPERATION: u8, const IS_V6: bool> SocketCall for AddressCall<OPERATION, IS_V6> {
    #[inline(always)]
    fn operation(&self) -> Operation {
        match OPERATION {
            CONNECT => Operation::Connect,
            SENDMSG => Operation::Sendmsg,
            _ => Operation::Bind,
        }
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.number::<{ offset_of!(bpf_sock_addr, protocol) }>() as u8
    }

    #[inline(always)]
    fn port(&self) -> u16 {
        // Two bytes in network order, and two of zeros.
        u16::from_be(self.number::<{ offset_of!(bpf_sock_addr, user_port) }>() as u16)
    }

    #[inline(always)]
    fn flow(&self) -> Flow {
        let (protocol, port) = (self.protocol(), self.port());
        let flow = if IS_V6 {
            let address = self.address_v6();
            match mapped(address) {
                Some(0) => Flow::towards_v4(self.somebody_v4(0), protocol, port),
                Some(_) | None => Flow::towards_v6(address, protocol, port),
            }
        } else {
            let address = self.number::<{ offset_of!(bpf_sock_addr, user_ip4) }>();
            Flow::towards_v4(self.somebody_v4(address), protocol, port)
        };
        flow.forgotten(u64::from(port))
    }
}

impl<const OPERATION: u8, const IS_V6: bool> AddressCall<OPERATION, IS_V6> {
    /// # Safety
    ///
    /// The context must be the one that the kernel has called a program of this hook with.
    #[inline(always)]
    pub(crate) unsafe fn new(context: *mut bpf_sock_addr) -> Self {
        Self(context)
    }

    /// Four bytes of the context.
    #[inline(always)]
    fn number<const OFFSET: usize>(&self) -> u32 {
        // SAFETY: the kernel's context lives as long as the program runs; the verifier sees that
        // the hook may read the field.
        unsafe { load::u32::<OFFSET>(self.0.cast()) }
    }

    /// Four bytes of the socket.
    #[inline(always)]
    fn of_socket<const OFFSET: usize>(&self) -> u32 {
        const SK: usize = offset_of!(bpf_sock_addr, __bindgen_anon_1);
        // SAFETY: as above; a call always has a socket.
        unsafe { load::u32::<OFFSET>(load::u64::<SK>(self.0.cast()) as *const u8) }
    }

    /// The address, or who is meant by nobody.
    #[inline(always)]
    fn somebody_v4(&self, address: u32) -> u32 {
        if address != 0 || self.operation() == Operation::Bind {
            return address;
        }
        let own = if self.operation() == Operation::Sendmsg && !IS_V6 {
            // Also what the message says of where it comes from (`IP_PKTINFO`).
            self.number::<{ offset_of!(bpf_sock_addr, msg_src_ip4) }>()
        } else {
            self.of_socket::<{ offset_of!(bpf_sock, src_ip4) }>()
        };
        if own == 0 { LOOPBACK_V4 } else { own }
    }

    #[inline(always)]
    fn address_v6(&self) -> [u64; 2] {
        const FIRST: usize = offset_of!(bpf_sock_addr, user_ip6);
        const SECOND: usize = FIRST + 8;
        // SAFETY: as in `number`; eight bytes at once are allowed since Linux 5.3.
        let (first, second) = unsafe {
            let context = self.0.cast();
            (load::u64::<FIRST>(context), load::u64::<SECOND>(context))
        };
        if first | second != 0 || self.operation() == Operation::Bind {
            return [first, second];
        }
        const MARKER: usize = offset_of!(bpf_sock, src_ip6) + 8;
        if self.of_socket::<MARKER>() == MAPPED {
            // Bound to a mapped address, it goes out as IPv4.
            return [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 1])];
        }
        [0, LOOPBACK_V6]
    }
}
