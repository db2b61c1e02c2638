//! Panics that are part of the work: where a library panics on what anybody can send.

use std::cell::Cell;

thread_local! {
    static UNLOGGED: Cell<bool> = const { Cell::new(false) };
}

/// Runs something whose panics, which its caller catches, are no news and not logged.
pub fn unlogged<T>(work: impl FnOnce() -> T) -> T {
    let before = UNLOGGED.replace(true);
    let done = work();
    UNLOGGED.set(before);
    done
}

/// Whether the panic of this thread is no news.
pub(super) fn are_unlogged() -> bool {
    UNLOGGED.get()
}
