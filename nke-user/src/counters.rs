//! Where an attachment's verdicts are counted: an array of one value, with a row for each CPU.
//!
//! The rows must never begin at the same offset of a page for every attachment: the rows of a long
//! chain would share one set of the first-level cache, and a node would cost thrice as much. So the
//! value has room for a page's worth of offsets, and each map begins at another.
//! `docs/decisions/0002-counters.md` has the measurements.
//!
//! ```ignore
//! let map = counters::make()?;
//! let place = counters::rows(&map)?;      // for the epilogue
//! let [go_on, dropped, other, ..] = counters::sums(&map)?;
//! ```

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::place::Counters;
use crate::sys::map::{self, Shape};

/// Offsets at which rows can begin.
const OFFSETS: u32 = 4096 / Counters::LINE;

/// Makes the array, all zero.
///
/// # Errors
///
/// The kernel's; that of reading which CPUs it has.
pub fn make() -> io::Result<OwnedFd> {
    let rows = map::cpu_ids()?.next_power_of_two();
    let size = rows * Counters::ROW + (OFFSETS - 1) * Counters::LINE;
    map::create(Shape::array("nke_counters", size))
}

/// Where a node that counts in this array does so.
///
/// # Errors
///
/// The kernel's, when this is no map.
pub fn rows(map: &OwnedFd) -> io::Result<Counters> {
    let described = map::describe(map)?;
    Ok(Counters {
        map: map.as_raw_fd(),
        first_row: (scatter(described.id) * Counters::LINE) as i32,
        rows: (described
            .value_size
            .saturating_sub((OFFSETS - 1) * Counters::LINE)
            / Counters::ROW)
            .max(1),
    })
}

/// Spreads ids, which come in steps of a few, evenly over the offsets (Knuth's multiplicative hash).
fn scatter(id: u32) -> u32 {
    id.wrapping_mul(0x9e37_79b1) >> (u32::BITS - OFFSETS.ilog2())
}

/// What all CPUs have counted: packets gone on, dropped, other, then bytes likewise.
///
/// # Errors
///
/// The kernel's, when this is no array of [`make`].
pub fn sums(map: &OwnedFd) -> io::Result<[u64; 6]> {
    let mut value = vec![0; map::describe(map)?.value_size as usize];
    map::lookup(map, &0u32.to_ne_bytes(), &mut value)?.ok_or(io::ErrorKind::NotFound)?;
    let mut sums = [0u64; 6];
    for line in value.chunks_exact(Counters::LINE as usize) {
        for (sum, number) in sums.iter_mut().zip(line.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(number.try_into().unwrap_or_default()));
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_long_chain_begin_at_many_offsets() {
        for step in 1..=16 {
            for first in [1, 77, 1 << 20] {
                let mut taken = [0; OFFSETS as usize];
                for nth in 0..32 {
                    taken[scatter(first + nth * step) as usize] += 1;
                }
                // Of each offset, a first-level cache holds four lines and more.
                assert!(taken.iter().all(|rows| *rows <= 4), "step {step}");
            }
        }
    }
}
