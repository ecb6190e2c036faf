//! The way from nke into a routine: what runs once, when an extension is loaded or unloaded.
#![expect(unsafe_code, reason = "the kernel's context")]

use crate::abi::Event;

/// Makes a program of each function that is named, for the manifest's keys `init` and `exit`. Its
/// symbol is the function's name.
///
/// nke runs `init` when the maps are there and before the extension can be attached, and `exit`
/// before it goes, while it is still attached if the user has it taken away by force. 0 means well.
/// Another answer of `init` has nothing loaded; another answer of `exit` keeps it loaded, unless
/// the user insists. By custom it is a negative errno. Needs Linux 5.14.
///
/// ```ignore
/// nke_ebpf::manifest!("init = 'start'\nexit = 'finish'");
/// nke_ebpf::routine!(start, finish);
///
/// fn start(_event: Event) -> i32 {
///     0
/// }
/// ```
#[macro_export]
macro_rules! routine {
    ($($routine:ident),+ $(,)?) => {
        $(const _: () = {
            // The entry function hides the routine's name in the block below.
            #[inline(always)]
            fn routine(event: $crate::abi::Event) -> i32 {
                $routine(event)
            }
            const _: () = {
                #[unsafe(export_name = stringify!($routine))]
                #[unsafe(link_section = "syscall")]
                extern "C" fn $routine(context: *const u32) -> i32 {
                    // SAFETY: nke runs this, with its context.
                    unsafe { $crate::routine::enter(context, routine) }
                }
            };
        };)+
    };
}

/// # Safety
///
/// The context must be the one that the program was run with, of four bytes at least.
#[inline(always)]
pub unsafe fn enter(context: *const u32, routine: impl FnOnce(Event) -> i32) -> i32 {
    // SAFETY: promised by the caller.
    routine(Event::from(unsafe { context.read_volatile() }))
}
