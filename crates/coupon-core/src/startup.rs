//! What a service waits for before it works. What can come is waited for, and named in one log line and in `/readyz`: a
//! server, a topic, a migration. What cannot is an error that says what to do.

use std::time::Duration;

use crate::{
    contract::{self, Breach, ContractFinding, State},
    kafka::{Broker, Topic},
    repo::{Database, schema::Schema},
    retry::Backoff,
    runtime::{Condition, Shutdown, chain},
    stock::Stock,
};

/// Between two probes of Redis.
const PROBED_EVERY: Duration = Duration::from_secs(1);

/// A reason not to start that waiting does not mend.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The schema is not for this build.
    #[error("{0}")]
    Schema(Schema),
    /// A server that would lose what it is given, or cannot be used.
    #[error("{0}")]
    Server(String),
}

/// Waits until the brokers have the topic, with enough partitions. `Ok(false)` when the shutdown began first.
///
/// A setting that may lose records is no reason to wait: only reading saves what is there. The contract's watch says it.
pub async fn topic(broker: &Broker, wanted: &Topic, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    let ask = || async {
        let mut findings = contract::topic(broker, wanted).await;
        findings.retain(|finding| !matches!(finding.state, State::Departs(_)));
        findings
    };
    until(ask, condition, shutdown).await
}

/// Waits until PostgreSQL has a schema that is new enough and takes writes; a schema that admits only newer builds is an
/// error. `Ok(false)` when the shutdown began first.
pub async fn schema(database: &Database, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    until(|| contract::database(database), condition, shutdown).await
}

/// Waits until Redis answers as a master; one that would lose reservations or is a cluster is an error. `Ok(false)` when
/// the shutdown began first.
pub async fn redis(stock: &Stock, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    until(|| contract::redis(stock), condition, shutdown).await
}

/// Keeps the condition true to whether Redis takes writes, for ever. One that is full still answers holders and gives up
/// what waits in its outboxes, so it is used; the watch of the contract says it.
pub async fn watch_redis(stock: Stock, condition: Condition) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(PROBED_EVERY).await;
        let probed = stock.probe().await;
        if let Err(error) = probed
            && !error.is_full()
        {
            is_away = true;
            condition.unready(chain(&error).to_string());
        } else if is_away {
            // It may have come back as another server, or with another configuration.
            let findings = contract::redis(&stock).await;
            let broken = findings.iter().find(|finding| match &finding.state {
                State::Fine(_) => false,
                State::Departs(departure) | State::Away(departure) => departure.breach >= Breach::Breaks,
            });
            if let Some(broken) = broken {
                condition.unready(broken.to_string());
            } else {
                is_away = false;
                condition.ready();
            }
        }
    }
}

/// Asks again and again, with back-off, and says why not yet: each reason once in the log, and all the time in
/// `/readyz`. `Ok(false)` when the shutdown began first.
async fn until<F: Future<Output = Vec<ContractFinding>>>(
    ask: impl Fn() -> F,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Result<bool, Unfit> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
    let mut told = String::new();
    loop {
        let findings = tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            findings = ask() => findings,
        };
        let breach = |finding: &&ContractFinding| match &finding.state {
            State::Fine(_) => None,
            State::Departs(departure) | State::Away(departure) => Some(departure.breach),
        };
        if let Some(never) = findings.iter().find(|finding| breach(finding) == Some(Breach::Ends)) {
            return Err(Unfit::Server(never.to_string()));
        }
        let not_yet = findings.iter().find(|finding| breach(finding) == Some(Breach::Breaks));
        let Some(not_yet) = not_yet else {
            condition.ready();
            return Ok(true);
        };
        let why = not_yet.to_string();
        condition.unready(why.clone());
        if told != why {
            tracing::warn!("{why}");
            told = why;
        }
        tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}
