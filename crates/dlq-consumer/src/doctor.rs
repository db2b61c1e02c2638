//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::process::ExitCode;

use coupon_core::{
    contract::{Contract, rights},
    kafka::{Broker, ConsumerProgress, Right},
    repo::{Database, Rehearsal},
    runtime::doctor::{self, Finding},
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
        findings.push(match progress.check_rights().await {
            Ok(behind) => Finding::ok(name, format!("{behind} records of {topic} before it")),
            Err(error) => {
                let (what, fix) = error.what_and_fix();
                let what = format!("reconcile and rebuild have to read {topic} and describe it and the group: {what}");
                Finding::fail(name, what, fix)
            }
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
    let kafka = &config.kafka;
    let wanted = [Right::Consume { topic: kafka.dlq_topic.clone(), group: kafka.group_id.clone() }];
    let kafka = consumers(config).await?.into_iter().chain(rights(&contract.broker, &wanted).await);
    let events = [config.events.finding()].into_iter();
    Ok(doctor::print(events.chain(servers).chain(kafka).chain([alarm::finding(&config.alarms)])))
}
