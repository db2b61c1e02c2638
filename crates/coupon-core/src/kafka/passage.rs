//! Whether a consumer group has passed what is in a topic: how reconciliation and rebuild know that everything that was
//! acknowledged has been dealt with, without guessing a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use super::{KafkaSettings, PublishError};

/// How long the brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Looks at one topic and at how far one group has come in it. Never joins the group.
#[derive(Clone)]
pub struct Passage {
    client: Arc<BaseConsumer>,
    topic: Arc<str>,
    group: Arc<str>,
}

/// The ends of a topic's partitions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends(BTreeMap<i32, Partition>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    first: i64,
    end: i64,
}

impl Passage {
    /// Makes the client; it connects when it is first asked.
    pub fn new(settings: &KafkaSettings, service: &str, topic: &str, group: &str) -> Result<Self, PublishError> {
        let mut config: ClientConfig = settings.admin(service);
        config.set("group.id", group).set("enable.auto.commit", "false");
        Ok(Self { client: Arc::new(config.create()?), topic: topic.into(), group: group.into() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where each partition ends now: what was acknowledged before this call lies below.
    pub async fn ends(&self) -> Result<Ends, PublishError> {
        self.ask(|client, topic, _| {
            let mut ends = BTreeMap::new();
            for partition in partitions(client, topic)? {
                let (first, end) = client.fetch_watermarks(topic, partition, ANSWER)?;
                ends.insert(partition, Partition { first, end });
            }
            Ok(Ends(ends))
        })
        .await
    }

    /// How many records below these ends the group has not committed yet; 0: it has passed them.
    pub async fn behind(&self, ends: &Ends) -> Result<u64, PublishError> {
        let ends = ends.clone();
        self.ask(move |client, topic, _| {
            let mut asked = TopicPartitionList::new();
            for partition in ends.0.keys() {
                asked.add_partition(topic, *partition);
            }
            let committed = client.committed_offsets(asked, ANSWER)?;
            let committed: BTreeMap<i32, i64> = committed
                .elements()
                .iter()
                .filter_map(|place| Some((place.partition(), place.offset().to_raw()?)))
                .collect();
            Ok(ends.0.iter().map(|(partition, ends)| ends.beyond(committed.get(partition).copied())).sum())
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

impl Partition {
    /// Records a group has not passed; one that never committed (negative, or none) begins with the first there is.
    fn beyond(self, committed: Option<i64>) -> u64 {
        let at = committed.unwrap_or(-1).max(self.first);
        u64::try_from(self.end - at).unwrap_or(0)
    }
}

fn partitions(client: &BaseConsumer, topic: &str) -> Result<Vec<i32>, PublishError> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER)?;
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
        assert_eq!(partition.beyond(Some(15)), 0);
        assert_eq!(partition.beyond(Some(12)), 3);
        assert_eq!(partition.beyond(Some(2)), 5, "retention deleted the records between");
        assert_eq!(partition.beyond(Some(-1001)), 5, "no offset is committed");
        assert_eq!(partition.beyond(None), 5);
        assert_eq!(partition.beyond(Some(99)), 0, "the topic was made anew");
        assert_eq!(Partition { first: 0, end: 0 }.beyond(None), 0);
    }
}
