//! Topics of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use tokio::time::sleep;

/// What a dead letter topic needs beyond the defaults: room for a record of 1 MiB and the headers around it, for ever.
pub const DLQ_SETTINGS: &[(&str, &str)] = &[("max.message.bytes", "2097152"), ("retention.ms", "-1")];

/// Longest time the broker may take for one request.
const PATIENCE: Duration = Duration::from_secs(15);

/// Creates a topic and waits until each of its partitions has a leader.
pub async fn create(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
    let admin = admin(brokers)?;
    let topic = NewTopic {
        name,
        num_partitions: partitions,
        replication: TopicReplication::Fixed(1),
        config: settings.to_vec(),
    };
    let outcomes = admin.create_topics([&topic], &options()).await.context("Kafka of KAFKA_BROKERS does not answer")?;
    if let Some(Err((name, code))) = outcomes.into_iter().next() {
        bail!("the topic {name} is not created: {code}");
    }
    let began = Instant::now();
    while led(&admin, name)? < usize::try_from(partitions)? {
        if began.elapsed() > PATIENCE {
            bail!("the partitions of {name} have no leaders");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Deletes topics. Absent ones are no error.
pub async fn delete(brokers: &str, names: &[&str]) -> Result<()> {
    for outcome in admin(brokers)?.delete_topics(names, &options()).await? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => bail!("the topic {name} is not deleted: {code}"),
        }
    }
    Ok(())
}

/// Partitions that have a leader.
fn led(admin: &AdminClient<DefaultClientContext>, name: &str) -> Result<usize> {
    let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE)?;
    let topic = metadata.topics().first().context("the broker says nothing about the topic")?;
    Ok(topic.partitions().iter().filter(|partition| partition.leader() >= 0 && partition.error().is_none()).count())
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}
