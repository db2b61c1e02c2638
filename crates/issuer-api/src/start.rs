//! What must hold before members may ask, and what is only watched. A dependency that is away is waited for.

use std::time::Duration;

use coupon_core::{
    kafka::Broker,
    repo::{Database, schema::Schema},
    runtime::{Condition, Health, Service, chain},
    startup::{self, Unfit, Wanted},
    stock::Stock,
};
use tokio::time::{sleep, timeout};

use crate::config::TopicSettings;

/// Between two looks at the sequences of the open campaigns.
const LEARN: Duration = Duration::from_secs(2);
/// How long PostgreSQL may take to tell its schema before the start goes on without.
const SCHEMA_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at a PostgreSQL that was away.
const SCHEMA_PAUSE: Duration = Duration::from_secs(5);

/// The condition that is there while the schema is too old.
const SCHEMA: &str = "postgresql schema";

/// What the start found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Members may ask.
    Ready {
        /// Whether PostgreSQL's schema has been seen to fit.
        schema_known: bool,
    },
    /// The stop began first.
    Stopped,
}

/// Waits for Redis and Kafka, and looks at PostgreSQL without waiting for it: accepting does not need it.
pub async fn check(
    stock: &Stock,
    kafka: (&Broker, &TopicSettings),
    database: &Database,
    service: &Service,
) -> anyhow::Result<Start> {
    // Registered before the first of them reports, so that none is overlooked by /readyz.
    let (redis_is, kafka_is) = (service.health.condition("redis"), service.health.condition("kafka"));
    let (broker, settings) = kafka;
    let wanted = Wanted { topic: &settings.topic, setting: "kafka.topic", min_partitions: settings.min_partitions };
    let topic = async { Ok(startup::topic(broker, wanted, &kafka_is, &service.shutdown).await?) };
    let redis = async { Ok(startup::redis(stock, &redis_is, &service.shutdown).await?) };
    let (is_redis, is_topic, schema_known) = tokio::try_join!(redis, topic, schema(database, service))?;
    Ok(if is_redis && is_topic { Start::Ready { schema_known } } else { Start::Stopped })
}

/// Whether the schema fits; `false` when PostgreSQL is away. One that is too old is waited for: a migration is on its way.
async fn schema(database: &Database, service: &Service) -> anyhow::Result<bool> {
    match timeout(SCHEMA_WITHIN, database.schema()).await {
        Ok(Ok(Schema::Fits { .. })) => Ok(true),
        Ok(Ok(_)) => Ok(startup::schema(database, &service.health.condition(SCHEMA), &service.shutdown).await?),
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
pub async fn schema_later(database: &Database, health: &Health) -> Option<Unfit> {
    let mut condition = None;
    loop {
        sleep(SCHEMA_PAUSE).await;
        match database.schema().await {
            Ok(Schema::Fits { .. }) => {
                if let Some(condition) = &condition {
                    Condition::ready(condition);
                }
                tracing::info!("postgresql is there, its schema fits");
                return None;
            }
            Ok(old @ Schema::TooOld { .. }) => {
                condition.get_or_insert_with(|| health.condition(SCHEMA)).unready(old.to_string());
            }
            Ok(new @ Schema::TooNew { .. }) => return Some(Unfit::Schema(new)),
            Err(_) => {}
        }
    }
}

/// Learns, for ever, how far each open campaign had got by its events, so that a process that has seen nothing itself
/// notices a Redis that went back in time. While PostgreSQL is away nothing is learnt, and nothing waits for it.
pub async fn learn_sequences(stock: Stock, database: Database) {
    loop {
        match database.high_sequences().await {
            Ok(sequences) => {
                for (code, epoch, seq) in sequences {
                    stock.seen.note(&code, epoch, seq);
                }
            }
            Err(error) => tracing::debug!(error = %chain(&error), "high sequences cannot be read now"),
        }
        sleep(LEARN).await;
    }
}
