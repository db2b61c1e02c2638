//! `coupon-bench decisions`: what the numbers of decisions cost the drain, and what publishing them costs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use coupon_e2e::wait::eventually;

use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::Environment,
    figures::{
        Figure, Goal,
        Unit::{Ms, PerSecond, Ratio, Us},
    },
    progress,
    rounds::Rounds,
};

/// Longest time until everything that was decided is published.
const PUBLISHED_WITHIN: Duration = Duration::from_mins(2);
/// Partitions of the topic of decisions.
const PARTITIONS: i32 = 8;

/// Keeps the batches from being written; the number in the row of the campaign costs nothing.
const WITHOUT_BATCHES: &str = "
CREATE FUNCTION bench_no_batch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER bench_no_batch BEFORE INSERT ON coupon_decision_batches FOR EACH ROW EXECUTE FUNCTION bench_no_batch()";

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench decisions --events 200000 --json decisions.json")]
pub struct DecisionsArgs {
    /// Events that wait in the topic.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    events: u32,
    #[command(flatten)]
    rounds: Rounds,
}

/// Figures of one round.
struct Round {
    without: Drained,
    numbered: Drained,
    published: Drained,
    /// From the last row to the last acknowledged event.
    behind: Duration,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &DecisionsArgs) -> Result<()> {
    let DecisionsArgs { events, rounds } = arguments;
    let round = async |_| {
        let load = Load::of(*events, 1);
        let site = Site::filled(environment, load).await?;
        sqlx::raw_sql(WITHOUT_BATCHES).execute(&site.world.db).await?;
        let without = site.drain().await.context("without numbers")?;
        progress::say(&format!("  without numbers: {:.0} rows/s", without.rows_per_second));
        let numbered = Site::filled(environment, load).await?.drain().await.context("numbered")?;
        progress::say(&format!("  numbered: {:.0} rows/s", numbered.rows_per_second));
        let (published, behind) = publish(environment, load).await.context("published")?;
        progress::say(&format!(
            "  published: {:.0} rows/s, the last event {behind:.1?} later",
            published.rows_per_second
        ));
        Ok(Round { without, numbered, published, behind })
    };
    let all = rounds.each(round).await?;
    rounds.finish(environment, figures(&all)).await
}

/// One drain beside a relay, and how long after it everything is published.
async fn publish(environment: &Environment, load: Load) -> Result<(Drained, Duration)> {
    let mut site = Site::filled(environment, load).await?;
    site.world = site.world.publishing_decisions();
    let topic = site.world.decisions.clone().context("a topic of decisions")?;
    topic.create(PARTITIONS, &[]).await?;
    let _relay = site.world.start_dlq_consumer().await?;
    let drained = site.drain().await?;
    let began = Instant::now();
    eventually("everything is published", PUBLISHED_WITHIN, async || -> Result<bool> {
        let is_behind = "SELECT EXISTS (SELECT FROM coupons LEFT JOIN coupon_decision_marks USING (coupon_id)
                                        WHERE decision_no > coalesce(relayed_to, 0))";
        let is_behind: bool = sqlx::query_scalar(is_behind).fetch_one(&site.world.db).await?;
        Ok(!is_behind)
    })
    .await?;
    Ok((drained, began.elapsed()))
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |short: &str, name: &str, unit, each: fn(&Round) -> f64| {
        Figure::new(&format!("decisions.{short}"), name, unit, rounds.iter().map(each))
    };
    vec![
        figure("without_per_second", "rows written, decisions without numbers", PerSecond, |round| {
            round.without.rows_per_second
        }),
        figure("numbered_ratio", "drain with numbers, share of that without", Ratio, |round| {
            round.numbered.rows_per_second / round.without.rows_per_second
        })
        .goal(Goal::AtLeast(0.9))
        .remark("the same events in the same round, a trigger keeps the batches from being written"),
        figure(
            "published_ratio",
            "drain beside a relay that publishes, share of that without numbers",
            Ratio,
            |round| round.published.rows_per_second / round.without.rows_per_second,
        )
        .goal(Goal::AtLeast(0.9))
        .remark("the relay, and Kafka for its events, take CPU of the same machine"),
        figure("behind_ms", "from the last row to the last event", Ms, |round| round.behind.as_secs_f64() * 1000.0)
            .remark("after rows written as fast as they can be"),
        figure("postgres_cpu_us", "CPU of PostgreSQL for each row, numbered", Us, |round| round.numbered.postgres_us),
        figure("without_postgres_cpu_us", "CPU of PostgreSQL for each row, without numbers", Us, |round| {
            round.without.postgres_us
        }),
    ]
}
