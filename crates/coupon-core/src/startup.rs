//! What a service waits for before it works: what can come is waited for, what cannot is an error that says what to do.

use std::time::Duration;

use crate::{
    kafka::{Broker, PublishError},
    repo::{Database, RepoError, schema::Schema},
    retry::Backoff,
    runtime::{Condition, Shutdown, chain},
    stock::{ServerFinding, Stock, StockError},
};

/// A broker that has only just started may not know its topics yet, so it is believed only when it says so repeatedly.
const MISSES: u32 = 3;
const BETWEEN_MISSES: Duration = Duration::from_millis(500);

/// A reason not to start that waiting does not mend.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A topic is missing.
    #[error("topic `{0}` does not exist on the brokers: create it, or set {1} to one that does")]
    NoTopic(String, &'static str),
    /// The schema is too old or too new.
    #[error("{0}")]
    Schema(Schema),
    /// Redis would evict reservations.
    #[error("redis evicts keys under memory pressure (maxmemory-policy {0}): set maxmemory-policy noeviction")]
    Evicts(String),
}

/// Waits until the brokers answer; the topic must then exist. `Ok(false)` when the shutdown began first. `setting`
/// names the key that says which topic.
pub async fn topic(
    broker: &Broker,
    topic: &str,
    setting: &'static str,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Result<bool, Unfit> {
    let ask = async || broker.partitions(topic).await;
    for _ in 0..MISSES {
        match until_answered("kafka", ask, condition, shutdown).await {
            None => return Ok(false),
            Some(None) => tokio::time::sleep(BETWEEN_MISSES).await,
            Some(Some(_)) => {
                condition.ready();
                return Ok(true);
            }
        }
    }
    Err(Unfit::NoTopic(topic.to_owned(), setting))
}

/// Waits until PostgreSQL answers; the schema must then fit. `Ok(false)` when the shutdown began first.
pub async fn schema(database: &Database, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    match until_answered("postgresql", async || database.schema().await, condition, shutdown).await {
        None => Ok(false),
        Some(Schema::Fits { .. }) => {
            condition.ready();
            Ok(true)
        }
        Some(unfit) => Err(Unfit::Schema(unfit)),
    }
}

/// Waits until Redis answers; it must then keep what it is given. `Ok(false)` when the shutdown began first.
pub async fn redis(stock: &Stock, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    let Some(findings) = until_answered("redis", async || stock.server_findings().await, condition, shutdown).await
    else {
        return Ok(false);
    };
    for finding in findings {
        match finding {
            ServerFinding::Evicts(policy) => return Err(Unfit::Evicts(policy)),
            ServerFinding::NotAppendOnly => {
                tracing::warn!(
                    "redis keeps no append-only file: a restart of redis loses reservations; set appendonly yes"
                );
            }
        }
    }
    condition.ready();
    Ok(true)
}

/// Asks again and again, with back-off, and says why not yet: once in the log, and all the time in `/readyz`.
async fn until_answered<T, E: Unreached>(
    name: &str,
    ask: impl AsyncFn() -> Result<T, E>,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Option<T> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
    let mut told = false;
    loop {
        let answer = tokio::select! {
            () = shutdown.stopping() => return None,
            answer = ask() => answer,
        };
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => chain(&error).to_string(),
        };
        condition.unready(format!("waiting for {name}: {error}"));
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("waiting for {name}: {error}");
        }
        tokio::select! {
            () = shutdown.stopping() => return None,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

/// Errors that may go away by waiting.
trait Unreached: std::error::Error + 'static {}
impl Unreached for PublishError {}
impl Unreached for RepoError {}
impl Unreached for StockError {}
