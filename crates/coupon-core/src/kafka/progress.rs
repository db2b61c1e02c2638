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
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode as Code,
};

use super::{
    KafkaSettings, PublishError,
    asking::{Asking, BROKER_TIMEOUT},
    clients::create,
    context::LastError,
    reason,
};

/// Measures the lag of one group in one topic. Never joins the group.
#[derive(Clone)]
pub struct ConsumerProgress {
    pub(super) asking: Asking,
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

/// How far a group is in one partition, by the offsets alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PartitionProgress {
    /// The partition.
    pub partition: i32,
    /// The offset after the last record.
    pub end: i64,
    /// Offsets up to there that the group has not committed; some may hold no record.
    pub lag: i64,
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
        let mut config = settings.admin(service)?;
        config.set("group.id", group).set("enable.auto.commit", "false");
        let asking = Asking::new(settings, config.clone())?;
        // It is assigned by hand, so it never joins the group; it looks at one record of each partition.
        config
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.wait.max.ms", "50");
        Ok(Self { asking, reader: Arc::new(config), topic: topic.into(), group: group.into() })
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
        let topic = Arc::clone(&self.topic);
        let ends = self.asking.ask(move |client, within| {
            let mut ends = BTreeMap::new();
            for partition in partitions(client, &topic, within)? {
                let (first, end) = client.fetch_watermarks(&topic, partition, within)?;
                ends.insert(partition, Partition { first, end });
            }
            Ok(ends)
        });
        match ends.await? {
            ends if ends.is_empty() => Err(PublishError::NoTopic(self.topic.to_string())),
            ends => Ok(EndOffsets(ends)),
        }
    }

    /// The lag below these end offsets; 0: no record below them is left to the group.
    pub async fn lag(&self, ends: &EndOffsets) -> Result<u64, PublishError> {
        let unread = self.unread(self.gaps(ends).await?).await?;
        Ok(unread.values().map(|gap| u64::try_from(gap.end - gap.at).unwrap_or(0)).sum())
    }

    /// How far the group is in each partition now.
    pub async fn by_partition(&self) -> Result<Vec<PartitionProgress>, PublishError> {
        let ends = self.end_offsets().await?;
        let gaps = self.gaps(&ends).await?;
        let lag = |partition| gaps.get(&partition).map_or(0, |gap| gap.end - gap.at);
        let ends = ends.by_partition().into_iter();
        Ok(ends.map(|(partition, end)| PartitionProgress { partition, end, lag: lag(partition) }).collect())
    }

    /// The gaps below these end offsets, by the offsets alone: a gap may hold no record.
    pub async fn gaps(&self, ends: &EndOffsets) -> Result<BTreeMap<i32, Gap>, PublishError> {
        let mut asked = TopicPartitionList::new();
        for partition in ends.0.keys() {
            asked.add_partition(&self.topic, *partition);
        }
        let committed = self.asking.committed(asked, &self.group).await?;
        let committed: BTreeMap<i32, i64> = committed
            .elements()
            .iter()
            .filter_map(|place| Some((place.partition(), place.offset().to_raw()?)))
            .collect();
        let (ends, topic) = (ends.clone(), Arc::clone(&self.topic));
        self.asking
            .ask(move |client, within| {
                let mut gaps = BTreeMap::new();
                for (partition, ends) in ends.0.clone() {
                    let committed = committed.get(&partition).copied();
                    let mut gap = ends.gap_after(committed);
                    if committed.is_some_and(|at| at > ends.end) {
                        // It has gone on meanwhile. Or the log was cut or made anew, and nothing of it has been read.
                        let (first, end) = client.fetch_watermarks(&topic, partition, within)?;
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
        let topic = Arc::clone(&self.topic);
        self.read(move |reader| {
            let mut places = TopicPartitionList::new();
            for (partition, gap) in &gaps {
                places.add_partition_offset(&topic, *partition, Offset::Offset(gap.at))?;
            }
            reader.assign(&places)?;
            Ok(first_records(reader, gaps))
        })
        .await
    }

    /// Tests the rights by which this process sees how far the group is: to describe topic and group, and to read the topic.
    /// Returns the lag.
    pub async fn check_rights(&self) -> Result<u64, PublishError> {
        let lag = self.lag(&self.end_offsets().await?).await?;
        let topic = Arc::clone(&self.topic);
        self.read(move |reader| may_read(reader, &topic)).await?;
        Ok(lag)
    }

    /// Runs a question of a client that reads, which blocks, on a thread of its own.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<LastError>) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let config = Arc::clone(&self.reader);
        let read = tokio::task::spawn_blocking(move || {
            let reader: BaseConsumer<LastError> = create(&config, LastError::default())?;
            question(&reader)
        });
        read.await.map_err(|_| PublishError::Closed)?
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

/// Reads one record of each partition, or that there is none.
fn first_records(reader: &BaseConsumer<LastError>, mut gaps: BTreeMap<i32, Gap>) -> BTreeMap<i32, Gap> {
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

/// Looks at the end of the first partition: whoever may not read the topic may not do that either.
fn may_read(reader: &BaseConsumer<LastError>, topic: &str) -> Result<(), PublishError> {
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, 0, Offset::End)?;
    reader.assign(&places)?;
    let until = Instant::now() + BROKER_TIMEOUT;
    loop {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                if let Some(reason) = error.rdkafka_error_code().and_then(reason::of_rights) {
                    return Err(reason.into());
                }
                if Instant::now() >= until {
                    return Err(error.into());
                }
            }
            None if Instant::now() >= until => {
                return Err(KafkaError::MessageConsumption(Code::OperationTimedOut).into());
            }
            None => {}
        }
    }
}

/// The partitions of a topic; none when there is no such topic.
fn partitions(client: &BaseConsumer<LastError>, topic: &str, within: Duration) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), within)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(Vec::new()) };
    match found.error().map(Code::from) {
        Some(code) if reason::of_rights(code).is_some() => Err(KafkaError::MetadataFetch(code)),
        Some(_) => Ok(Vec::new()),
        None => Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()),
    }
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
