//! Calls that may panic on malformed files, made into answers: aya-obj trusts what it parses.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    /// Whether a panic of this thread is expected, and nothing to report.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a step; `None` if it panicked. Other threads' panics are reported as ever.
pub(super) fn guarded<T>(step: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                report(panic);
            }
        }));
    });
    let outer = EXPECTED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(step));
    EXPECTED.set(outer);
    result.ok()
}
