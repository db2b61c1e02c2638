//! What a service waits for before it works. What can come is waited for, and named in one log line and in `/readyz`: a
//! server, a topic, a migration. What cannot is an error that says what to do.

use std::time::Duration;

use crate::{
    kafka::Broker,
    repo::{Database, schema::Schema},
    retry::Backoff,
    runtime::{Condition, Shutdown, chain},
    stock::{ServerFinding, Stock},
};

/// Between two probes of Redis.
const PROBED_EVERY: Duration = Duration::from_secs(1);

/// A reason not to start that waiting does not mend.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The schema is not for this build.
    #[error("{0}")]
    Schema(Schema),
    /// Redis would evict reservations.
    #[error("redis evicts keys under memory pressure (maxmemory-policy {0}): set maxmemory-policy noeviction")]
    Evicts(String),
}

/// A topic as a service needs it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub topic: &'a str,
    /// The setting that names it.
    pub setting: &'static str,
    /// Least number of partitions (`kafka.min_partitions`).
    pub min_partitions: usize,
}

/// What a look at something says.
enum Look {
    There,
    NotYet(String),
    Never(Unfit),
}

impl Look {
    fn away(server: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::NotYet(format!("waiting for {server}: {}", chain(error)))
    }
}

/// Waits until the brokers have the topic, with enough partitions and a retention that outlives an outage. `Ok(false)`
/// when the shutdown began first.
pub async fn topic(
    broker: &Broker,
    wanted: Wanted<'_>,
    condition: &Condition,
    shutdown: &Shutdown,
) -> Result<bool, Unfit> {
    let Wanted { topic, setting, min_partitions } = wanted;
    let look = async || {
        let partitions = match broker.partitions(topic).await {
            Err(error) => return Look::away("kafka", &error),
            Ok(None) => {
                return Look::NotYet(format!(
                    "topic `{topic}` does not exist on the brokers: create it, or set {setting} to one that does"
                ));
            }
            Ok(Some(partitions)) => partitions,
        };
        if partitions < min_partitions {
            return Look::NotYet(format!(
                "topic `{topic}` has {partitions} partitions and kafka.min_partitions asks for {min_partitions}: add \
                 partitions, or lower the setting"
            ));
        }
        match broker.short_retention(topic).await {
            Ok(None) => Look::There,
            Ok(Some(finding)) => Look::NotYet(format!("{}: {}", finding.what, finding.fix)),
            Err(error) => {
                // Not every client may describe topics; `doctor` says so too.
                tracing::warn!("the retention of topic `{topic}` cannot be looked at: {}", chain(&error));
                Look::There
            }
        }
    };
    until(look, condition, shutdown).await
}

/// Waits until PostgreSQL has a schema that is new enough; one that admits only newer builds is an error. `Ok(false)` when
/// the shutdown began first.
pub async fn schema(database: &Database, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    let look = async || match database.schema().await {
        Err(error) => Look::away("postgresql", &error),
        Ok(Schema::Fits { .. }) => Look::There,
        Ok(old @ Schema::TooOld { .. }) => Look::NotYet(old.to_string()),
        Ok(new @ Schema::TooNew { .. }) => Look::Never(Unfit::Schema(new)),
    };
    until(look, condition, shutdown).await
}

/// Waits until Redis answers; it must then keep what it is given. `Ok(false)` when the shutdown began first.
pub async fn redis(stock: &Stock, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    let look = async || {
        let findings = match stock.server_findings().await {
            Err(error) => return Look::away("redis", &error),
            Ok(findings) => findings,
        };
        for finding in findings {
            match finding {
                ServerFinding::Evicts(policy) => return Look::Never(Unfit::Evicts(policy)),
                ServerFinding::NotAppendOnly => {
                    tracing::warn!(
                        "redis keeps no append-only file: a restart of redis loses reservations; set appendonly yes"
                    );
                }
            }
        }
        match stock.probe().await {
            Err(error) => Look::away("redis", &error),
            Ok(()) => Look::There,
        }
    };
    until(look, condition, shutdown).await
}

/// Keeps the condition true to whether Redis takes writes, for ever.
pub async fn watch_redis(stock: Stock, condition: Condition) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(PROBED_EVERY).await;
        if let Err(error) = stock.probe().await {
            is_away = true;
            condition.unready(chain(&error).to_string());
        } else if is_away {
            // It may have come back as another server, or with another configuration.
            match stock.server_findings().await {
                Ok(findings) if findings.iter().any(|finding| matches!(finding, ServerFinding::Evicts(_))) => {
                    condition.unready("redis evicts keys under memory pressure: set maxmemory-policy noeviction");
                }
                Ok(_) => {
                    is_away = false;
                    condition.ready();
                }
                Err(error) => condition.unready(chain(&error).to_string()),
            }
        }
    }
}

/// Looks again and again, with back-off, and says why not yet: each reason once in the log, and all the time in
/// `/readyz`. `Ok(false)` when the shutdown began first.
async fn until(look: impl AsyncFn() -> Look, condition: &Condition, shutdown: &Shutdown) -> Result<bool, Unfit> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
    let mut told = String::new();
    loop {
        let found = tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            found = look() => found,
        };
        match found {
            Look::There => {
                condition.ready();
                return Ok(true);
            }
            Look::Never(unfit) => return Err(unfit),
            Look::NotYet(why) => {
                condition.unready(why.clone());
                if told != why {
                    tracing::warn!("{why}");
                    told = why;
                }
            }
        }
        tokio::select! {
            () = shutdown.stopping() => return Ok(false),
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}
