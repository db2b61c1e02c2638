//! Creates and deletes topics.

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
    topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem},
};

use super::TIMEOUT;
use crate::wait::eventually;

/// Creates a topic and waits until each of its partitions has a leader.
pub async fn create_topic(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
    let admin = client(brokers)?;
    let topic = NewTopic {
        name,
        num_partitions: partitions,
        // As many as the brokers give by themselves.
        replication: TopicReplication::Fixed(-1),
        config: settings.to_vec(),
    };
    let outcome = admin.create_topics([&topic], &options()).await?;
    if let Some(Err((name, code))) = outcome.into_iter().next() {
        bail!("{name} is not created: {code}");
    }
    eventually(&format!("{name} has leaders"), TIMEOUT, async || leaders(&admin, name, partitions)).await
}

/// Sets settings of a topic; all others go back to the defaults of the broker.
pub async fn configure_topic(brokers: &str, name: &str, settings: &[(&str, &str)]) -> Result<()> {
    let mut config = AlterConfig::new(ResourceSpecifier::Topic(name));
    for (setting, value) in settings {
        config = config.set(setting, value);
    }
    for outcome in client(brokers)?.alter_configs([&config], &options()).await? {
        outcome.map_err(|(_, code)| anyhow!("{name} is not configured: {code}"))?;
    }
    Ok(())
}

/// Gives a topic so many partitions in all and waits until each of them has a leader.
pub async fn add_partitions(brokers: &str, name: &str, partitions: i32) -> Result<()> {
    let admin = client(brokers)?;
    let new = NewPartitions::new(name, usize::try_from(partitions)?);
    for outcome in admin.create_partitions([&new], &options()).await? {
        outcome.map_err(|(name, code)| anyhow!("{name} gets no partitions: {code}"))?;
    }
    eventually(&format!("{name} has leaders"), TIMEOUT, async || leaders(&admin, name, partitions)).await
}

/// Deletes topics and waits until the broker no longer knows them. An absent topic is no error.
pub async fn delete_topics(brokers: &str, names: &[&str]) -> Result<()> {
    let admin = client(brokers)?;
    for outcome in admin.delete_topics(names, &options()).await? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => bail!("{name} is not deleted: {code}"),
        }
    }
    eventually("the topics are gone", TIMEOUT, async || -> Result<bool> {
        let left = topics(&admin)?;
        Ok(!names.iter().any(|name| left.iter().any(|topic| topic == name)))
    })
    .await
}

/// Deletes the records of a topic, as `kafka-delete-records.sh` does; offsets go on from where they were.
pub async fn delete_records(brokers: &str, name: &str, ends: &[(i32, i64)]) -> Result<()> {
    let mut places = TopicPartitionList::new();
    for (partition, end) in ends {
        places.add_partition_offset(name, *partition, Offset::Offset(*end))?;
    }
    let deleted = client(brokers)?.delete_records(&places, &options()).await?;
    deleted.elements().iter().try_for_each(TopicPartitionListElem::error).context("records are not deleted")
}

/// Deletes every topic whose name begins with this prefix and a dot.
pub async fn delete_topics_of(brokers: &str, prefix: &str) -> Result<()> {
    let prefix = format!("{prefix}.");
    let all = topics(&client(brokers)?)?;
    let names: Vec<&str> = all.iter().map(String::as_str).filter(|name| name.starts_with(&prefix)).collect();
    if names.is_empty() { Ok(()) } else { delete_topics(brokers, &names).await }
}

fn topics(admin: &AdminClient<DefaultClientContext>) -> Result<Vec<String>> {
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

fn leaders(admin: &AdminClient<DefaultClientContext>, name: &str, partitions: i32) -> Result<bool> {
    let metadata = admin.inner().fetch_metadata(Some(name), TIMEOUT)?;
    let topic = metadata.topics().first().context("the broker says nothing")?;
    let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0 && partition.error().is_none());
    Ok(i32::try_from(led.count())? == partitions)
}

fn client(brokers: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
