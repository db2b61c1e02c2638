//! Taking records from the client, many at a time.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult},
};
use tokio::time::Instant;

use super::traces::span_of;
use super::{Engine, EngineContext, Entry, Exhausted, Handler, Isolation, MAX_RECORDS_PER_TURN, Record, Work};
use crate::kafka::partition_tracker::DeliveredRecord;

/// Bytes of records after which no more are taken in the same turn: records that are no events may be large.
const MAX_BYTES_PER_TURN: usize = 1024 * 1024;

/// How long after the engine has begun a shortened log anew a report of the lag watch, which comes later, means the same log:
/// longer than the period of the watch.
const REWIND_REPORT_AGE: Duration = Duration::from_secs(10);

/// Waits for a record, and takes with it what the client has got already.
///
/// Nothing is lost when this is dropped: it waits for the first record only.
pub(super) async fn next_records(consumer: &StreamConsumer<EngineContext>, room: usize) -> Vec<KafkaResult<Record>> {
    let mut stream = consumer.stream();
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut next = stream.next().await;
    while let Some(message) = next.take() {
        let record = message.map(|message| Record::detach(&message));
        bytes += record.as_ref().map_or(0, Record::bytes);
        records.push(record);
        if records.len() < room.min(MAX_RECORDS_PER_TURN) && bytes < MAX_BYTES_PER_TURN {
            next = stream.next().now_or_never().flatten();
        }
    }
    records
}

impl<H: Handler> Engine<H> {
    pub(super) fn take_all_in(&mut self, records: Vec<KafkaResult<Record>>) {
        // The poll that gave these records may also have changed what they belong to.
        self.apply_assignments();
        for record in records {
            match record {
                Ok(record) => self.take_in(record),
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    tracing::error!(%error, topic = self.topic, "the client of kafka is broken for good");
                    self.is_broken = true;
                }
                Err(error) => tracing::warn!(%error, topic = self.topic, "kafka gives no records now"),
            }
        }
    }

    fn take_in(&mut self, record: Record) {
        let item = self.handler.read(&record);
        let request_id = item.as_ref().ok().map(|item| self.handler.request_id(item));
        let (partition, offset, bytes) = (record.partition, record.offset, record.bytes());
        let exhausted = item.as_ref().err().map(|failure| Exhausted::because(failure.clone()));
        let first_failed_at = exhausted.is_some().then(|| self.clock.now());
        let span = span_of(&record, request_id);
        let work = Arc::new(Work { record, item, request_id });
        // Trying to read it was the one attempt there is at a record that cannot be read.
        let attempts = u32::from(exhausted.is_some());
        let taken_in = Instant::now();
        let entry = Entry {
            work,
            taken_in,
            attempts,
            strikes: super::Strikes::default(),
            isolation: Isolation::Shared,
            first_failed_at,
            exhausted,
            span,
        };
        match self.tracker.deliver(partition, offset, bytes, entry) {
            Some(DeliveredRecord { key, rewound_from }) => {
                if let Some(highest) = rewound_from {
                    self.begin_again(partition, offset, highest);
                }
                self.start(key);
            }
            None => tracing::debug!(partition, offset, "a record was delivered of a partition that has just gone"),
        }
    }

    /// A partition begins again at an offset below those that were delivered: what was stored and committed of it belongs to
    /// a log that is no more. Left as it is, the client would commit nothing until the new log is as long as the old one
    /// was, and a restart at that moment would pass over records.
    fn begin_again(&mut self, partition: i32, offset: i64, highest: i64) {
        tracing::warn!(
            topic = self.topic,
            partition,
            offset,
            highest,
            "partition {partition} of {} goes on at {offset} after {highest}: the topic was made anew or has lost records; \
             what is in it now is read from there",
            self.topic
        );
        metrics::counter!("coupon_partitions_rewound_total").increment(1);
        self.rewound_at.insert(partition, Instant::now());
        self.stores.remove(&partition);
        let mut list = TopicPartitionList::new();
        let reset = list
            .add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            // In this order, or the client commits the old stored offset again.
            .and_then(|()| self.consumer.store_offsets(&list))
            .and_then(|()| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = reset {
            // The partition is being taken away; the next owner finds the same and does the same.
            tracing::debug!(%error, partition, "an offset was not set back");
        }
    }

    /// The log of a partition is shorter than it was. The client notices when it asks for an offset that is not there; if
    /// the new log has grown beyond it meanwhile, it does not.
    pub(super) fn seek_to_beginning(&mut self, partition: i32) {
        let is_rewound = self.rewound_at.get(&partition).is_some_and(|at| at.elapsed() < REWIND_REPORT_AGE);
        if is_rewound || !self.tracker.assigned().contains_key(&partition) {
            return;
        }
        tracing::warn!(
            topic = self.topic,
            partition,
            "partition {partition} of {} is read anew: it was longer",
            self.topic
        );
        // Nothing is waited for: what comes then is below what was delivered, and begins a new generation.
        if let Err(error) = self.consumer.seek(&self.topic, partition, Offset::Beginning, Duration::ZERO) {
            tracing::debug!(%error, partition, "the beginning was not sought");
        }
    }
}
