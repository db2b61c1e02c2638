//! Taking records from the client, many at a time.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use rdkafka::{consumer::StreamConsumer, error::KafkaResult};
use tokio::time::Instant;

use super::{Company, Engine, EngineContext, Entry, GivingUp, Handler, Record, TURN, Work};

/// Bytes of records after which no more are taken in the same turn: those who write what is no event write large ones.
const TURN_BYTES: usize = 1024 * 1024;

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
        if records.len() < room.min(TURN) && bytes < TURN_BYTES {
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
                Err(error) => tracing::warn!(%error, topic = self.topic, "kafka gives no records now"),
            }
        }
    }

    fn take_in(&mut self, record: Record) {
        let item = self.handler.read(&record);
        let request_id = item.as_ref().ok().map(|item| self.handler.request_id(item));
        let (partition, offset, bytes) = (record.partition, record.offset, record.bytes());
        let giving_up = item.as_ref().err().map(|failure| GivingUp::because(failure.clone()));
        let first_failed_at = giving_up.is_some().then(|| self.clock.now());
        let work = Arc::new(Work { record, item, request_id });
        // Trying to read it was the one attempt there is at a record that cannot be read.
        let attempts = u32::from(giving_up.is_some());
        let taken_in = Instant::now();
        let entry = Entry {
            work,
            taken_in,
            attempts,
            strikes: super::Strikes::default(),
            company: Company::Anybody,
            first_failed_at,
            giving_up,
        };
        match self.lanes.deliver(partition, offset, bytes, entry) {
            Some(key) => self.start(key),
            // Of a partition that has just gone, or fetched again after a pause.
            None => tracing::debug!(partition, offset, "a record was delivered that is not to be worked on"),
        }
    }
}
