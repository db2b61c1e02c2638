//! How long the rows take: from the first commit that is seen to the last, with the CPU time of everybody meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use coupon_e2e::process::Process;
use sqlx::{Connection, PgConnection};
use tokio::time::{MissedTickBehavior, interval};

use super::copy::as_f64;
use crate::measure::{
    servers::Machines,
    usage::{memory_mib, stat},
};

/// How often the counters are looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Longest time without another row; group join and retries are far shorter.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was seen between the first commit and the last.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// Rows that came after the first commit that was seen; what was there by then does not count.
    pub rows: u64,
    /// In this time.
    pub seconds: f64,
    /// CPU time of all consumers, in ms.
    pub consumer_ms: u64,
    /// CPU time of all consumers since they started, for each row there is, in µs. What was fetched before the first
    /// commit is in it, and so is starting: never less than what a row costs.
    pub consumer_whole_us: f64,
    /// CPU time of PostgreSQL, in ms.
    pub postgres_ms: u64,
    /// CPU time of Kafka, in ms.
    pub kafka_ms: u64,
    /// Resident memory of the largest consumer at its peak.
    pub peak_mib: f64,
    /// Events in a batch, on average.
    pub batch_rows: f64,
}

/// Watches from now on until so many rows more than `before` are committed. The counters of `coupons` are raised in the
/// statement that inserts, so their sum is the number of rows, and reading it costs next to nothing.
pub async fn until(url: &str, machines: &Machines, consumers: &[&Process], before: u64, rows: u64) -> Result<Drained> {
    let mut database = PgConnection::connect(url).await?;
    let mut ticks = interval(EVERY);
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
            first = Some((now, seen, Cpu::read(machines, consumers)));
        }
        if let (Some((began, at_first, cpu)), true) = (first, seen == rows) {
            let counted = rows - at_first;
            ensure!(counted * 2 > rows, "half of the events were written before any was seen; take more (--events)");
            let whole = Cpu::read(machines, consumers);
            let used = whole.since(cpu);
            let memory = consumers.iter().filter_map(|consumer| Some(memory_mib(consumer.pid())?.1));
            database.close().await?;
            return Ok(Drained {
                rows: counted,
                seconds: (now - began).as_secs_f64(),
                consumer_ms: used.consumers,
                consumer_whole_us: as_f64(whole.consumers) * 1000.0 / as_f64(rows),
                postgres_ms: used.postgres,
                kafka_ms: used.kafka,
                peak_mib: memory.fold(0.0, f64::max),
                batch_rows: batch_rows(consumers).await?,
            });
        }
        if consumers.iter().any(|consumer| !consumer.is_running()) {
            bail!("an issue-consumer has ended after {seen} of {rows} rows");
        }
        ensure!(last.0.elapsed() < PATIENCE, "{seen} of {rows} rows, and none for {} s", PATIENCE.as_secs());
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

/// CPU time so far, in ms.
#[derive(Clone, Copy)]
struct Cpu {
    consumers: u64,
    postgres: u64,
    kafka: u64,
}

impl Cpu {
    fn read(machines: &Machines, consumers: &[&Process]) -> Self {
        Self {
            consumers: consumers.iter().filter_map(|consumer| Some(stat(consumer.pid())?.cpu_ms)).sum(),
            postgres: machines.postgres.cpu_ms(),
            kafka: machines.kafka.cpu_ms(),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            consumers: self.consumers.saturating_sub(before.consumers),
            // A worker that has ended meanwhile takes its time with it.
            postgres: self.postgres.saturating_sub(before.postgres),
            kafka: self.kafka.saturating_sub(before.kafka),
        }
    }
}

impl Drained {
    /// Rows a second.
    pub fn rows_per_second(&self) -> f64 {
        as_f64(self.rows) / self.seconds
    }

    /// µs for each row of so many ms in all.
    pub fn us_per_row(&self, ms: u64) -> f64 {
        as_f64(ms) * 1000.0 / as_f64(self.rows)
    }

    /// The share of one processor that so many ms are.
    pub fn processors(&self, ms: u64) -> f64 {
        as_f64(ms) / 1000.0 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_rows_and_the_time_that_were_watched() {
        let drained = Drained {
            rows: 50_000,
            seconds: 2.0,
            consumer_ms: 500,
            consumer_whole_us: 10.0,
            postgres_ms: 1500,
            kafka_ms: 100,
            peak_mib: 20.0,
            batch_rows: 100.0,
        };
        assert!((drained.rows_per_second() - 25_000.0).abs() < 0.001);
        assert!((drained.us_per_row(drained.consumer_ms) - 10.0).abs() < 0.001);
        assert!((drained.processors(drained.postgres_ms) - 0.75).abs() < 0.001);
    }
}
