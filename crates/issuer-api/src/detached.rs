//! Work that goes on when its client hangs up, and that a stop waits for.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Tracks the detached work of a process. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Detached {
    work: TaskTracker,
    /// Work whose client has hung up; a task goes on with it.
    abandoned: TaskTracker,
}

/// Work that goes on when this is dropped.
#[must_use = "work that nobody waits for is better spawned"]
pub struct Run<'a, T: Send + 'static> {
    detached: &'a Detached,
    work: Option<(Work<T>, TaskTrackerToken)>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Detached {
    /// Begins a piece of work, which ends when the token is dropped.
    pub fn begin(&self) -> TaskTrackerToken {
        self.work.token()
    }

    /// Runs a future that no client cancels. Whoever waits for the future works on it, which costs no task; when the client
    /// hangs up half-way, a task goes on with it.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Run<'_, T> {
        Run { detached: self, work: Some((Box::pin(work), self.begin())) }
    }

    /// Number of pieces of work whose client has hung up.
    pub fn abandoned(&self) -> usize {
        self.abandoned.len()
    }

    /// Number of pieces of work under way.
    pub fn pieces(&self) -> usize {
        self.work.len()
    }

    /// Waits until no work is under way.
    pub async fn idle(&self) {
        self.work.close();
        self.work.wait().await;
    }
}

impl<T: Send + 'static> Future for Run<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Out of its place while it is polled: what has panicked or ended must not be polled again by a task.
        let Some((mut work, token)) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some((work, token));
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Run<'_, T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let (Some((work, token)), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            let work = async move {
                let _token = token;
                drop(work.await);
            };
            self.detached.abandoned.spawn_on(work, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::AssertUnwindSafe, time::Duration};

    use futures_util::FutureExt;
    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn idle_waits_for_every_piece_a_panicking_one_included() {
        let detached = Detached::default();
        let piece = detached.begin();
        let panicking = AssertUnwindSafe(detached.run(async { panic!("on purpose") }));
        assert_eq!(detached.pieces(), 2);
        assert!(panicking.catch_unwind().await.is_err());
        assert_eq!(detached.pieces(), 1, "what has panicked is over");
        let waiting = tokio::spawn({
            let detached = detached.clone();
            async move { detached.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(piece);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_is_given_up_half_way_goes_on_where_it_was() {
        let detached = Detached::default();
        let ((go_on, wait), (told, tell)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut begun = 0;
        let work = detached.run(async move {
            begun += 1;
            wait.await.unwrap();
            told.send(begun).unwrap();
        });
        assert!(timeout(Duration::ZERO, work).await.is_err(), "the client has hung up");
        assert_eq!((detached.pieces(), detached.abandoned()), (1, 1));
        go_on.send(()).unwrap();
        assert_eq!(tell.await, Ok(1));
        detached.idle().await;
        while detached.abandoned() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
