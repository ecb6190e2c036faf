//! A few operations as single instructions, where the compiler would branch or load bytewise.
//!
//! The verifier walks down every branch, and remembers on each what it has learnt. Three
//! comparisons one behind the other are eight ways through whatever follows; the same three as
//! arithmetic are one. On the host these are what they say.
//!
//! Nothing here branches, or touches memory other than what it is given.
#![expect(
    unsafe_code,
    reason = "inline assembly, which the compiler does not turn back"
)]

use crate::headers::Header;

/// 1 if the numbers are equal, else 0. They must be less than half of all numbers apart.
#[inline(always)]
pub(crate) fn equal(one: u64, other: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut difference = one ^ other;
        // SAFETY: arithmetic in one register.
        unsafe {
            core::arch::asm!(
                "{value} += -1",
                "{value} >>= 63",
                value = inout(reg) difference,
                options(pure, nomem, nostack),
            );
        }
        difference
    }
    #[cfg(not(target_arch = "bpf"))]
    u64::from(one == other)
}

/// 1 if the first number is below the second, else 0. They must be less than half of all numbers
/// apart.
#[inline(always)]
pub(crate) fn is_below(one: u64, other: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut difference = one;
        // SAFETY: arithmetic in one register.
        unsafe {
            core::arch::asm!(
                "{value} -= {other}",
                "{value} >>= 63",
                value = inout(reg) difference,
                other = in(reg) other,
                options(pure, nomem, nostack),
            );
        }
        difference
    }
    #[cfg(not(target_arch = "bpf"))]
    u64::from(one < other)
}

/// The same number, which must be below `END`, a power of two.
///
/// The compiler knows that from a comparison, and may have compared a copy, or from how it was computed; verifiers
/// before Linux 6.8 then know it of the copy only, or not at all.
#[inline(always)]
pub(crate) fn below<const END: usize>(number: usize) -> usize {
    const { assert!(END.is_power_of_two()) };
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: arithmetic in one register.
        unsafe {
            core::arch::asm!(
                "{number} &= {mask}",
                number = inout(reg) number,
                mask = const END - 1,
                options(pure, nomem, nostack),
            );
        }
        // The compiler knows nothing of it now, and would compare it where it is an index.
        number & (END - 1)
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// The same number, which must be below 64; what follows from it is computed anew, rather than kept on the stack.
#[inline(always)]
pub(crate) fn anew_below_64(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: arithmetic in one register. Not `pure`: twice the same would be done once.
        unsafe {
            core::arch::asm!(
                "{number} &= 63",
                number = inout(reg) number,
                options(nomem, nostack),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// The same number, of which the verifier has forgotten what it knew.
///
/// Ways that come together again are walked on only once if they look alike, and a constant looks
/// like no other number. `noise` can be any number that the verifier does not know.
#[inline(always)]
#[must_use]
pub fn forget(value: u64, noise: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: arithmetic in one register.
        unsafe {
            core::arch::asm!(
                "{value} ^= {noise}",
                "{value} ^= {noise}",
                value = inout(reg) value,
                noise = in(reg) noise,
                options(pure, nomem, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _: u64 = noise;
        value
    }
}

/// Eight bytes of a packet as one number, in the order in which they lie in memory.
///
/// A plain load of bytes at alignment 1 is compiled for BPF to eight loads and seven shifts. BPF
/// itself has no such need: the verifier allows the one load wherever the machine does.
#[inline(always)]
pub(crate) fn word(bytes: &[u8; 8]) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: reads the eight bytes that the reference covers, and writes nothing.
        unsafe {
            core::arch::asm!(
                "{value} = *(u64 *)({bytes} + 0)",
                value = out(reg) value,
                bytes = in(reg) bytes,
                options(pure, readonly, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    u64::from_ne_bytes(*bytes)
}

/// Four bytes of a packet as one number, in the order in which they lie in memory. See [`word`].
#[inline(always)]
pub(crate) fn half_word(bytes: &[u8; 4]) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: reads the four bytes that the reference covers, and writes nothing.
        unsafe {
            core::arch::asm!(
                "{value} = *(u32 *)({bytes} + 0)",
                value = out(reg) value,
                bytes = in(reg) bytes,
                options(pure, readonly, nostack),
            );
        }
        value as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    u32::from_ne_bytes(*bytes)
}

/// The number of `BYTES` bytes (1, 2, 4 or 8) at an offset of a header, in the order in which they lie
/// in memory: one instruction, with the offset in it. See [`word`].
#[inline(always)]
pub(crate) fn at<const OFFSET: usize, const BYTES: usize, T: Header>(header: &T) -> u64 {
    const { assert!(OFFSET + BYTES <= size_of::<T>()) };
    let header = core::ptr::from_ref(header).cast::<u8>();
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        macro_rules! load {
            ($load:literal) => {
                // SAFETY: reads bytes that the reference covers, and writes nothing.
                unsafe {
                    core::arch::asm!(
                        $load,
                        value = out(reg) value,
                        header = in(reg) header,
                        offset = const OFFSET,
                        options(pure, readonly, nostack),
                    )
                }
            };
        }
        match BYTES {
            1 => load!("{value} = *(u8 *)({header} + {offset})"),
            2 => load!("{value} = *(u16 *)({header} + {offset})"),
            4 => load!("{value} = *(u32 *)({header} + {offset})"),
            _ => load!("{value} = *(u64 *)({header} + {offset})"),
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // SAFETY: the header has as many bytes, all of which are numbers.
        let bytes = unsafe { core::slice::from_raw_parts(header.add(OFFSET), BYTES) };
        match *bytes {
            [a] => a.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        }
    }
}

/// Adds to a number in memory, in one step: nothing on the same machine can come in between.
///
/// The core library has no such operation for a machine without compare-and-swap.
#[cfg(feature = "bpf")]
#[inline(always)]
pub(crate) fn add_at_once(number: &mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: adds to what the reference covers.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({number} + 0) += {value}",
            number = in(reg) number,
            value = in(reg) value,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        *number += value;
    }
}

/// Loads of the kernel's own objects, which must be one instruction with the offset in it: the
/// verifier takes no pointer that was computed first, and no load narrower than the field.
#[cfg(feature = "bpf")]
pub(crate) mod load {
    /// Four bytes.
    ///
    /// # Safety
    ///
    /// There must be four bytes at this offset, aligned to 4.
    #[inline(always)]
    pub(crate) unsafe fn u32<const OFFSET: usize>(object: *const u8) -> u32 {
        #[cfg(target_arch = "bpf")]
        {
            let value: u64;
            // SAFETY: promised by the caller.
            unsafe {
                core::arch::asm!(
                    "{value} = *(u32 *)({object} + {offset})",
                    value = out(reg) value,
                    object = in(reg) object,
                    offset = const OFFSET,
                    options(pure, readonly, nostack),
                );
            }
            value as u32
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: promised by the caller.
        unsafe {
            object.add(OFFSET).cast::<u32>().read()
        }
    }

    /// An address or a length of a program's context, four bytes that the kernel makes eight of.
    ///
    /// It is loaded anew each time. The verifier tells apart addresses of a packet by how much of it
    /// has been looked at, and whoever keeps one has all that follows walked through for each.
    ///
    /// # Safety
    ///
    /// The context must be the kernel's, and have such a member at this offset.
    #[inline(always)]
    pub(crate) unsafe fn context<const OFFSET: usize, T>(context: *const T) -> usize {
        #[cfg(target_arch = "bpf")]
        {
            let value: u64;
            // SAFETY: promised by the caller.
            unsafe {
                core::arch::asm!(
                    "{value} = *(u32 *)({context} + {offset})",
                    value = out(reg) value,
                    context = in(reg) context,
                    offset = const OFFSET,
                    options(nostack),
                );
            }
            value as usize
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: promised by the caller.
        unsafe {
            context.cast::<u8>().add(OFFSET).cast::<u32>().read() as usize
        }
    }

    /// Eight bytes.
    ///
    /// # Safety
    ///
    /// There must be eight bytes at this offset, aligned to 8.
    #[inline(always)]
    pub(crate) unsafe fn u64<const OFFSET: usize>(object: *const u8) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let value: u64;
            // SAFETY: promised by the caller.
            unsafe {
                core::arch::asm!(
                    "{value} = *(u64 *)({object} + {offset})",
                    value = out(reg) value,
                    object = in(reg) object,
                    offset = const OFFSET,
                    options(pure, readonly, nostack),
                );
            }
            value
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: promised by the caller.
        unsafe {
            object.add(OFFSET).cast::<u64>().read()
        }
    }
}
