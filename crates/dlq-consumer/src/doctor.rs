//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::process::ExitCode;

use coupon_core::{
    diagnosis,
    kafka::Broker,
    repo::{Database, Rehearsal},
    runtime::doctor,
    stock::Stock,
};

use crate::{alarm, config::Config};

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let broker = Broker::new(&config.kafka.client(), "dlq-consumer doctor")?;
    let database = Database::new(&config.database, "dlq-consumer doctor")?.rehearsing(Rehearsal::Decisions);
    let mut findings = diagnosis::database(&database).await;
    findings.extend(diagnosis::redis(&Stock::new(&config.redis)?).await);
    findings.extend(diagnosis::topic(&broker, &config.kafka.dlq_topic, "kafka.dlq_topic", None).await);
    findings.push(alarm::finding(&config.alarms));
    Ok(doctor::print(findings))
}
