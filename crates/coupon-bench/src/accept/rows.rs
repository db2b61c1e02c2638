//! From a request to its row: asks PostgreSQL again and again which of the followed reservations are there.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use sqlx::PgPool;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::CODE;
use crate::load::Sample;

/// Time between two queries: a row is seen late by this and the time of a query at most.
const POLL_PERIOD: Duration = Duration::from_millis(5);

/// Rows that are asked for at a time, the oldest first.
const MAX_ROWS_ASKED: usize = 1000;

/// Longest time that a row is waited for after the last sample.
const ROW_WITHIN: Duration = Duration::from_mins(2);

/// Follows samples until the last one has its row. Times in µs, from when each request was due.
pub async fn follow(db: PgPool, mut samples: UnboundedReceiver<Sample>) -> Result<Histogram<u64>> {
    let coupon: i64 =
        sqlx::query_scalar("SELECT coupon_id FROM coupons WHERE coupon_code = $1").bind(CODE).fetch_one(&db).await?;
    let mut times = Histogram::new(3)?;
    let mut pending: Vec<Sample> = Vec::new();
    let mut ticks = interval(POLL_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_sample = Instant::now();
    loop {
        ticks.tick().await;
        while let Ok(sample) = samples.try_recv() {
            pending.push(sample);
            last_sample = Instant::now();
        }
        if pending.is_empty() && samples.is_closed() && samples.is_empty() {
            return Ok(times);
        }
        ensure!(last_sample.elapsed() < ROW_WITHIN, "{} accepted requests have no row", pending.len());
        if pending.is_empty() {
            continue;
        }
        let asked: Vec<Uuid> = pending.iter().take(MAX_ROWS_ASKED).map(|sample| sample.request_id).collect();
        let there: Vec<Uuid> =
            sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE coupon_id = $1 AND request_id = ANY($2)")
                .bind(coupon)
                .bind(&asked)
                .fetch_all(&db)
                .await?;
        let (seen, there) = (Instant::now(), HashSet::<Uuid>::from_iter(there));
        for sample in pending.extract_if(.., |sample| there.contains(&sample.request_id)) {
            let late = u64::try_from((seen - sample.due).as_micros()).unwrap_or(u64::MAX);
            times.record(late.max(1))?;
        }
    }
}
