//! How long the rows take: from the first commit that is seen to the last, with the CPU time of everybody meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use coupon_e2e::process::Process;
use sqlx::{PgConnection, PgPool};
use tokio::time::{MissedTickBehavior, interval};

use crate::measure::{
    servers::{Cpu, Machines},
    spread::{as_f64, each_us},
    usage,
};

/// Time between two readings of the counters.
const POLL_PERIOD: Duration = Duration::from_millis(20);

/// Longest time without another row; group join and retries are far shorter.
const NEXT_ROW_WITHIN: Duration = Duration::from_mins(1);

/// Rates and costs between the first commit and the last.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// Rows a second. What was there at the first commit that was seen does not count.
    pub rows_per_second: f64,
    /// CPU time of all consumers for each row, in µs.
    pub consumer_us: f64,
    /// CPU time of all consumers since they started, for each row there is, in µs. What was fetched before the first
    /// commit is in it, and so is starting: never less than what a row costs.
    pub consumer_whole_us: f64,
    /// CPU time of PostgreSQL for each row, in µs.
    pub postgres_us: f64,
    /// CPU time of Kafka for each row, in µs.
    pub kafka_us: f64,
    /// Resident memory of the largest consumer at its peak.
    pub peak_mib: f64,
    /// Events in a batch, on average.
    pub batch_rows: f64,
}

/// Watches from now on until so many rows more than `before` are committed. The counters of `coupons` are raised in the
/// statement that inserts, so their sum is the number of rows, and reading it costs next to nothing.
pub async fn until(
    database: &PgPool,
    machines: &Machines,
    consumers: &[&Process],
    before: u64,
    rows: u64,
) -> Result<Drained> {
    // One connection for all looks: what its process in PostgreSQL uses is counted as long as it lives.
    let mut database = database.acquire().await?;
    let services: Vec<_> = consumers.iter().map(|&consumer| ("consumer", consumer)).collect();
    let mut ticks = interval(POLL_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut first, mut last): (Option<(Instant, u64, Cpu)>, _) = (None, (Instant::now(), 0));
    loop {
        ticks.tick().await;
        let seen = written(&mut database).await?.saturating_sub(before);
        let now = Instant::now();
        if seen > last.1 {
            last = (now, seen);
        }
        ensure!(seen <= rows, "{seen} rows are counted of {rows} that there may be");
        if seen > 0 && first.is_none() {
            first = Some((now, seen, machines.cpu(&services)?));
        }
        if let (Some((began, at_first, cpu)), true) = (&first, seen == rows) {
            let counted = rows - at_first;
            ensure!(counted * 2 > rows, "half of the events were written before any was seen; take more (--events)");
            let whole = machines.cpu(&services)?;
            let used = whole.since(cpu);
            let processes = consumers.iter().filter_map(|consumer| usage::process(consumer.pid()).ok());
            let memory = processes.filter_map(|process| Some(usage::memory_mib(&process)?.1));
            return Ok(Drained {
                rows_per_second: as_f64(counted) / (now - *began).as_secs_f64(),
                consumer_us: each_us(used.of("consumer"), counted),
                consumer_whole_us: each_us(whole.of("consumer"), rows),
                postgres_us: each_us(used.of("postgres"), counted),
                kafka_us: each_us(used.of("kafka"), counted),
                peak_mib: memory.fold(0.0, f64::max),
                batch_rows: batch_rows(consumers).await?,
            });
        }
        if consumers.iter().any(|consumer| !consumer.is_running()) {
            bail!("an issue-consumer has ended after {seen} of {rows} rows");
        }
        ensure!(
            last.0.elapsed() < NEXT_ROW_WITHIN,
            "{seen} of {rows} rows, and none for {} s",
            NEXT_ROW_WITHIN.as_secs()
        );
    }
}

async fn written(database: &mut PgConnection) -> Result<u64> {
    let sum: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(issued_quantity), 0)::bigint FROM coupons").fetch_one(database).await?;
    Ok(u64::try_from(sum)?)
}

async fn batch_rows(consumers: &[&Process]) -> Result<f64> {
    let (mut events, mut batches) = (0.0, 0.0);
    for consumer in consumers {
        events += consumer.metric("coupon_batch_events_sum", "").await?.unwrap_or(0.0);
        batches += consumer.metric("coupon_batch_events_count", "").await?.unwrap_or(0.0);
    }
    ensure!(batches > 0.0, "issue-consumer tells no batches in coupon_batch_events");
    Ok(events / batches)
}

impl Drained {
    /// Processors that are busy all the time with so many µs for each row.
    pub fn processors(&self, us_per_row: f64) -> f64 {
        us_per_row * self.rows_per_second / 1e6
    }
}
