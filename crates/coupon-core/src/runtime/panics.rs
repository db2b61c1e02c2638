//! Panics that are part of the work: where a library panics on what anybody can send.

use std::{
    cell::Cell,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

thread_local! {
    static UNLOGGED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose panics are not logged; its caller catches them.
pub fn unlogged<T>(work: impl FnOnce() -> T) -> T {
    let before = UNLOGGED.replace(true);
    let done = work();
    UNLOGGED.set(before);
    done
}

/// Runs a future whose panic must not end the task that waits for it; `None` after one. The process logs it.
pub async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// Whether a panic of this thread is not logged: it came inside [`unlogged`].
pub(super) fn are_unlogged() -> bool {
    UNLOGGED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_caught_work_ends_only_that_work() {
        let work = caught::<()>(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        assert_eq!(work.await, None);
        assert_eq!(caught(async { 7 }).await, Some(7));
    }
}
