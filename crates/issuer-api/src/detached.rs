//! Work that goes on when its client is gone, and that a stop waits for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Notify, task::JoinHandle};

/// Counts the detached work. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Detached(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    pieces: AtomicUsize,
    /// Told when the last piece has ended.
    idle: Notify,
}

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub struct Piece(Arc<Count>);

impl Detached {
    /// Begins a piece of work.
    pub fn begin(&self) -> Piece {
        self.0.pieces.fetch_add(1, Ordering::AcqRel);
        Piece(Arc::clone(&self.0))
    }

    /// Runs a future that nobody cancels.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let piece = self.begin();
        tokio::spawn(async move {
            let _piece = piece;
            work.await
        })
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

impl Drop for Piece {
    fn drop(&mut self) {
        if self.0.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_waits_for_every_piece_a_panicking_one_included() {
        let detached = Detached::default();
        let piece = detached.begin();
        let panicking = detached.spawn(async { panic!("on purpose") });
        assert_eq!(detached.pieces(), 2);
        assert!(panicking.await.is_err_and(|error| error.is_panic()));
        let waiting = tokio::spawn({
            let detached = detached.clone();
            async move { detached.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(piece);
        waiting.await.unwrap();
    }
}
