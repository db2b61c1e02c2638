//! What follows from the end of an attempt, and the offsets that this lets the engine store.

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use super::{Engine, Handler, Key, Stage};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
    kafka::handler::Completion,
};

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
}
