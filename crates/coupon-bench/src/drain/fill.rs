//! Putting events into the topic, and the coupons they are of into PostgreSQL.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig,
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use sqlx::PgConnection;

use super::load::Load;
use crate::progress;

/// Records that are queued at once.
const AT_ONCE: u64 = 20_000;

/// Opens the coupons of these events, each with units enough. Returns their keys in the order of their numbers.
pub async fn coupons(database: &mut PgConnection, load: &Load) -> Result<Vec<i64>> {
    let codes: Vec<String> = (0..load.coupons()).map(|coupon| load.code(coupon)).collect();
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
    // The partitioner and the compression of issuer-api; batches as they are under load.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .create()?;
    let bar = progress::counted("events", load.events());
    let (mut ends, mut acknowledged) = (BTreeMap::new(), 0);
    // One portion is encoded while the one before is acknowledged.
    let mut queued: Vec<DeliveryFuture> = Vec::new();
    for from in (0..load.events()).step_by(usize::try_from(AT_ONCE)?) {
        let before = std::mem::take(&mut queued);
        for number in from..(from + AT_ONCE).min(load.events()) {
            let (key, value) = load.record(number)?;
            let record = FutureRecord::to(topic).key(&key).payload(&value);
            queued.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        acknowledged += settled(before, &mut ends).await?;
        bar.set_position(acknowledged);
    }
    acknowledged += settled(queued, &mut ends).await?;
    bar.finish_and_clear();
    ensure!(acknowledged == load.events(), "{acknowledged} of {} events were acknowledged", load.events());
    Ok(ends)
}

async fn settled(queued: Vec<DeliveryFuture>, ends: &mut BTreeMap<i32, i64>) -> Result<u64> {
    let count = queued.len() as u64;
    for delivery in queued {
        let delivered = delivery.await.context("the producer has ended")?.map_err(|(error, _)| error)?;
        let end = ends.entry(delivered.partition).or_default();
        *end = (*end).max(delivered.offset + 1);
    }
    Ok(count)
}
