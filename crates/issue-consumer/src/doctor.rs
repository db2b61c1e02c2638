//! The command `doctor`: checks the servers, and says how to put right what is wrong.

use std::process::ExitCode;

use coupon_core::{
    contract::Contract,
    kafka::Broker,
    repo::{Database, Rehearsal},
    runtime::doctor,
};

use crate::config::Config;

/// Checks Kafka and PostgreSQL, and prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let contract = Contract {
        broker: Broker::new(&config.kafka.client(), "issue-consumer doctor")?,
        topics: config.kafka.topics().into(),
        stock: None,
        database: Database::new(&config.database, "issue-consumer doctor")?.rehearsing(Rehearsal::Issues),
        needs: &[],
    };
    Ok(doctor::print(contract.findings().await.into_iter().map(Into::into)))
}
