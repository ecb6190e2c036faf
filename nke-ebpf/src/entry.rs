//! The way from the kernel into a filter: entry functions, manifest, licence.

use aya_ebpf::bindings::{__sk_buff, xdp_md};

use crate::{
    Verdict,
    packet::{TcPacket, XdpPacket},
};

#[used]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Writes the extension's manifest (TOML) into the object's section `.nke`.
#[macro_export]
macro_rules! manifest {
    ($text:expr) => {
        const _: () = {
            const TEXT: &str = $text;
            #[used]
            #[unsafe(link_section = ".nke")]
            static MANIFEST: [u8; TEXT.len()] = *TEXT.as_bytes().as_array().unwrap();
        };
    };
}

/// Compiles one filter function for every hook named: `xdp`, `in`, `out`.
#[macro_export]
macro_rules! filter {
    ($filter:ident => $($hook:tt),+ $(,)?) => { $($crate::entry!($filter, $hook);)+ };
}

/// One entry function. The entry bears the filter's own name, because that is the name which
/// the kernel shows (it is taken from BTF); the symbol has the hook's name behind it.
#[doc(hidden)]
#[macro_export]
macro_rules! entry {
    ($filter:ident, xdp) => {
        $crate::entry!($filter, "xdp", "_xdp", xdp_md, u32, xdp);
    };
    ($filter:ident, in) => {
        $crate::entry!($filter, "tcx/ingress", "_in", __sk_buff, i32, tc);
    };
    ($filter:ident, out) => {
        $crate::entry!($filter, "tcx/egress", "_out", __sk_buff, i32, tc);
    };
    ($filter:ident, $section:literal, $suffix:literal, $context:ident, $answer:ty, $run:ident) => {
        const _: () = {
            #[inline(always)]
            fn call(packet: &impl $crate::Packet) -> $crate::Verdict {
                $filter(packet)
            }
            const _: () = {
                #[unsafe(export_name = concat!(stringify!($filter), $suffix))]
                #[unsafe(link_section = $section)]
                extern "C" fn $filter(
                    context: *mut $crate::aya_ebpf::bindings::$context,
                ) -> $answer {
                    $crate::entry::$run(context, |packet| call(packet))
                }
            };
        };
    };
}

#[doc(hidden)]
#[inline(always)]
pub fn xdp(context: *mut xdp_md, filter: impl FnOnce(&XdpPacket) -> Verdict) -> u32 {
    match filter(&unsafe { XdpPacket::new(context) }) {
        Verdict::Pass => 2,
        Verdict::Drop => 1,
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn tc(context: *mut __sk_buff, filter: impl FnOnce(&TcPacket) -> Verdict) -> i32 {
    match filter(&unsafe { TcPacket::new(context) }) {
        Verdict::Pass => -1,
        Verdict::Drop => 2,
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
