//! Work that goes on when its client hangs up, and that a stop waits for.

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Counts the work of a process that no client can end. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Detached {
    publications: TaskTracker,
    /// Requests that are not decided.
    undecided: TaskTracker,
    /// Clients that wait for such a decision.
    present: TaskTracker,
}

/// Kept by a request until it is decided, and what follows has begun.
#[derive(Debug)]
pub struct Asked(#[expect(dead_code, reason = "dropped when the request is decided")] TaskTrackerToken);

impl Detached {
    /// Begins a publication, which ends when the token is dropped.
    pub fn begin(&self) -> TaskTrackerToken {
        self.publications.token()
    }

    /// Begins a request: what is dropped when it is decided, and what its client drops by hanging up or with the answer.
    pub fn ask(&self) -> (Asked, TaskTrackerToken) {
        (Asked(self.undecided.token()), self.present.token())
    }

    /// Number of requests whose client has hung up before the decision. Clients that do not know their answer yet hide as many.
    pub fn abandoned(&self) -> usize {
        self.undecided.len().saturating_sub(self.present.len())
    }

    /// Number of pieces of work under way.
    pub fn pieces(&self) -> usize {
        self.undecided.len() + self.publications.len()
    }

    /// Waits until no work is under way.
    pub async fn idle(&self) {
        // Each publication begins before its request ends.
        for work in [&self.undecided, &self.publications] {
            work.close();
            work.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_waits_for_every_request_and_for_what_follows_from_it() {
        let detached = Detached::default();
        let (asked, present) = detached.ask();
        let waiting = tokio::spawn({
            let detached = detached.clone();
            async move { detached.idle().await }
        });
        drop(present);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the client has hung up");
        assert_eq!((detached.pieces(), detached.abandoned()), (1, 1));
        let publication = detached.begin();
        drop(asked);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the reservation is not acknowledged");
        assert_eq!((detached.pieces(), detached.abandoned()), (1, 0));
        drop(publication);
        waiting.await.unwrap();
    }
}
