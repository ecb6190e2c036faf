//! Doing something at most so many times a second: what a filter logs must not drown its reader.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_ktime_get_ns},
};

/// A second, and how often something was done in it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window {
    start: u64,
    times: u64,
}

/// Nanoseconds since the machine was started, time of sleep included (`CLOCK_BOOTTIME`).
#[inline(always)]
#[must_use]
#[expect(unsafe_code, reason = "the kernel's helper is a foreign function")]
pub fn since_start() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}

const SECOND: u64 = 1_000_000_000;

/// A per-CPU array of windows, of which each limits one thing on each CPU.
pub trait Limit {
    /// Whether the thing at this index may be done once more in this second.
    fn allows(&self, index: u32, times_a_second: u64) -> bool;
}

impl<const ENTRIES: usize> Limit for PerCpuArray<Window, ENTRIES> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "a map's value is reached through a pointer")]
    fn allows(&self, index: u32, times_a_second: u64) -> bool {
        let Some(window) = self.get_ptr_mut(index) else {
            return false;
        };
        // SAFETY: the helper takes nothing and cannot fail. The pointer is this CPU's copy of the
        // value; programs of the packet hooks run one at a time on a CPU.
        unsafe {
            let now = bpf_ktime_get_ns();
            if now.wrapping_sub((*window).start) >= SECOND {
                (*window).start = now;
                (*window).times = 0;
            }
            (*window).times += 1;
            (*window).times <= times_a_second
        }
    }
}
