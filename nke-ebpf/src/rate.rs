//! Rates: whether no more comes by than a rule's limit says, packets or bytes.
//!
//! All CPUs share one number for each limit: the time at which all that has come by had come by at
//! the rate. A packet is within the limit if that time, with its own share added, is not further ahead of the
//! clock than the burst allows. Nothing is locked: CPUs that look at the same moment all
//! see the same number, so that each may let one packet more by at the edge; their shares are all added, and the
//! rate in the long run is right. Only where a limit has rested can a share be lost to another CPU's.
//!
//! Nothing here waits.

use crate::{
    Word,
    abi::{Test, limit},
};

/// What a packet of so many bytes takes of a limit, in nanoseconds.
#[inline(always)]
pub(crate) fn share(test: &Test, bytes: u32) -> u64 {
    let amount = if test.first[limit::BYTES] != 0 {
        u64::from(bytes)
    } else {
        1
    };
    amount.wrapping_mul(test.first[limit::COST]) >> 16
}

/// Whether the time of a limit may be so far ahead of the clock.
#[inline(always)]
pub(crate) const fn fits(test: &Test, ahead: u64) -> bool {
    ahead <= test.second[limit::AHEAD]
}

/// Whether a packet of so many bytes is within a limit that has this time. If it is, it takes its share.
#[inline(always)]
pub(crate) fn takes(time: &Word, test: &Test, bytes: u32, now: u64) -> bool {
    let share = share(test, bytes);
    let before = time.get();
    let from = if before < now { now } else { before };
    if !fits(test, from.wrapping_sub(now).wrapping_add(share)) {
        return false;
    }
    if before < now {
        time.set(now.wrapping_add(share));
    } else {
        time.add(share);
    }
    true
}

#[cfg(feature = "bpf")]
mod kernel {
    #![expect(unsafe_code, reason = "a page's word, which all CPUs share")]

    use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

    use super::takes;
    use crate::{
        Word,
        abi::{PAGE_WORDS, Page, Test, limit},
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
        // SAFETY: the word lies within the page, and is read and written as a whole.
        let time = unsafe { &*first.cast::<Word>().add(word) };
        // SAFETY: the helper takes nothing and cannot fail.
        takes(time, test, bytes, unsafe { bpf_ktime_get_ns() })
    }
}

#[cfg(feature = "bpf")]
pub use kernel::within;
