//! Work that goes on when its client is gone, and that a stop waits for.

use tokio::{sync::watch, task::JoinHandle};

/// Counts the detached work. Clones count together.
#[derive(Clone, Debug)]
pub struct Detached(watch::Sender<usize>);

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub struct Piece(watch::Sender<usize>);

impl Default for Detached {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Detached {
    /// Begins a piece of work.
    pub fn begin(&self) -> Piece {
        self.0.send_modify(|pieces| *pieces += 1);
        Piece(self.0.clone())
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
        *self.0.borrow()
    }

    /// Waits until none is.
    pub async fn idle(&self) {
        // It fails only when the sender is gone, and this is one.
        let _ = self.0.subscribe().wait_for(|pieces| *pieces == 0).await;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.send_modify(|pieces| *pieces -= 1);
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
