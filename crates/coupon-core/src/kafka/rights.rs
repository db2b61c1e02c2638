//! The rights of a service at Kafka, tried without a trace: nothing is published, committed or joined.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    types::RDKafkaErrorCode as Code,
};

use super::{Broker, PublishError, Publisher, asking::Asking};

/// A partition that no topic has.
const NO_PARTITION: i32 = i32::MAX - 1;
/// Larger records are not made only to be refused.
const MAX_TRIAL_BYTES: usize = 16 * 1024 * 1024;
/// How long a commit may take; the client itself would wait for ever.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);

/// What a service does at Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// Publishes to a topic.
    Publish {
        /// The topic.
        topic: String,
    },
    /// Consumes a topic in a group, and commits.
    Consume {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
    },
}

impl Broker {
    /// Tries whether this client has a right; `false` when it cannot be tried.
    pub async fn try_right(&self, right: &Right) -> Result<bool, PublishError> {
        match right {
            Right::Publish { topic } => self.try_publish(topic).await,
            Right::Consume { topic, group } => self.try_consume(topic, group).await.map(|()| true),
        }
    }

    async fn try_publish(&self, topic: &str) -> Result<bool, PublishError> {
        let config = self.config(topic).await?.unwrap_or_default();
        let max_bytes = config.get("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        let Some(max_bytes) = max_bytes.filter(|bytes| *bytes <= MAX_TRIAL_BYTES) else { return Ok(false) };
        Publisher::may_publish(&self.settings, &self.service, topic, max_bytes).await.map(|()| true)
    }

    /// Commits an offset of a partition that does not exist: brokers look at the rights on group and topic first.
    async fn try_consume(&self, topic: &str, group: &str) -> Result<(), PublishError> {
        let mut config = self.settings.admin(&self.service)?;
        config.set("group.id", group).set("enable.auto.commit", "false");
        let asking = Asking::new(&self.settings, config)?;
        let mut places = TopicPartitionList::new();
        places.add_partition(topic, 0);
        // A missing right on the group is told by this question; a commit would wait for it to be given.
        asking.committed(places, group).await?;
        let name = topic.to_owned();
        let committed = asking.ask(move |client, _| {
            let mut places = TopicPartitionList::new();
            places.add_partition_offset(&name, NO_PARTITION, Offset::Offset(0))?;
            match client.commit(&places, CommitMode::Sync) {
                Err(error)
                    if matches!(
                        error.rdkafka_error_code(),
                        Some(Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopic)
                    ) =>
                {
                    Ok(())
                }
                committed => committed,
            }
        });
        tokio::time::timeout(COMMIT_TIMEOUT, committed).await.map_err(|_| PublishError::Closed)?
    }
}
