//! Work that goes on when its client is gone, and that a stop waits for.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{runtime::Handle, sync::Notify};

/// Counts the detached work. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Detached(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    pieces: AtomicUsize,
    /// Those whose client is gone, worked on by a task.
    abandoned: AtomicUsize,
    /// Told when the last piece has ended.
    idle: Notify,
}

/// Work that goes on when this is dropped.
#[must_use = "work that nobody waits for is better spawned"]
pub struct Run<T: Send + 'static>(Option<(Work<T>, Piece)>);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub struct Piece(Arc<Count>);

impl Detached {
    /// Begins a piece of work.
    pub fn begin(&self) -> Piece {
        self.0.pieces.fetch_add(1, Ordering::AcqRel);
        Piece(Arc::clone(&self.0))
    }

    /// Runs a future that nobody cancels. It is worked on by whoever waits for it, which costs no task; when it is given
    /// up half-way, because the client has hung up, a task goes on with it.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Run<T> {
        Run(Some((Box::pin(work), self.begin())))
    }

    /// How many go on although their client is gone.
    pub fn abandoned(&self) -> usize {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    /// How many pieces are under way.
    pub fn pieces(&self) -> usize {
        self.0.pieces.load(Ordering::Acquire)
    }

    /// Waits until none is.
    pub async fn idle(&self) {
        loop {
            // Before the look: what ends between the look and the wait would not be noticed otherwise.
            let ended = self.0.idle.notified();
            if self.pieces() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl<T: Send + 'static> Future for Run<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Out of its place while it is polled: what has panicked or ended must not be polled again by a task.
        let Some((mut work, piece)) = self.0.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some((work, piece));
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Run<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let (Some((work, piece)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            let abandoned = Abandoned::from(piece);
            runtime.spawn(async move {
                let _abandoned = abandoned;
                drop(work.await);
            });
        }
    }
}

/// A piece that is counted as abandoned.
struct Abandoned(Piece);

impl From<Piece> for Abandoned {
    fn from(piece: Piece) -> Self {
        piece.0.abandoned.fetch_add(1, Ordering::Relaxed);
        Self(piece)
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.0.abandoned.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.0.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
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
        assert_eq!(detached.abandoned(), 0);
    }
}
