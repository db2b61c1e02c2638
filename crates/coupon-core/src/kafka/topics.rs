//! What the brokers hold, and whether they keep the contract the pipeline stands on.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};

use super::{KafkaSettings, PublishError};

/// How long the brokers may take to answer a question about themselves.
const ANSWER: Duration = Duration::from_secs(10);
/// Records must outlive the longest outage of a consumer that is to be survived.
const LEAST_RETENTION_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// Room for the headers of a dead letter.
const HEADER_ROOM: i64 = 64 * 1024;

/// Asks the brokers about topics.
#[derive(Clone)]
pub struct Broker {
    client: Arc<AdminClient<DefaultClientContext>>,
}

/// Something about a topic that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFinding {
    /// What is so.
    pub what: String,
    /// How to put it right.
    pub fix: String,
}

impl Broker {
    /// Makes the client; it connects in the background.
    pub fn new(settings: &KafkaSettings, service: &str) -> Result<Self, PublishError> {
        Ok(Self { client: Arc::new(settings.admin(service).create()?) })
    }

    /// How many partitions a topic has; `None` when there is no such topic.
    pub async fn partitions(&self, topic: &str) -> Result<Option<usize>, PublishError> {
        let (client, topic) = (Arc::clone(&self.client), topic.to_owned());
        let ask = move || {
            let metadata = client.inner().fetch_metadata(Some(&topic), ANSWER)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            Ok(found.map(|found| found.partitions().len()).filter(|partitions| *partitions > 0))
        };
        tokio::task::spawn_blocking(ask).await.map_err(|_| PublishError::Closed)?
    }

    /// Where a topic's set-up breaks the contract; `dead_letters` names the topic whose records must fit with their
    /// headers into this one.
    pub async fn findings(&self, topic: &str, fed_by: Option<&str>) -> Result<Vec<TopicFinding>, PublishError> {
        let mut findings = Vec::new();
        let mut finding = |what: String, fix: &str| findings.push(TopicFinding { what, fix: fix.to_owned() });
        let config = self.config(topic).await?;
        let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        let (client, name) = (Arc::clone(&self.client), topic.to_owned());
        let replicas = tokio::task::spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(Some(&name), ANSWER)?;
            let topic = metadata.topics().iter().find(|found| found.name() == name);
            let replicas = topic.and_then(|topic| topic.partitions().iter().map(|p| p.replicas().len()).min());
            Ok::<_, PublishError>((replicas.unwrap_or(0), metadata.brokers().len()))
        });
        let (replicas, brokers) = replicas.await.map_err(|_| PublishError::Closed)??;
        if replicas < 3.min(brokers) {
            finding(
                format!("{topic} has {replicas} replicas on {brokers} brokers"),
                "raise its replication factor to 3",
            );
        }
        if brokers >= 3 && number("min.insync.replicas").is_some_and(|least| least < 2) {
            finding(format!("{topic} acknowledges with one replica in sync"), "set min.insync.replicas=2");
        }
        if config.get("unclean.leader.election.enable").is_some_and(|value| value == "true") {
            finding(format!("{topic} may lose acknowledged records"), "set unclean.leader.election.enable=false");
        }
        if let Some(short) = too_short(topic, number("retention.ms")) {
            finding(short.what, &short.fix);
        }
        if let Some(source) = fed_by {
            // A dead letter keeps the time of its event, and retention goes by that time: what is handed over late would
            // be deleted at once.
            if number("retention.ms").is_some_and(|ms| ms >= 0) {
                finding(
                    format!("{topic} deletes dead letters by the time of their events"),
                    "set its retention.ms to -1; decided dead letters are kept in PostgreSQL",
                );
            }
            let fed = self.config(source).await?.get("max.message.bytes").and_then(|value| value.parse::<i64>().ok());
            if let (Some(fed), Some(own)) = (fed, number("max.message.bytes"))
                && own < fed + HEADER_ROOM
            {
                finding(
                    format!("{topic} takes records up to {own} bytes, {source} up to {fed}"),
                    "raise its max.message.bytes to that of the source and 64 KiB more, so that every record fits with its headers",
                );
            }
        }
        Ok(findings)
    }

    /// What is wrong with how long a topic keeps its records, if anything is.
    pub async fn short_retention(&self, topic: &str) -> Result<Option<TopicFinding>, PublishError> {
        let retention = self.config(topic).await?.get("retention.ms").and_then(|value| value.parse().ok());
        Ok(too_short(topic, retention))
    }

    async fn config(&self, topic: &str) -> Result<std::collections::HashMap<String, String>, PublishError> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let answers = self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
        let resource = answers.into_iter().next().ok_or(PublishError::Closed)?;
        let resource = resource.map_err(|code| PublishError::Kafka(rdkafka::error::KafkaError::AdminOp(code)))?;
        let entries = resource.entries.into_iter();
        Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }
}

/// A negative retention is none.
fn too_short(topic: &str, retention_ms: Option<i64>) -> Option<TopicFinding> {
    retention_ms.filter(|ms| (0..LEAST_RETENTION_MS).contains(ms)).map(|_| TopicFinding {
        what: format!("{topic} keeps records for less than 3 days"),
        fix: "raise retention.ms, or set it to -1".to_owned(),
    })
}
