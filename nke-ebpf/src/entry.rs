//! The way from the kernel into a filter: entry functions, manifest, licence.
//!
//! An author meets three macros of it, [`filter!`](crate::filter), [`guard!`](crate::guard) and
//! [`manifest!`](crate::manifest). The rest is what they expand to.
#![expect(
    unsafe_code,
    reason = "sections of the object, and the kernel's context"
)]

use aya_ebpf::{
    bindings::{
        __sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_sock_addr,
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    cty::c_int,
};

pub use crate::netfilter::Context as NetfilterContext;
use crate::{
    AddressCall, Flow, IpPacket, Packet, REACH, Verdict,
    made_over::{answer_tc, answer_xdp, redirect},
    netfilter::{Dynptr, Room},
    packet::{TcPacket, XdpPacket},
};

// uapi/linux/netfilter.h
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// The kernel lends most of its helpers only to programs that say they are under the GPL.
#[used]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Writes the extension's manifest into the object's section `.nke`: TOML text, read by nke and
/// ignored by every other loader.
///
/// ```ignore
/// nke_ebpf::manifest!(r#"
/// description = "Drops telnet"
/// # Maps that every attachment gets a copy of its own of; the others are one per extension.
/// attachment-maps = ["PORTS"]
/// # Maps that the attachments to one target share: all those to one cgroup, say.
/// target-maps = ["RULES"]
/// "#);
/// ```
#[macro_export]
macro_rules! manifest {
    ($text:expr) => {
        const _: () = {
            const TEXT: &[u8] = $text.as_bytes();
            const fn text() -> [u8; TEXT.len()] {
                let mut bytes = [0; TEXT.len()];
                bytes.copy_from_slice(TEXT);
                bytes
            }
            #[used]
            #[unsafe(link_section = ".nke")]
            static MANIFEST: [u8; TEXT.len()] = text();
        };
    };
}

/// Compiles one filter function for every hook that is named: `xdp`, `in`, `out`, `ip`.
///
/// Each becomes a program of its own, in the section that every loader knows: `xdp`,
/// `tcx/ingress`, `tcx/egress`, `netfilter` (which is all five hooks of the IP layer). Its symbol is the filter's name with the hook's behind it.
///
/// ```ignore
/// // no_telnet_xdp, no_telnet_in, no_telnet_out, no_telnet_ip
/// nke_ebpf::filter!(no_telnet => xdp, in, out, ip);
/// ```
#[macro_export]
macro_rules! filter {
    ($filter:ident => $($hook:tt),+ $(,)?) => {
        $($crate::__entry!($filter, $hook);)+
    };
}

/// One entry function. It bears the filter's own name, because that is the one which the kernel
/// shows (it takes it from BTF); only the symbol has the hook's name behind it.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($filter:ident, xdp) => {
        $crate::__entry!(
            $filter,
            "xdp",
            "_xdp",
            $crate::aya_ebpf::bindings::xdp_md,
            u32,
            xdp
        );
    };
    ($filter:ident, in) => {
        $crate::__entry!(
            $filter,
            "tcx/ingress",
            "_in",
            $crate::aya_ebpf::bindings::__sk_buff,
            i32,
            tc_in
        );
    };
    ($filter:ident, out) => {
        $crate::__entry!(
            $filter,
            "tcx/egress",
            "_out",
            $crate::aya_ebpf::bindings::__sk_buff,
            i32,
            tc_out
        );
    };
    ($filter:ident, ip) => {
        $crate::__entry!(
            $filter,
            "netfilter",
            "_ip",
            $crate::entry::NetfilterContext,
            u32,
            ip
        );
    };
    ($filter:ident, $hook:tt) => {
        compile_error!(concat!(
            "`",
            stringify!($hook),
            "` is no packet hook: it is one of `xdp`, `in`, `out`, `ip`"
        ));
    };
    ($filter:ident, $section:literal, $suffix:literal, $context:ty, $answer:ty, $enter:ident) => {
        const _: () = {
            // The entry function hides the filter's name in the block below.
            #[inline(always)]
            fn filter(packet: &impl $crate::Packet) -> $crate::Verdict {
                $filter(packet)
            }
            const _: () = {
                #[unsafe(export_name = concat!(stringify!($filter), $suffix))]
                #[unsafe(link_section = $section)]
                extern "C" fn $filter(context: *mut $context) -> $answer {
                    // SAFETY: the kernel calls this, with its context.
                    unsafe { $crate::entry::$enter(context, |packet| filter(packet)) }
                }
            };
        };
    };
}

/// # Safety
///
/// The context must be the one that the kernel has called the program with.
#[inline(always)]
pub unsafe fn xdp(context: *mut xdp_md, filter: impl FnOnce(&XdpPacket) -> Verdict) -> u32 {
    // SAFETY: promised by the caller.
    let packet = unsafe { XdpPacket::new(context) };
    match filter(&packet) {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Reject(why) => answer_xdp(packet, why),
        Verdict::Redirect(interface) => redirect(interface) as u32,
    }
}

/// # Safety
///
/// See [`xdp`].
#[inline(always)]
pub unsafe fn tc_in(
    context: *mut __sk_buff,
    filter: impl FnOnce(&TcPacket<false>) -> Verdict,
) -> i32 {
    // SAFETY: promised by the caller.
    tc(unsafe { TcPacket::new(context) }, filter)
}

/// # Safety
///
/// See [`xdp`].
#[inline(always)]
pub unsafe fn tc_out(
    context: *mut __sk_buff,
    filter: impl FnOnce(&TcPacket<true>) -> Verdict,
) -> i32 {
    // SAFETY: promised by the caller.
    tc(unsafe { TcPacket::new(context) }, filter)
}

#[inline(always)]
fn tc<const OUT: bool>(
    mut packet: TcPacket<OUT>,
    filter: impl FnOnce(&TcPacket<OUT>) -> Verdict,
) -> c_int {
    if bring_headers_into_reach(&mut packet).is_none() {
        return TC_ACT_SHOT;
    }
    match filter(&packet) {
        // "Unspecified" leaves the answer to whoever comes next.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
        Verdict::Reject(why) => answer_tc(packet, why),
        Verdict::Redirect(interface) => redirect(interface) as c_int,
    }
}

/// # Safety
///
/// See [`xdp`].
#[inline(always)]
pub unsafe fn ip(
    context: *mut NetfilterContext,
    filter: impl FnOnce(&IpPacket<'_>) -> Verdict,
) -> u32 {
    let (mut dynptr, mut room) = (Dynptr::new(), Room::new());
    // SAFETY: promised by the caller.
    match filter(&unsafe { IpPacket::new(context, &mut dynptr, &mut room) }) {
        Verdict::Pass => NF_ACCEPT,
        Verdict::Drop | Verdict::Reject(_) | Verdict::Redirect(_) => NF_DROP,
    }
}

/// Compiles one guard function for every socket call that is named: `connect`, `sendmsg`, `bind`.
///
/// Each becomes two programs, for IPv4 and IPv6, in the sections that every loader knows, such as
/// `cgroup/connect4`. [`Verdict::Drop`] makes the call fail with `EPERM`. From Linux 5.10.
///
/// ```ignore
/// // no_telnet_connect4, no_telnet_connect6
/// nke_ebpf::guard!(no_telnet => connect);
/// ```
#[macro_export]
macro_rules! guard {
    ($guard:ident => $($call:tt),+ $(,)?) => {
        $($crate::__guard!($guard, $call);)+
    };
}

/// The entry functions of one call: see `__entry`.
#[doc(hidden)]
#[macro_export]
macro_rules! __guard {
    ($guard:ident, connect) => {
        $crate::__guard!($guard, "cgroup/connect4", "_connect4", Connect, false);
        $crate::__guard!($guard, "cgroup/connect6", "_connect6", Connect, true);
    };
    ($guard:ident, sendmsg) => {
        $crate::__guard!($guard, "cgroup/sendmsg4", "_sendmsg4", Sendmsg, false);
        $crate::__guard!($guard, "cgroup/sendmsg6", "_sendmsg6", Sendmsg, true);
    };
    ($guard:ident, bind) => {
        $crate::__guard!($guard, "cgroup/bind4", "_bind4", Bind, false);
        $crate::__guard!($guard, "cgroup/bind6", "_bind6", Bind, true);
    };
    ($guard:ident, $call:tt) => {
        compile_error!(concat!(
            "`",
            stringify!($call),
            "` is no socket call: it is one of `connect`, `sendmsg`, `bind`"
        ));
    };
    ($guard:ident, $section:literal, $suffix:literal, $operation:ident, $is_v6:literal) => {
        const _: () = {
            // The entry function hides the guard's name in the block below.
            #[inline(always)]
            fn guard(call: &impl $crate::SocketCall) -> $crate::Verdict {
                $guard(call)
            }
            const _: () = {
                #[unsafe(export_name = concat!(stringify!($guard), $suffix))]
                #[unsafe(link_section = $section)]
                extern "C" fn $guard(
                    context: *mut $crate::aya_ebpf::bindings::bpf_sock_addr,
                ) -> i32 {
                    const OPERATION: u8 = $crate::Operation::$operation as u8;
                    // SAFETY: the kernel calls this, with its context, at this hook.
                    unsafe { $crate::entry::call::<OPERATION, $is_v6>(context, |call| guard(call)) }
                }
            };
        };
    };
}

/// # Safety
///
/// The context must be the one that the kernel has called the program with, at the hook of this
/// operation and family.
#[inline(always)]
pub unsafe fn call<const OPERATION: u8, const IS_V6: bool>(
    context: *mut bpf_sock_addr,
    guard: impl FnOnce(&AddressCall<OPERATION, IS_V6>) -> Verdict,
) -> i32 {
    // SAFETY: promised by the caller.
    match guard(&unsafe { AddressCall::new(context) }) {
        Verdict::Pass => 1,
        Verdict::Drop | Verdict::Reject(_) | Verdict::Redirect(_) => 0,
    }
}

/// Sees to it that a filter finds the headers of a packet whose bytes lie in several places.
///
/// The kernel's own packets have their headers together, and moving bytes would cost a TCP
/// segment on its way out a copy of its head; so this looks first. A sender on this host may lay
/// out a packet as it likes, though (a packet socket's ring keeps only the Ethernet header
/// together), and must not get past a filter with that.
///
/// Nothing, if the kernel has no memory for it: then nobody can judge the packet, and the stack
/// would not take it either.
#[inline(always)]
fn bring_headers_into_reach<const OUT: bool>(packet: &mut TcPacket<OUT>) -> Option<()> {
    let length = packet.len();
    if length <= packet.in_reach() {
        return Some(());
    }
    match Flow::of(packet) {
        Ok(flow) if flow.with_more(packet).is_cut() => {
            packet.reach(if length < PULLED { length } else { PULLED })
        }
        Ok(_) | Err(_) => Some(()),
    }
}

/// How much is brought into reach: as far as headers are looked for, and the ports that may begin
/// there.
const PULLED: u32 = REACH as u32 + 40;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier would refuse the loop.
    loop {}
}
