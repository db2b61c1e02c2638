//! `coupon-bench drain` and `coupon-bench mixed`: how fast one issue-consumer writes the events that wait in its topic,
//! of one hot coupon or of a hundred, against `COPY` of the same rows.

pub mod check;
pub mod copy;
pub mod fill;
pub mod load;
pub mod site;
pub mod watch;

use anyhow::Result;
use clap::Args;

use self::{copy::Copied, load::Load, site::Site, watch::Drained};
use crate::{
    environment::Environment,
    figures::{
        Figure,
        Goal::{AtLeast, AtMost},
        Unit::{Count, MiB, PerSecond, Ratio, Us},
    },
    progress,
    rounds::Rounds,
};

/// Number of coupons of the load `mixed`.
const MANY: u64 = 100;

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  coupon-bench drain --events 400000 --json drain.json\n  coupon-bench mixed --json mixed.json"
)]
pub struct DrainArgs {
    /// Events that wait in the topic.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    events: u32,
    #[command(flatten)]
    rounds: Rounds,
}

/// Figures of one round of draining.
struct Round {
    copied: Copied,
    drained: Drained,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.drained.rows_per_second / self.copied.rows_per_second
    }
}

/// Measures how fast a backlog of one hot coupon is written.
pub async fn run(environment: &Environment, arguments: &DrainArgs) -> Result<()> {
    measure(environment, arguments, "drain", 1, "one hot coupon").await
}

/// Measures many coupons in turn.
pub async fn run_mixed(environment: &Environment, arguments: &DrainArgs) -> Result<()> {
    measure(environment, arguments, "mixed", MANY, "100 coupons mixed").await
}

async fn measure(environment: &Environment, arguments: &DrainArgs, id: &str, coupons: u64, of: &str) -> Result<()> {
    let DrainArgs { events, rounds } = arguments;
    let round = async |_| {
        let site = Site::filled(environment, Load::of(*events, coupons)).await?;
        let copied = site.copy().await?;
        progress::say(&format!("  COPY: {:.0} rows/s", copied.rows_per_second));
        let drained = site.drain().await?;
        progress::say(&format!("  issue-consumer: {:.0} rows/s", drained.rows_per_second));
        Ok(Round { copied, drained })
    };
    let all = rounds.each(round).await?;
    rounds.finish(environment, figures(id, of, &all)).await
}

fn figures(id: &str, of: &str, rounds: &[Round]) -> Vec<Figure> {
    let figure = |short: &str, name: &str, unit, each: fn(&Round) -> f64| {
        Figure::new(&format!("{id}.{short}"), name, unit, rounds.iter().map(each))
    };
    let limit = "one COPY of the same rows into the same empty table with its indexes, committed; same round";
    vec![
        figure("rows_per_second", &format!("rows written, {of}"), PerSecond, |round| round.drained.rows_per_second)
            .remark("one issue-consumer with its defaults, from the first commit seen to the last"),
        figure("copy_rows_per_second", "rows copied", PerSecond, |round| round.copied.rows_per_second).remark(limit),
        figure("ratio", &format!("drain of {of}, share of COPY"), Ratio, Round::ratio)
            .goal(AtLeast(0.5))
            .remark(format!("limit: {limit}")),
        figure("consumer_cpu_us", "CPU of issue-consumer for each row", Us, |round| round.drained.consumer_us)
            .goal(AtMost(10.0))
            .remark("user and system time of all threads, between the same two moments"),
        figure("consumer_whole_cpu_us", "the same with its start", Us, |round| round.drained.consumer_whole_us)
            .goal(AtMost(10.0))
            .remark("from the start of the process, for all rows; with what it fetched before its first commit"),
        figure("postgres_cpu_us", "CPU of PostgreSQL for each row", Us, |round| round.drained.postgres_us),
        figure("copy_postgres_cpu_us", "CPU of PostgreSQL for each row of COPY", Us, |round| round.copied.postgres_us),
        figure("kafka_cpu_us", "CPU of Kafka for each row", Us, |round| round.drained.kafka_us),
        figure("batch_rows", "events in a batch", Count, |round| round.drained.batch_rows)
            .remark("mean of coupon_batch_events"),
        figure("consumer_peak_mib", "memory of issue-consumer at its peak", MiB, |round| round.drained.peak_mib)
            .goal(AtMost(100.0)),
    ]
}
