//! Stopping softly: take nothing more, let what runs end, store the offsets, leave the group. Then hard.

use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Engine, Handler};

/// Leaving the group can hang inside the client; the group then notices by the session timeout.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

impl<H: Handler> Engine<H> {
    /// Records in back-off and records whose attempt fails now stay outstanding: no attempt is charged, the next
    /// owner of the partition begins with them anew.
    pub(super) async fn close(mut self) {
        let deadline = Instant::now() + self.policy.drain;
        self.start_shared_attempts();
        while self.running > 0
            && let Ok(Some(ended)) = timeout_at(deadline, self.completions.1.recv()).await
        {
            self.running -= 1;
            if ended.result.is_ok() {
                self.complete(ended.key);
            }
        }
        self.store_offsets();
        let left = self.tracker.outstanding();
        tracing::info!(topic = self.topic, left, "drained; records left over are consumed again by the next owner");
        // Work that did not end in time is not cancelled: the process ends around it.
        let consumer = self.consumer;
        let leave = tokio::task::spawn_blocking(move || {
            // There is nothing to commit when nothing was stored since the last time.
            let _ = consumer.commit_consumer_state(CommitMode::Sync);
            drop(consumer);
        });
        if timeout(LEAVE_TIMEOUT, leave).await.is_err() {
            tracing::warn!(topic = self.topic, "leaving the consumer group took too long and was given up");
        }
    }
}
