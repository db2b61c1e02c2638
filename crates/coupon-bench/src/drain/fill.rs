//! Putting events into the topic, and the coupons they are of into PostgreSQL.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until};

use super::load::Load;
use crate::{measure::spread::as_f64, progress};

/// Records that are queued at once.
const RECORDS_AT_ONCE: usize = 20_000;

/// Opens the coupons of these events, each with units enough. Returns their keys in the order of their numbers.
pub async fn coupons(database: &PgPool, load: &Load) -> Result<Vec<i64>> {
    let codes: Vec<String> = (0..load.coupons).map(|coupon| load.code(coupon)).collect();
    let ids: Vec<(String, i64)> = sqlx::query_as(
        "INSERT INTO coupons (coupon_code, status, total_quantity, opens_at, epoch)
         SELECT code, 'OPEN', $2, now() - interval '1 day', 1 FROM UNNEST($1::text[]) AS code
         RETURNING coupon_code, coupon_id",
    )
    .bind(&codes)
    .bind(i64::try_from(load.events())?)
    .fetch_all(database)
    .await
    .context("the coupons are not written")?;
    let ids: BTreeMap<String, i64> = ids.into_iter().collect();
    codes.iter().map(|code| ids.get(code).copied().context("a coupon is missing")).collect()
}

/// Publishes all events in their order and waits for the broker. Returns the end of each partition that got any.
pub async fn topic(brokers: &str, topic: &str, load: &Load) -> Result<BTreeMap<i32, i64>> {
    topic_at(brokers, topic, load, None).await
}

/// The same, with so many events a second, each at its moment.
pub async fn topic_at(brokers: &str, topic: &str, load: &Load, rate: Option<f64>) -> Result<BTreeMap<i32, i64>> {
    // The compression of issuer-api; all partitions alike, and batches as they are under load.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .create()?;
    let bar = progress::counted("events", load.events());
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    let began = Instant::now();
    // Each is queued at once, or when it is due, in the order of its number, and then awaited.
    let queued = stream::iter(0..load.events()).map(async |number| {
        let (key, value) = load.record(number)?;
        if let Some(rate) = rate {
            sleep_until(began + Duration::from_secs_f64(as_f64(number) / rate)).await;
        }
        let queued = producer.send_result(FutureRecord::to(topic).key(&key).payload(&value));
        let delivery = queued.map_err(|(error, _)| error)?.await.context("the producer has ended")?;
        anyhow::Ok(delivery.map_err(|(error, _)| error)?)
    });
    let mut delivered = std::pin::pin!(queued.buffered(RECORDS_AT_ONCE));
    while let Some(delivered) = delivered.try_next().await? {
        let end = ends.entry(delivered.partition).or_default();
        *end = (*end).max(delivered.offset + 1);
        bar.inc(1);
    }
    Ok(ends)
}
