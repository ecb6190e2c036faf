//! Work that is shared among processors.
//!
//! ```ignore
//! let squares = share::each(vec![1, 2, 3], 2, |number| number * number);
//! assert_eq!(squares, [1, 4, 9]);
//! ```
//!
//! What comes of it must never depend on how many processors there are, or on which of them is first. No
//! thread outlives the call.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// More threads would wait for memory, and for each other's last piece.
const MOST: usize = 4;

/// How many threads work can be shared among: one for each processor that this process may use, and not many.
pub(super) fn threads() -> usize {
    thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MOST)
}

/// What `work` makes of each of these, in their order, on so many threads; on fewer where the kernel has no more.
pub(super) fn each<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let left = Mutex::new(items.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let all_left = || -> Vec<(usize, R)> {
        let piece = |(nth, item)| (nth, work(item));
        std::iter::from_fn(next).map(piece).collect()
    };
    let mut done = thread::scope(|scope| {
        let start = |_| Builder::new().spawn_scoped(scope, all_left).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        let mut done = all_left();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(nth, _)| *nth);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_once_and_in_order() {
        for threads in [0, 1, 2, 7] {
            for count in [0, 1, 2, 1000] {
                let items: Vec<u32> = (0..count).collect();
                let wanted: Vec<u32> = items.iter().map(|item| item * 3).collect();
                assert_eq!(each(items, threads, |item| item * 3), wanted);
            }
        }
    }

    #[test]
    fn several_threads_work_at_the_same_time() {
        let both = std::sync::Barrier::new(2);
        each(vec![(), ()], 2, |()| both.wait());
    }
}
