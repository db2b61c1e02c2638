//! The startup requirements of a service. One that can still be met is waited for, and named in one log line and in
//! `/readyz`: a server, a topic, a migration. One that cannot be met is an error that says what to do.

use std::time::Duration;

use crate::{
    contract::{self, Breach, ContractFinding, State},
    kafka::{Broker, Topic},
    repo::{Database, schema::Schema},
    retry::Backoff,
    runtime::{Condition, Shutdown, chain},
    stock::Stock,
};

/// Time between two probes of Redis.
const REDIS_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A startup requirement that waiting cannot meet; the process ends.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The schema is not for this build.
    #[error("{0}")]
    Schema(Schema),
    /// A server would lose data, or cannot be used.
    #[error("{0}")]
    Server(String),
}

/// Waits until the brokers have the topic, with enough partitions. `Ok(false)` when the shutdown began first.
///
/// A setting that may lose records is no reason to wait: only reading saves what is there. The watch of the contract
/// names it.
pub async fn topic(
    broker: &Broker,
    required: &Topic,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Result<bool, StartupError> {
    let ask = || async {
        let mut findings = contract::topic(broker, required).await;
        findings.retain(|finding| !matches!(finding.state, State::Departs(_)));
        findings
    };
    until(ask, condition, shutdown).await
}

/// What of these findings has to be waited for, in words; `None`: nothing.
pub fn missing(findings: &[ContractFinding]) -> Option<String> {
    let not_yet = findings.iter().find(|finding| matches!(finding.state, State::Away(_)));
    not_yet.map(ToString::to_string)
}

/// Waits until PostgreSQL has a schema that is new enough and takes writes; a schema that admits only newer builds is an
/// error. `Ok(false)` when the shutdown began first.
pub async fn schema(database: &Database, condition: &Condition, shutdown: &Shutdown) -> Result<bool, StartupError> {
    until(|| contract::database(database), condition, shutdown).await
}

/// Waits until Redis answers as a master; one that would lose reservations or is a cluster is an error. `Ok(false)` when
/// the shutdown began first.
pub async fn redis(stock: &Stock, condition: &Condition, shutdown: &Shutdown) -> Result<bool, StartupError> {
    until(|| contract::redis(stock), condition, shutdown).await
}

/// Probes Redis until it is dropped, and sets the condition to whether Redis takes writes. A full Redis still answers
/// holders and lets its outboxes be published, so the condition stays met; the watch of the contract names it.
pub async fn watch_redis(stock: Stock, condition: Condition) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(REDIS_PROBE_INTERVAL).await;
        let probed = stock.probe_any().await;
        if let Err(error) = probed
            && !error.is_full()
        {
            is_away = true;
            condition.unready(format!("{}; {}", chain(&error), error.advice()));
        } else if is_away {
            // It may have come back as another server, or with another configuration.
            let findings = contract::redis(&stock).await;
            if let Some(broken) = findings.iter().find(|finding| finding.breach() >= Some(Breach::Breaks)) {
                condition.unready(broken.to_string());
            } else {
                is_away = false;
                condition.ready();
            }
        }
    }
}

/// Checks with back-off until nothing found breaks the contract. The reason to wait is logged when it changes, and stands
/// in `/readyz`. `Ok(false)` when the shutdown began first.
async fn until<F: Future<Output = Vec<ContractFinding>>>(
    ask: impl Fn() -> F,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Result<bool, StartupError> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
    let mut logged = String::new();
    loop {
        let findings = tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            findings = ask() => findings,
        };
        if let Some(never) = findings.iter().find(|finding| finding.breach() == Some(Breach::Ends)) {
            return Err(StartupError::Server(never.to_string()));
        }
        let Some(not_yet) = findings.iter().find(|finding| finding.breach() == Some(Breach::Breaks)) else {
            condition.ready();
            return Ok(true);
        };
        let why = not_yet.to_string();
        condition.unready(why.clone());
        if logged != why {
            tracing::warn!("{why}");
            logged = why;
        }
        tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}
