//! What follows from the end of a stage, the offsets that this lets the engine store, and the end of the engine itself.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Engine, Handler, Key, Stage};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
    kafka::handler::Completion,
};

/// Longest wait for the client to leave the group, in which it can hang; the group then notices by the session timeout.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

impl<H: Handler> Engine<H> {
    pub(super) fn on_completion(&mut self, Completion { key, stage, result }: Completion) {
        self.running -= 1;
        if self.isolated.ended(key, result.is_ok()) {
            self.acquit();
        }
        if self.breakers.of(stage).ends_probe(key) {
            // A refusal may be the client's own and says nothing about the brokers: the next record is tried.
            self.probe_result(stage, result.is_ok());
        }
        if stage == Stage::Attempt {
            match &result {
                Ok(()) => self.attempts_ok.increment(1),
                Err(Failure { class, .. }) => {
                    metrics::counter!("coupon_attempts_total", "outcome" => class.as_str()).increment(1);
                }
            }
        }
        match &result {
            Ok(()) => self.breakers.of(stage).record_success(),
            Err(Failure { class: Class::Unavailable | Class::Interrupted, .. }) => {}
            Err(_) => self.breakers.of(stage).record_answer(),
        }
        match (result, stage) {
            (Ok(()), _) => self.complete(key),
            (Err(failure), Stage::Attempt) => self.attempt_failed(key, failure),
            (Err(failure), Stage::Exhausted) => self.exhausted_failed(key, &failure),
        }
        self.start_next_isolated();
    }

    pub(super) fn complete(&mut self, key: Key) {
        self.end_span(key);
        if let Some(next) = self.tracker.complete(key) {
            self.stores.insert(key.partition, next);
        }
    }

    /// Stores what this turn has completed. A partition that went meanwhile has nothing to store any more.
    pub(super) fn store_offsets(&mut self) {
        let stores = std::mem::take(&mut self.stores);
        if stores.is_empty() {
            return;
        }
        crash::pass("store an offset", Moment::Before);
        for (partition, next) in stores {
            let mut list = TopicPartitionList::new();
            let stored = list
                .add_partition_offset(&self.topic, partition, Offset::Offset(next))
                .and_then(|()| self.consumer.store_offsets(&list));
            if let Err(error) = stored {
                // The partition is being taken away; the next owner repeats these records and finds them decided.
                tracing::debug!(%error, partition, "an offset was not stored");
            }
        }
        crash::pass("store an offset", Moment::After);
    }

    /// Stops softly, then hard: takes no more records, waits for the running stages, stores the offsets, leaves the group.
    ///
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
