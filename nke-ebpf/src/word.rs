//! A number in memory that several processors read and write: programs, and the user side.
//!
//! The core library has no compare-and-swap for BPF, which has one since Linux 5.12.
//!
//! ```
//! use nke_ebpf::Word;
//!
//! let word = Word::new(7);
//! assert!(word.replace(7, 8));
//! assert!(!word.replace(7, 9), "it is 8");
//! assert_eq!(word.get(), 8);
//! ```
//!
//! It never tears, and never waits.
#![expect(unsafe_code, reason = "memory that others write at the same time")]

use core::cell::UnsafeCell;

/// A number in memory that others change at any time.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: it is read and written at once, as a whole.
unsafe impl Sync for Word {}

impl Word {
    /// A word of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(UnsafeCell::new(number))
    }

    /// What it is now. Two calls can have two answers.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u64 {
        // SAFETY: the pointer is aligned; the compiler may not read it in parts, or once for two calls.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes a number.
    #[inline(always)]
    pub fn set(&self, number: u64) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(number) }
    }

    /// Writes a number in the place of another, if that is still there. Nobody sees what was
    /// written before it later than this.
    #[inline(always)]
    pub fn replace(&self, old: u64, new: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        {
            let found: u64;
            // SAFETY: changes what the reference covers, which its cell allows.
            unsafe {
                core::arch::asm!(
                    "r0 = cmpxchg_64({word} + 0, r0, {new})",
                    word = in(reg) self.0.get(),
                    new = in(reg) new,
                    inout("r0") old => found,
                    options(nostack),
                );
            }
            found == old
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
            // SAFETY: aligned, and never accessed but as here.
            let word = unsafe { AtomicU64::from_ptr(self.0.get()) };
            word.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
        }
    }

    /// Adds to the number, in one step.
    #[inline(always)]
    pub fn add(&self, number: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: adds to what the reference covers, which its cell allows.
        unsafe {
            core::arch::asm!(
                "lock *(u64 *)({word} + 0) += {number}",
                word = in(reg) self.0.get(),
                number = in(reg) number,
                options(nostack),
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
            // SAFETY: aligned, and never accessed but as here.
            let word = unsafe { AtomicU64::from_ptr(self.0.get()) };
            word.fetch_add(number, Relaxed);
        }
    }
}
