//! Counting packets and bytes, a copy for each CPU.

use aya_ebpf::btf_maps::PerCpuArray;

use crate::abi::Count;

/// A per-CPU array of counts that a filter can add to.
///
/// The library forbids itself nothing here that the kernel does not forbid already: programs of
/// the packet hooks run with bottom halves off, one at a time on a CPU, so that a copy has one
/// writer and needs no atomic addition.
pub trait Tally {
    /// Adds one packet of so many bytes at an index. An index outside of the array is ignored.
    fn add(&self, index: u32, bytes: u32);
}

impl<const ENTRIES: usize> Tally for PerCpuArray<Count, ENTRIES> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "a map's value is reached through a pointer")]
    fn add(&self, index: u32, bytes: u32) {
        if let Some(count) = self.get_ptr_mut(index) {
            // SAFETY: the pointer is this CPU's copy of the value, and nobody else writes it.
            unsafe {
                (*count).packets += 1;
                (*count).bytes += u64::from(bytes);
            }
        }
    }
}
