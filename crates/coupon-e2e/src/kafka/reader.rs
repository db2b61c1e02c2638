//! Reading the whole of a topic, without a consumer group.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
    topic_partition_list::{Offset, TopicPartitionList},
};

use super::{TIMEOUT, record::Record};

/// Every record from offset 0 to the end, ordered by partition and offset.
pub(super) fn read_all(brokers: &str, topic: &str) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // Needed by the client, used by nobody: partitions are assigned by hand and nothing is committed.
        .set("group.id", "coupon-e2e.reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()?;
    let mut open: BTreeSet<i32> = partitions(&consumer, topic)?.into_iter().collect();
    let mut places = TopicPartitionList::new();
    for partition in &open {
        places.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    let started = Instant::now();
    let mut records = Vec::new();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(copy(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(error).context(format!("{topic} cannot be read")),
            None if started.elapsed() > TIMEOUT => bail!("{topic} is not read to its end within {TIMEOUT:?}"),
            None => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// Partitions of a topic that exists.
pub(super) fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions = found.with_context(|| format!("the topic {topic} does not exist"))?.partitions();
    Ok(partitions.iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

fn copy(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
