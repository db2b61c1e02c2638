//! Whether a consumer group has caught up with a topic: how reconciliation and rebuild know that everything that was acknowledged
//! has been consumed, without guessing a time.
//!
//! Offsets are not dense: the markers of a transaction, and its aborted records, take offsets and are never delivered, so that a
//! group never commits past them. Where the offsets show a lag, the log is read.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};

use super::{KafkaSettings, PublishError};

/// How long the brokers may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures the lag of one group in one topic. Never joins the group.
#[derive(Clone)]
pub struct ConsumerProgress {
    client: Arc<BaseConsumer>,
    /// Settings of the client that reads the records of a gap.
    reader: Arc<ClientConfig>,
    topic: Arc<str>,
    group: Arc<str>,
}

/// Offsets of a partition that a group has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub at: i64,
    /// The one after the last.
    pub end: i64,
}

/// The end offsets of a topic's partitions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOffsets(BTreeMap<i32, Partition>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    first: i64,
    end: i64,
}

impl ConsumerProgress {
    /// Makes the client; it connects when it is first asked.
    pub fn new(settings: &KafkaSettings, service: &str, topic: &str, group: &str) -> Result<Self, PublishError> {
        let mut config: ClientConfig = settings.admin(service);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            // It never joins the group. What the settings say of one of the two, for those who do, need not fit the default of
            // the other, and no client could be made.
            .set("session.timeout.ms", "45000")
            .set("max.poll.interval.ms", "300000");
        let client = Arc::new(config.create()?);
        // It is assigned by hand, so it never joins the group; it looks at one record of each partition.
        config
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.wait.max.ms", "50");
        Ok(Self { client, reader: Arc::new(config), topic: topic.into(), group: group.into() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The end offset of each partition now: what was acknowledged before this call lies below.
    pub async fn end_offsets(&self) -> Result<EndOffsets, PublishError> {
        self.ask(|client, topic, _| {
            let mut ends = BTreeMap::new();
            for partition in partitions(client, topic)? {
                let (first, end) = client.fetch_watermarks(topic, partition, BROKER_TIMEOUT)?;
                ends.insert(partition, Partition { first, end });
            }
            Ok(EndOffsets(ends))
        })
        .await
    }

    /// The lag below these end offsets; 0: no record below them is left to the group.
    pub async fn lag(&self, ends: &EndOffsets) -> Result<u64, PublishError> {
        let unread = self.unread(self.gaps(ends).await?).await?;
        Ok(unread.values().map(|gap| u64::try_from(gap.end - gap.at).unwrap_or(0)).sum())
    }

    /// The gaps below these end offsets, by the offsets alone: a gap may hold no record.
    pub async fn gaps(&self, ends: &EndOffsets) -> Result<BTreeMap<i32, Gap>, PublishError> {
        let ends = ends.clone();
        self.ask(move |client, topic, _| {
            let mut asked = TopicPartitionList::new();
            for partition in ends.0.keys() {
                asked.add_partition(topic, *partition);
            }
            let committed = client.committed_offsets(asked, BROKER_TIMEOUT)?;
            let committed: BTreeMap<i32, i64> = committed
                .elements()
                .iter()
                .filter_map(|place| Some((place.partition(), place.offset().to_raw()?)))
                .collect();
            let mut gaps = BTreeMap::new();
            for (partition, ends) in ends.0 {
                let committed = committed.get(&partition).copied();
                let mut gap = ends.gap_after(committed);
                if committed.is_some_and(|at| at > ends.end) {
                    // It has gone on meanwhile. Or the log was cut or made anew, and nothing of it has been read.
                    let (first, end) = client.fetch_watermarks(topic, partition, BROKER_TIMEOUT)?;
                    gap = gap.or_else(|| Partition { first, end }.gap_of_new_log(committed));
                }
                gaps.extend(gap.map(|gap| (partition, gap)));
            }
            Ok(gaps)
        })
        .await
    }

    /// The gaps that hold a record, each from its first record on. A gap that cannot be read counts as holding one.
    pub async fn unread(&self, gaps: BTreeMap<i32, Gap>) -> Result<BTreeMap<i32, Gap>, PublishError> {
        if gaps.is_empty() {
            return Ok(gaps);
        }
        let config = Arc::clone(&self.reader);
        self.ask(move |_, topic, _| {
            let reader: BaseConsumer<SilentContext> = config.create_with_context(SilentContext)?;
            let mut places = TopicPartitionList::new();
            for (partition, gap) in &gaps {
                places.add_partition_offset(topic, *partition, Offset::Offset(gap.at))?;
            }
            reader.assign(&places)?;
            Ok(first_records(&reader, gaps))
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer, &str, &str) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let this = self.clone();
        // The client's questions block the thread they are asked on.
        let asked = tokio::task::spawn_blocking(move || question(&this.client, &this.topic, &this.group));
        asked.await.map_err(|_| PublishError::Closed)?
    }
}

impl EndOffsets {
    /// The end of each partition.
    pub(super) fn by_partition(&self) -> BTreeMap<i32, i64> {
        self.0.iter().map(|(partition, ends)| (*partition, ends.end)).collect()
    }
}

impl Partition {
    /// The gap of a group. A group that never committed (negative, or none) begins with the first record there is.
    fn gap_after(self, committed: Option<i64>) -> Option<Gap> {
        let at = committed.unwrap_or(-1).max(self.first);
        (at < self.end).then_some(Gap { at, end: self.end })
    }

    /// The gap of a group in a log that ends, as it is now, before the committed offset.
    fn gap_of_new_log(self, committed: Option<i64>) -> Option<Gap> {
        committed.filter(|at| *at > self.end).and_then(|_| self.gap_after(None))
    }
}

/// Logs no error: the end of a partition is what this client looks for.
struct SilentContext;

impl ClientContext for SilentContext {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for SilentContext {}

/// Reads one record of each partition, or that there is none.
fn first_records(reader: &BaseConsumer<SilentContext>, mut gaps: BTreeMap<i32, Gap>) -> BTreeMap<i32, Gap> {
    let until = Instant::now() + BROKER_TIMEOUT;
    let mut unread = BTreeMap::new();
    while !gaps.is_empty() && Instant::now() < until {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                // What lies at the end or beyond it has come since.
                if let Some(gap) = gaps.remove(&record.partition()).filter(|gap| record.offset() < gap.end) {
                    unread.insert(record.partition(), Gap { at: record.offset(), ..gap });
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(gaps.remove(&partition)),
            // The client may not read, or the brokers went away: the other gaps count as holding a record.
            Some(Err(_)) => break,
            None => {}
        }
    }
    unread.extend(gaps);
    unread
}

fn partitions(client: &BaseConsumer, topic: &str) -> Result<Vec<i32>, PublishError> {
    let metadata = client.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let found = found.filter(|found| !found.partitions().is_empty());
    let found = found.ok_or_else(|| PublishError::NoTopic(topic.to_owned()))?;
    Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_passed_what_it_committed_what_was_deleted_and_nothing_else() {
        let partition = Partition { first: 10, end: 15 };
        let from = |at| Some(Gap { at, end: 15 });
        assert_eq!(partition.gap_after(Some(15)), None);
        assert_eq!(partition.gap_after(Some(12)), from(12));
        assert_eq!(partition.gap_after(Some(2)), from(10), "retention deleted the records between");
        assert_eq!(partition.gap_after(Some(-1001)), from(10), "no offset is committed");
        assert_eq!(partition.gap_after(None), from(10));
        assert_eq!(partition.gap_after(Some(99)), None, "it has gone on since");
        assert_eq!(
            partition.gap_of_new_log(Some(99)),
            from(10),
            "the topic was made anew, and nothing of it has been read"
        );
        assert_eq!(partition.gap_of_new_log(Some(15)), None);
        assert_eq!(Partition { first: 0, end: 0 }.gap_after(None), None);
        assert_eq!(Partition { first: 0, end: 0 }.gap_of_new_log(Some(7)), None);
    }
}
