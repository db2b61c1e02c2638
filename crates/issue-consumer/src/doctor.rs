//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::process::ExitCode;

use coupon_core::{
    diagnosis,
    kafka::Broker,
    repo::{Database, Rehearsal},
    runtime::doctor,
};

use crate::config::Config;

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let broker = Broker::new(&config.kafka.client(), "issue-consumer doctor")?;
    let database = Database::new(&config.database, "issue-consumer doctor")?.rehearsing(Rehearsal::Issues);
    let (topic, dlq_topic) = (&config.kafka.topic, &config.kafka.dlq_topic);
    let mut findings = diagnosis::database(&database).await;
    findings.extend(diagnosis::topic(&broker, topic, "kafka.topic", None).await);
    findings.extend(diagnosis::topic(&broker, dlq_topic, "kafka.dlq_topic", Some(topic)).await);
    Ok(doctor::print(findings))
}
