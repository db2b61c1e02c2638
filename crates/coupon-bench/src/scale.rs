//! `coupon-bench scale`: two issue-consumers against one where PostgreSQL is not the limit.
//!
//! What PostgreSQL runs out of first is not its processors but the log: one flush at a time, about one for each commit. So
//! replicas are bounded by something that each has for itself: the way to PostgreSQL is made long, and a replica writes
//! one batch at a time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use coupon_e2e::{process::Process, proxy::Proxy, wait::eventually};

use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::Environment,
    figures::{
        Figure, Goal,
        Unit::{Count, PerSecond, Times},
    },
    progress,
    rounds::Rounds,
};

/// Coupons of the events: more than batches are written at once, so that replicas seldom meet, and few enough that the
/// window of a replica (1,000 records of each partition) holds a full batch of each.
const COUPONS: u64 = 20;

/// Partitions of the topic.
const PARTITIONS: f64 = 8.0;

/// Longest time until the group has shared its partitions out.
const SHARED_WITHIN: Duration = Duration::from_mins(1);

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench scale --far 10 --json scale.json")]
pub struct ScaleArgs {
    /// Events of 20 coupons in turn.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    events: u32,
    /// Most events in a batch of a replica, which writes one batch at a time: what bounds it, instead of PostgreSQL.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    batch: u32,
    /// How long the way to PostgreSQL takes, in ms, there and back each.
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    far: u64,
    #[command(flatten)]
    rounds: Rounds,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &ScaleArgs) -> Result<()> {
    let ScaleArgs { events, rounds, .. } = arguments;
    let with = async |replicas| {
        let drained = drain(environment, Load::of(*events, COUPONS), replicas, arguments);
        let drained = drained.await.with_context(|| format!("{replicas} replicas"))?;
        progress::say(&format!("  {replicas}: {:.0} rows/s", drained.rows_per_second));
        anyhow::Ok(drained)
    };
    let all = rounds.each(async |_| Ok([with(1).await?, with(2).await?])).await?;
    rounds.finish(environment, figures(&all, arguments)).await
}

/// Drains with so many replicas that all have their partitions before the first event is there.
///
/// They join the group with the topic empty, and once each tells of its share they are frozen (SIGSTOP) while the topic
/// is filled. So all begin at the same moment with everything waiting, and no rebalance falls into the time.
async fn drain(environment: &Environment, load: Load, replicas: usize, arguments: &ScaleArgs) -> Result<Drained> {
    let mut site = Site::empty(environment, load).await?;
    let far = Proxy::before(&site.world.database_url).await?;
    far.delay(Duration::from_millis(arguments.far)).await?;
    let mut consumers = Vec::new();
    for _ in 0..replicas {
        let launch = site.world.start_issue_consumer().database_through(&far);
        let launch = launch.set("writer.max_parallel", 1).set("writer.max_batch", arguments.batch);
        // A frozen member is not a lost one.
        consumers.push(launch.set("kafka.session_timeout_ms", 45_000).await?);
    }
    let consumers: Vec<&Process> = consumers.iter().collect();
    let share = "each replica has its share of the partitions";
    eventually(share, SHARED_WITHIN, async || have_shares(&consumers).await).await?;
    for consumer in &consumers {
        consumer.stop()?;
    }
    site.fill().await?;
    for consumer in &consumers {
        consumer.cont()?;
    }
    let drained = site.watch(&consumers).await?;
    // Whoever lost its partitions meanwhile has not done its share.
    ensure!(have_shares(&consumers).await?, "the partitions were shared out anew in the middle");
    site.check().await?;
    Ok(drained)
}

async fn have_shares(consumers: &[&Process]) -> Result<bool> {
    let share = PARTITIONS / f64::from(u32::try_from(consumers.len())?);
    for consumer in consumers {
        let partitions = consumer.metric("coupon_consumer_partitions", "").await?.unwrap_or(0.0);
        if (partitions - share).abs() > 0.5 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn figures(rounds: &[[Drained; 2]], arguments: &ScaleArgs) -> Vec<Figure> {
    let figure = |short: &str, name: &str, unit, each: fn(&[Drained; 2]) -> f64| {
        Figure::new(&format!("scale.{short}"), name, unit, rounds.iter().map(each))
    };
    let ScaleArgs { batch, far, .. } = arguments;
    let bound = format!("each writes one batch of at most {batch} at a time to a PostgreSQL that is {far} ms away");
    let uses = "processors that PostgreSQL uses";
    vec![
        figure("one_per_second", "rows written by one issue-consumer", PerSecond, |[one, _]| one.rows_per_second)
            .remark(bound.clone()),
        figure("two_per_second", "rows written by two", PerSecond, |[_, two]| two.rows_per_second).remark(bound),
        figure("ratio", "two issue-consumers against one", Times, |[one, two]| {
            two.rows_per_second / one.rows_per_second
        })
        .goal(Goal::AtLeast(1.7))
        .remark(format!("limit: twice as much; {}", shares(rounds))),
        figure("one_postgres_processors", &format!("{uses}, one replica"), Count, |[one, _]| {
            one.processors(one.postgres_us)
        }),
        figure("two_postgres_processors", &format!("{uses}, two replicas"), Count, |[_, two]| {
            two.processors(two.postgres_us)
        }),
        figure("one_batch_rows", "events in a batch, one replica", Count, |[one, _]| one.batch_rows),
        figure("two_batch_rows", "events in a batch, two replicas", Count, |[_, two]| two.batch_rows),
        figure("two_consumer_processors", "processors that two replicas use", Count, |[_, two]| {
            two.processors(two.consumer_us)
        }),
    ]
}

/// Returns as text which share of the machine PostgreSQL takes.
fn shares(rounds: &[[Drained; 2]]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = rounds.iter().map(|[_, two]| two.processors(two.postgres_us)).fold(0.0, f64::max);
    format!("PostgreSQL used at most {most:.2} of {cores} processors with two replicas")
}
