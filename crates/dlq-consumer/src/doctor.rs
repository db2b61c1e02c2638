//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::process::ExitCode;

use coupon_core::{contract::Contract, kafka::Broker, repo::Database, runtime::doctor, stock::Stock};

use crate::{alarm, config::Config};

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let contract = Contract {
        broker: Broker::new(&config.kafka.client(), "dlq-consumer doctor")?,
        topics: config.kafka.topics().into(),
        stock: Some(Stock::new(&config.redis)?),
        database: Database::new(&config.database, "dlq-consumer doctor")?,
        needs: &[],
    };
    let servers = contract.findings().await.into_iter().map(Into::into);
    Ok(doctor::print(servers.chain([alarm::finding(&config.alarms)])))
}
