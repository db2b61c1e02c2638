//! What must hold before members may ask, and what is only watched: a process that reaches Redis accepts, whatever else is
//! away, so that a roll-out during an outage of Kafka takes nothing down.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use coupon_core::{
    ids::CouponCode,
    kafka::{Broker, Topic},
    repo::{Database, schema::Schema},
    runtime::{Condition, Health, Service, Shutdown, chain},
    startup::{self, StartupError},
    stock::Stock,
};
use tokio::time::{sleep, timeout};

use crate::{admission::Admission, auth::Verifier};

/// Interval between two questions for the sequences of the open campaigns.
const SEQUENCE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two checks of the topic.
const TOPIC_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait for the schema of PostgreSQL before the start goes on without.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for which campaigns require admission before the start goes on without.
const ADMISSIONS_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between two questions for the schema of a PostgreSQL that was away.
const SCHEMA_INTERVAL: Duration = Duration::from_secs(5);

/// Name of the condition that is unmet while the schema is too old.
const SCHEMA_CONDITION: &str = "postgresql schema";

/// How the start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Members may ask.
    Ready {
        /// Whether PostgreSQL's schema has been seen to fit.
        schema_known: bool,
    },
    /// The stop began first.
    Stopped,
}

/// Waits for Redis and for a key, and looks at PostgreSQL without waiting for it: accepting needs neither it nor Kafka.
/// Where it is there, it is known which campaigns require admission before members may ask.
pub async fn check(
    stock: &Stock,
    database: &Database,
    verifier: &Verifier,
    admission: &Admission,
    service: &Service,
) -> anyhow::Result<Startup> {
    let condition = service.health.condition("redis");
    let redis = async { Ok(startup::redis(stock, &condition, &service.shutdown).await?) };
    let (is_redis, schema_known) = tokio::try_join!(redis, schema(database, service))?;
    verifier.first_key().await;
    if schema_known && timeout(ADMISSIONS_TIMEOUT, admission.read()).await.is_err() {
        tracing::warn!("postgresql does not answer, which campaigns require admission is not known yet");
    }
    // A migration, or the issuer, may have been waited for: what counts is the Redis of now.
    let is_redis = is_redis && startup::redis(stock, &condition, &service.shutdown).await?;
    Ok(if is_redis { Startup::Ready { schema_known } } else { Startup::Stopped })
}

/// Sets the condition by whether the topic meets its requirements, until the stop begins. While it does not, reservations wait
/// in the outbox, and are answered as reserved.
pub async fn watch_topic(broker: Broker, wanted: Topic, condition: Condition, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        if let Err(unfit) = startup::topic(&broker, &wanted, &condition, &shutdown).await {
            condition.unready(unfit.to_string());
        }
        tokio::select! {
            () = shutdown.stopping() => {}
            () = sleep(TOPIC_INTERVAL) => {}
        }
    }
}

/// Whether the schema fits; `false` when PostgreSQL is away. One that is too old is waited for: a migration is on its way.
async fn schema(database: &Database, service: &Service) -> anyhow::Result<bool> {
    match timeout(SCHEMA_TIMEOUT, database.schema()).await {
        Ok(Ok(Schema::Fits { .. })) => Ok(true),
        Ok(Ok(_)) => {
            Ok(startup::schema(database, &service.health.condition(SCHEMA_CONDITION), &service.shutdown).await?)
        }
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "postgresql is away, accepting goes on without it");
            Ok(false)
        }
        Err(_) => {
            tracing::warn!("postgresql does not answer, accepting goes on without it");
            Ok(false)
        }
    }
}

/// Waits until PostgreSQL is there with a schema that fits, and gives the reason to stop if it admits newer builds only.
/// While it is too old, the process is not ready.
pub async fn schema_later(database: &Database, health: &Health) -> Option<StartupError> {
    let mut condition = None;
    loop {
        sleep(SCHEMA_INTERVAL).await;
        match database.schema().await {
            Ok(Schema::Fits { .. }) => {
                if let Some(condition) = &condition {
                    Condition::ready(condition);
                }
                tracing::info!("postgresql is there, its schema fits");
                return None;
            }
            Ok(old @ Schema::TooOld { .. }) => {
                condition.get_or_insert_with(|| health.condition(SCHEMA_CONDITION)).unready(old.to_string());
            }
            Ok(unfit @ (Schema::TooNew { .. } | Schema::Edited { .. })) => return Some(StartupError::Schema(unfit)),
            Err(_) => {}
        }
    }
}

/// Learns, for ever, how far each open campaign had got by its events, so that a process that has seen nothing itself
/// notices a Redis that went back in time. While PostgreSQL is away nothing is learnt, and nothing waits for it.
pub async fn learn_sequences(stock: Stock, database: Database) {
    // Claims that were verified before, so that one that is not believed is not verified again and again.
    let mut verified = HashMap::new();
    loop {
        match database.coupons().high_sequences().await {
            Ok(sequences) => {
                register_again(&stock, sequences.iter().map(|(code, ..)| code)).await;
                for (code, epoch, claimed) in sequences {
                    if stock.seen.of(&code) < (epoch, claimed) && verified.get(&code) != Some(&(epoch, claimed)) {
                        // Redis or PostgreSQL is away: the next pass comes back here.
                        let Some((seq, is_vouched)) = vouched(&stock, &database, &code, epoch, claimed).await else {
                            continue;
                        };
                        stock.seen.note(&code, epoch, seq);
                        if is_vouched && seq < claimed {
                            verified.insert(code, (epoch, claimed));
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(error = %chain(&error), "high sequences cannot be read now"),
        }
        sleep(SEQUENCE_INTERVAL).await;
    }
}

/// Registers open campaigns again that Redis has data of and does not list: no relay would publish from their outboxes. While
/// Redis is away nothing is done; the next pass comes back here.
async fn register_again(stock: &Stock, open: impl Iterator<Item = &CouponCode>) {
    let Ok(known) = stock.coupons().await else { return };
    let known: HashSet<CouponCode> = known.into_iter().collect();
    for code in open.filter(|code| !known.contains(code)) {
        if stock.has_data(code).await.is_ok_and(|has| has) && stock.register(code).await.is_ok() {
            tracing::warn!(coupon = %code, "redis has lost the list of its campaigns; {code} is known to the relays again");
        }
    }
}

/// The sequence of what events claimed that Redis can have given, and whether its data was there to say so; 0 when it has
/// no data of this epoch, which says enough until it comes back. `None` when it is not known now.
async fn vouched(
    stock: &Stock,
    database: &Database,
    code: &CouponCode,
    epoch: i64,
    claimed: i64,
) -> Option<(i64, bool)> {
    match stock.view(code).await.ok()? {
        Some(view) if view.epoch == epoch && view.seq >= claimed => Some((claimed, true)),
        Some(view) if view.epoch == epoch => {
            Some((database.reconciliations().vouched_seq(code, view.seq).await.ok()?, true))
        }
        _ => Some((0, false)),
    }
}
