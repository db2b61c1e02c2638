//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::process::ExitCode;

use coupon_core::{
    contract::Contract,
    kafka::{Broker, ConsumerProgress},
    repo::{Database, Rehearsal},
    runtime::{
        chain,
        doctor::{self, Finding},
    },
    stock::Stock,
};

use crate::{alarm, config::Config};

/// What `reconcile` and `rebuild` stand on: both topics, and how far both groups have come in them.
async fn consumers(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let (client, kafka) = (config.kafka.client(), &config.kafka);
    let mut findings = Vec::new();
    for (topic, group) in [(&kafka.topic, &kafka.issue_group_id), (&kafka.dlq_topic, &kafka.group_id)] {
        let progress = ConsumerProgress::new(&client, "dlq-consumer doctor", topic, group)?;
        let name = format!("kafka group {group}");
        let seen = async { progress.lag(&progress.end_offsets().await?).await };
        findings.push(match seen.await {
            Ok(behind) => Finding::ok(name, format!("{behind} records of {topic} before it")),
            Err(error) => Finding::fail(
                name,
                chain(&error).to_string(),
                format!("allow this client to describe {topic} and the group: reconcile and rebuild need both"),
            ),
        });
    }
    Ok(findings)
}

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let contract = Contract {
        broker: Broker::new(&config.kafka.client(), "dlq-consumer doctor")?,
        topics: config.kafka.topics().into(),
        stock: Some(Stock::new(&config.redis)?),
        database: Database::new(&config.database, "dlq-consumer doctor")?.rehearsing(Rehearsal::Decisions),
        needs: &[],
    };
    let servers = contract.findings().await.into_iter().map(Into::into);
    Ok(doctor::print(
        [config.events.finding()]
            .into_iter()
            .chain(servers)
            .chain(consumers(config).await?)
            .chain([alarm::finding(&config.alarms)]),
    ))
}
