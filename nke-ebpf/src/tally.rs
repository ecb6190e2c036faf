//! Counting packets and bytes, a copy for each CPU.

use aya_ebpf::btf_maps::PerCpuArray;

use crate::{Packet, abi::Count, branchless::add_at_once};

/// A per-CPU array of counts that a filter can add to.
///
/// At the hooks of an interface programs run with bottom halves off, one at a time on a CPU: a copy
/// has one writer and needs no atomic addition. At the hooks of the IP layer a received packet can
/// come between two instructions of a program that looks at a sent one, and the addition is one.
pub trait Tally {
    /// Adds one packet and its bytes at an index. An index outside of the array is ignored.
    fn add(&self, index: u32, packet: &impl Packet);

    /// Adds one of something that has no bytes, such as a socket call, at an index. An index
    /// outside of the array is ignored.
    ///
    /// Programs of sockets run in the context of a process, and another one's can come between.
    fn add_one(&self, index: u32);
}

impl<const ENTRIES: usize> Tally for PerCpuArray<Count, ENTRIES> {
    #[inline(always)]
    fn add(&self, index: u32, packet: &impl Packet) {
        let bytes = packet.len();
        if let Some(count) = self.get_ptr_mut(index) {
            add(count, bytes, packet);
        }
    }

    #[inline(always)]
    fn add_one(&self, index: u32) {
        if let Some(count) = self.get_ptr_mut(index) {
            add_one(count);
        }
    }
}

/// Adds one of something that has no bytes to a value of a map.
#[inline(always)]
#[expect(unsafe_code, reason = "a map's value is reached through a pointer")]
pub(crate) fn add_one(count: *mut Count) {
    // SAFETY: the pointer is a copy of the value, aligned to 8; all who write it add atomically.
    unsafe { add_at_once(&mut (*count).packets, 1) };
}

/// Adds a packet to a value of a map, this CPU's.
#[inline(always)]
pub(crate) fn add<P: Packet>(count: *mut Count, bytes: u32, _: &P) {
    add_case(count, bytes, !P::PREEMPTIBLE);
}

/// Adds one of something with so many bytes to a value of a map, this CPU's. `alone` says that nobody else
/// adds to it meanwhile.
#[inline(always)]
#[expect(unsafe_code, reason = "a map's value is reached through a pointer")]
pub(crate) fn add_case(count: *mut Count, bytes: u32, alone: bool) {
    let bytes = u64::from(bytes);
    // SAFETY: the pointer is this CPU's copy of the value, aligned to 8; nobody else writes it, or
    // all who do add atomically.
    unsafe {
        if alone {
            (*count).packets += 1;
            (*count).bytes += bytes;
        } else {
            add_at_once(&mut (*count).packets, 1);
            add_at_once(&mut (*count).bytes, bytes);
        }
    }
}
