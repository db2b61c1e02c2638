//! Kafka as a test sees it: topics that come and go, records of any bytes, the whole of a topic, committed offsets.

pub mod admin;
pub mod raw;
mod reader;
pub mod record;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, anyhow};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
};

use self::record::{NewRecord, Record};

/// Settings of a dead letter topic: it takes a record of 1 MiB with the headers around it, and keeps records for ever.
pub const DLQ_SETTINGS: &[(&str, &str)] = &[("max.message.bytes", "2097152"), ("retention.ms", "-1")];

/// Longest time a request to the broker may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// A topic on the shared broker; it need not exist.
#[derive(Clone, Debug)]
pub struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    /// Returns a client of the topic of this name.
    pub fn new(brokers: &str, name: &str) -> Self {
        Self { brokers: brokers.to_owned(), name: name.to_owned() }
    }

    /// Returns the name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates it and waits until it can be written to.
    pub async fn create(&self, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        admin::create_topic(&self.brokers, &self.name, partitions, settings).await
    }

    /// Sets settings of it; all others go back to the defaults of the broker.
    pub async fn configure(&self, settings: &[(&str, &str)]) -> Result<()> {
        admin::configure_topic(&self.brokers, &self.name, settings).await
    }

    /// Gives it so many partitions in all.
    pub async fn add_partitions(&self, partitions: i32) -> Result<()> {
        admin::add_partitions(&self.brokers, &self.name, partitions).await
    }

    /// Writes a record in a transaction, which leaves a marker behind it that is no record.
    pub async fn write_in_a_transaction(&self, record: &NewRecord) -> Result<()> {
        let transaction = format!("coupon-e2e.{}", uuid::Uuid::now_v7());
        let producer: FutureProducer = self.client().set("transactional.id", &transaction).create()?;
        let topic = self.name.clone();
        let record = record.clone();
        let prepared = producer.clone();
        tokio::task::spawn_blocking(move || prepared.init_transactions(TIMEOUT)).await??;
        producer.begin_transaction()?;
        producer.send(record.prepare(&topic), TIMEOUT).await.map_err(|(error, _)| error)?;
        Ok(tokio::task::spawn_blocking(move || producer.commit_transaction(TIMEOUT)).await??)
    }

    /// Deletes it and waits until it is gone.
    pub async fn delete(&self) -> Result<()> {
        admin::delete_topics(&self.brokers, &[&self.name]).await
    }

    /// Deletes every record that is in it; offsets go on from where they were.
    pub async fn delete_records(&self) -> Result<()> {
        let ends: BTreeMap<i32, i64> =
            self.read().await?.iter().map(|record| (record.partition, record.offset + 1)).collect();
        let ends: Vec<(i32, i64)> = ends.into_iter().collect();
        admin::delete_records(&self.brokers, &self.name, &ends).await
    }

    /// Every record from offset 0 to the end, ordered by partition and offset.
    pub async fn read(&self) -> Result<Vec<Record>> {
        let topic = self.clone();
        tokio::task::spawn_blocking(move || reader::read_all(&topic.brokers, &topic.name)).await?
    }

    /// Writes a record as it is and waits for the broker. Returns its partition and offset.
    pub async fn write(&self, record: &NewRecord) -> Result<(i32, i64)> {
        let written = self.write_all(std::slice::from_ref(record)).await?;
        written.into_iter().next().ok_or_else(|| anyhow!("the broker acknowledged nothing"))
    }

    /// Writes records in order and waits for the broker. Returns partition and offset of each.
    pub async fn write_all(&self, records: &[NewRecord]) -> Result<Vec<(i32, i64)>> {
        let producer: FutureProducer =
            self.client().set("message.max.bytes", "2097152").set("linger.ms", "0").create()?;
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let delivery = producer.send(record.prepare(&self.name), TIMEOUT).await;
            let delivered = delivery.map_err(|(error, _)| error)?;
            places.push((delivered.partition, delivered.offset));
        }
        Ok(places)
    }

    /// Writes many records, as fast as the broker takes them, and waits for it. In each partition they keep their order.
    pub async fn write_many(&self, records: &[NewRecord]) -> Result<()> {
        let producer: FutureProducer =
            self.client().set("linger.ms", "5").set("enable.idempotence", "true").create()?;
        for some in records.chunks(10_000) {
            let mut queued = Vec::with_capacity(some.len());
            for record in some {
                queued.push(producer.send_result(record.prepare(&self.name)).map_err(|(error, _)| error)?);
            }
            for delivery in queued {
                delivery.await?.map_err(|(error, _)| error)?;
            }
        }
        Ok(())
    }

    /// Committed offset of a consumer group for each partition that has one.
    pub async fn committed(&self, group: &str) -> Result<BTreeMap<i32, i64>> {
        let (topic, group) = (self.clone(), group.to_owned());
        tokio::task::spawn_blocking(move || topic.committed_blocking(&group)).await?
    }

    /// Sets the committed offset of a group that has no members.
    pub async fn commit(&self, group: &str, partition: i32, offset: i64) -> Result<()> {
        let (topic, group) = (self.clone(), group.to_owned());
        let committing = tokio::task::spawn_blocking(move || -> Result<()> {
            let mut places = TopicPartitionList::new();
            places.add_partition_offset(&topic.name, partition, Offset::Offset(offset))?;
            let consumer: BaseConsumer = topic.client().set("group.id", &group).create()?;
            Ok(consumer.commit(&places, CommitMode::Sync)?)
        });
        committing.await?
    }

    fn committed_blocking(&self, group: &str) -> Result<BTreeMap<i32, i64>> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create()?;
        let mut places = TopicPartitionList::new();
        for partition in reader::partitions(&consumer, &self.name)? {
            places.add_partition(&self.name, partition);
        }
        let committed = consumer.committed_offsets(places, TIMEOUT)?;
        let elements = committed.elements();
        Ok(elements
            .iter()
            .filter_map(|place| Some((place.partition(), place.offset().to_raw()?)))
            .filter(|(_, offset)| *offset >= 0)
            .collect())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

impl NewRecord {
    fn prepare<'a>(&'a self, topic: &'a str) -> FutureRecord<'a, [u8], [u8]> {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &self.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let mut record = FutureRecord::to(topic).headers(headers);
        record.key = self.key.as_deref();
        record.payload = self.value.as_deref();
        record.partition = self.partition;
        record.timestamp = self.timestamp_ms;
        record
    }
}
