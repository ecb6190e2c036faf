//! Numbers in bytes, whole or as bit fields.
//!
//! The bits of a little-endian machine count from the lowest of the first byte, those of a big-endian
//! one from the highest.

/// The widest number, in bits.
pub(super) const MOST: usize = 128;

/// A number of up to 16 bytes, in this machine's byte order.
pub(super) fn number(bytes: &[u8]) -> u128 {
    let push = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
    if cfg!(target_endian = "little") {
        bytes.iter().rev().fold(0, push)
    } else {
        bytes.iter().fold(0, push)
    }
}

/// A number as `size` bytes, in this machine's byte order.
pub(super) fn bytes(number: u128, size: usize) -> Vec<u8> {
    if cfg!(target_endian = "little") {
        number.to_le_bytes()[..size].to_vec()
    } else {
        number.to_be_bytes()[16 - size..].to_vec()
    }
}

/// The number of `width` bits that starts at a bit.
pub(super) fn field(all: &[u8], offset: usize, width: usize) -> u128 {
    (0..width).fold(0, |number, nth| {
        let bit = u128::from(is_set(all, offset + nth));
        if cfg!(target_endian = "little") {
            number | bit << nth
        } else {
            number << 1 | bit
        }
    })
}

/// The `nth` bit of a number of `width` bits, in the order in which they lie in memory.
pub(super) const fn bit(number: u128, width: usize, nth: usize) -> bool {
    let shift = if cfg!(target_endian = "little") {
        nth
    } else {
        width - 1 - nth
    };
    number >> shift & 1 == 1
}

/// One bit as a byte's.
pub(super) const fn mask(offset: usize) -> u8 {
    if cfg!(target_endian = "little") {
        1 << (offset % 8)
    } else {
        0x80 >> (offset % 8)
    }
}

fn is_set(all: &[u8], offset: usize) -> bool {
    all.get(offset / 8)
        .is_some_and(|byte| byte & mask(offset) != 0)
}

/// A number of `width` bits as a signed one.
pub(super) const fn signed(number: u128, width: usize) -> i128 {
    let unused = MOST - width;
    (number << unused).cast_signed() >> unused
}
