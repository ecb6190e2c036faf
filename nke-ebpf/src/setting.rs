//! Settings: values of an extension that its user changes while it works.

use core::{cell::UnsafeCell, ptr};

/// A value that is set from outside, at any time: see [`setting!`](crate::setting).
#[derive(Debug)]
#[repr(transparent)]
pub struct Setting<T>(UnsafeCell<T>);

mod sealed {
    /// What a processor reads at once, and that has a value for any bytes that nke writes.
    pub trait Plain: Copy {}
}

macro_rules! plain {
    ($($of:ty)+) => {
        $(impl sealed::Plain for $of {})+
    };
}

plain!(bool u8 u16 u32 u64 i8 i16 i32 i64);

// SAFETY: it is never written by the program that has it; who writes it from outside does so at once,
// and it is read at once.
#[expect(unsafe_code, reason = "a value that is changed from outside")]
unsafe impl<T: sealed::Plain> Sync for Setting<T> {}

impl<T: sealed::Plain> Setting<T> {
    /// A setting with its default.
    #[must_use]
    pub const fn new(default: T) -> Self {
        Self(UnsafeCell::new(default))
    }

    /// What it is now. Two calls can have two answers.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a value that is changed from outside")]
    pub fn get(&self) -> T {
        // SAFETY: the pointer is that of a static, aligned; all who write it do so at once, and the
        // compiler may not read it in parts, or once for two calls.
        unsafe { ptr::read_volatile(self.0.get()) }
    }
}

/// Declares a setting: a static of the object by whose name nke finds it.
///
/// ```ignore
/// nke_ebpf::setting!(
///     /// The port that is dropped.
///     DROP_PORT: u16 = 23
/// );
///
/// if port == DROP_PORT.get() { … }
/// ```
///
/// Its type is one that a processor reads at once: `bool`, `u8` to `u64`, `i8` to `i64`. Bounds and
/// a description are the manifest's: `[settings.drop-port]`. `nke set NAME drop-port=25` changes it
/// under traffic.
#[macro_export]
macro_rules! setting {
    ($(#[$about:meta])* $name:ident: $of:ty = $default:expr) => {
        $(#[$about])*
        #[unsafe(no_mangle)]
        static $name: $crate::Setting<$of> = $crate::Setting::new($default);
    };
}
