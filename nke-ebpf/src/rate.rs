//! Rates: whether no more comes by than a rule's limit says, packets or bytes.
//!
//! All CPUs share one number for each limit: the time at which all that has come by had come by at
//! the rate. A packet is within the limit if that time, with its own share added, is not further ahead of the
//! clock than the burst allows. Nothing is locked: CPUs that look at the same moment all
//! see the same number, so that each may let one packet more by at the edge; their shares are all added, and the
//! rate in the long run is right. Only where a limit has rested can a share be lost to another CPU's.
//!
//! Nothing here waits.
#![expect(unsafe_code, reason = "a page's word, which all CPUs share")]

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

use crate::{
    abi::{PAGE_WORDS, Page, Test, limit},
    branchless::add_at_once,
};

/// Whether a packet of so many bytes is within a limit, whose word lies in the first of the pages.
///
/// # Safety
///
/// Both pointers must be null or valid.
#[inline(always)]
#[must_use]
pub unsafe fn within(first: *mut Page, limit: *const Test, bytes: u32) -> bool {
    // SAFETY: promised by the caller.
    let Some(test) = (unsafe { limit.as_ref() }) else {
        return false;
    };
    if first.is_null() {
        return false;
    }
    let word = test.more[limit::WORD] as usize & (PAGE_WORDS - 1);
    let amount = if test.first[limit::BYTES] != 0 {
        u64::from(bytes)
    } else {
        1
    };
    let share = amount.wrapping_mul(test.first[limit::COST]) >> 16;
    // SAFETY: the word lies within the page, and is read and written as a whole; the helper takes nothing.
    unsafe {
        let time = first.cast::<u64>().add(word);
        let now = bpf_ktime_get_ns();
        let before = time.read_volatile();
        let from = if before < now { now } else { before };
        let ahead = from.wrapping_sub(now).wrapping_add(share);
        if ahead > test.second[limit::AHEAD] {
            return false;
        }
        if before < now {
            time.write_volatile(now.wrapping_add(share));
        } else {
            add_at_once(&mut *time, share);
        }
    }
    true
}
