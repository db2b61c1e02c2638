//! `coupon-bench drain` and `coupon-bench mixed`: how fast one issue-consumer writes the events that wait in its topic,
//! of one hot coupon or of a hundred, against `COPY` of the same rows.

pub mod check;
pub mod copy;
pub mod fill;
pub mod load;
pub mod rounds;
pub mod site;
pub mod watch;

use anyhow::{Context, Result};
use clap::Args;

use self::{copy::Copied, load::Load, rounds::Rounds, site::Site, watch::Drained};
use crate::{
    environment::Environment,
    figures::{Figure, Goal, Unit, finish},
    progress,
};

/// Coupons of `mixed`.
const MANY: u64 = 100;

/// How much is measured.
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

/// Measures one hot coupon.
pub async fn run(environment: &Environment, arguments: &DrainArgs) -> Result<()> {
    measure(environment, arguments, "drain", 1, "one hot coupon").await
}

/// Measures many coupons in turn.
pub async fn run_mixed(environment: &Environment, arguments: &DrainArgs) -> Result<()> {
    measure(environment, arguments, "mixed", MANY, "100 coupons mixed").await
}

async fn measure(environment: &Environment, arguments: &DrainArgs, id: &str, coupons: u64, of: &str) -> Result<()> {
    let DrainArgs { events, rounds } = arguments;
    rounds::look_at_build()?;
    let mut all = Vec::new();
    for round in 1..=rounds.rounds {
        let what = format!("{id}, round {round} of {}", rounds.rounds);
        progress::say(&what);
        let site = Site::filled(environment, Load::of(*events, coupons)).await.context(what.clone())?;
        let copied = site.copy().await.context(what.clone())?;
        progress::say(&format!("  COPY: {:.0} rows/s", copied.rows_per_second));
        let drained = site.drain(&[]).await.context(what)?;
        progress::say(&format!("  issue-consumer: {:.0} rows/s", drained.rows_per_second()));
        all.push((copied, drained));
    }
    finish(environment, rounds.rounds, figures(id, of, &all), rounds.json.as_deref()).await
}

fn figures(id: &str, of: &str, rounds: &[(Copied, Drained)]) -> Vec<Figure> {
    let figure = |short: &str, name: String, unit, each: fn(&(Copied, Drained)) -> f64| {
        Figure::new(&format!("{id}.{short}"), &name, unit, rounds.iter().map(each))
    };
    let limit = "one COPY of the same rows into the same empty table with its indexes, committed; same round";
    vec![
        figure("rows_per_second", format!("rows written, {of}"), Unit::PerSecond, |(_, drained)| {
            drained.rows_per_second()
        })
        .remark("one issue-consumer with its defaults, from the first commit seen to the last"),
        figure("copy_rows_per_second", "rows copied".to_owned(), Unit::PerSecond, |(copied, _)| copied.rows_per_second)
            .remark(limit),
        figure("ratio", format!("drain of {of}, share of COPY"), Unit::Ratio, |(copied, drained)| {
            drained.rows_per_second() / copied.rows_per_second
        })
        .goal(Goal::AtLeast(0.5))
        .remark(format!("limit: {limit}")),
        figure("consumer_cpu_us", "CPU of issue-consumer for each row".to_owned(), Unit::Us, |(_, drained)| {
            drained.us_per_row(drained.consumer_ms)
        })
        .goal(Goal::AtMost(10.0))
        .remark("user and system time of all threads, between the same two moments"),
        figure("consumer_whole_cpu_us", "the same with its start".to_owned(), Unit::Us, |(_, drained)| {
            drained.consumer_whole_us
        })
        .goal(Goal::AtMost(10.0))
        .remark("from the start of the process, for all rows; with what it fetched before its first commit"),
        figure("postgres_cpu_us", "CPU of PostgreSQL for each row".to_owned(), Unit::Us, |(_, drained)| {
            drained.us_per_row(drained.postgres_ms)
        }),
        figure("copy_postgres_cpu_us", "CPU of PostgreSQL for each row of COPY".to_owned(), Unit::Us, |(copied, _)| {
            copied.postgres_us
        }),
        figure("kafka_cpu_us", "CPU of Kafka for each row".to_owned(), Unit::Us, |(_, drained)| {
            drained.us_per_row(drained.kafka_ms)
        }),
        figure("batch_rows", "events in a batch".to_owned(), Unit::Count, |(_, drained)| drained.batch_rows)
            .remark("mean of coupon_batch_events"),
        figure("consumer_peak_mib", "memory of issue-consumer at its peak".to_owned(), Unit::MiB, |(_, drained)| {
            drained.peak_mib
        })
        .goal(Goal::AtMost(100.0)),
    ]
}
