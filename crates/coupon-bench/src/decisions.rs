//! `coupon-bench decisions`: what the numbers of decisions cost the drain, what publishing them costs it, how soon an event comes,
//! and what a topic that was gone leaves behind.

mod stages;
mod told;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use self::told::Told;
use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::Environment,
    figures::{
        Figure, Goal,
        Unit::{Count, Ms, PerSecond, Ratio, Us},
    },
    measure::spread::as_f64,
    progress,
    rounds::{self, Rounds},
};

/// Keeps the batches from being written; the number in the row of the campaign costs nothing.
const WITHOUT_BATCHES: &str = "
CREATE FUNCTION bench_no_batch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER bench_no_batch BEFORE INSERT ON coupon_decision_batches FOR EACH ROW EXECUTE FUNCTION bench_no_batch()";

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  coupon-bench decisions --events 200000 --json decisions.json\n  coupon-bench decisions --events 20000 --rounds 1 --half-seconds 3 --away-seconds 20"
)]
pub struct DecisionsArgs {
    /// Events that wait in the topic.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    events: u32,
    /// Length of the run at half load, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = rounds::seconds)]
    half_seconds: f64,
    /// How long the topic is gone, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = rounds::seconds)]
    away_seconds: f64,
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
    /// At half of the rate of `published`.
    half: Told,
    gone: Drained,
    /// From the making of the topic to the last acknowledged event.
    caught_up: Duration,
    after: Told,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &DecisionsArgs) -> Result<()> {
    let DecisionsArgs { events, half_seconds, away_seconds, rounds } = arguments;
    let round = async |_| {
        let load = Load::of(*events, 1);
        let site = Site::filled(environment, load).await?;
        sqlx::raw_sql(WITHOUT_BATCHES).execute(&site.world.db).await?;
        let without = site.drain().await.context("without numbers")?;
        progress::say(&format!("  without numbers: {:.0} rows/s", without.rows_per_second));
        let numbered = Site::filled(environment, load).await?.drain().await.context("numbered")?;
        progress::say(&format!("  numbered: {:.0} rows/s", numbered.rows_per_second));
        let (published, behind) = stages::beside(environment, load).await.context("published")?;
        progress::say(&format!(
            "  published: {:.0} rows/s, the last event {behind:.1?} later",
            published.rows_per_second
        ));
        let rate = published.rows_per_second / 2.0;
        let half = stages::at_rate(environment, rate, *half_seconds).await.context("half load")?;
        progress::say(&format!("  half load: {rate:.0} rows/s, p99 of the events after {:.0} ms", half.delay_ms(0.99)));
        let away = Duration::from_secs_f64(*away_seconds);
        let (gone, caught_up, after) = stages::gone(environment, load, away).await.context("the topic gone")?;
        progress::say(&format!(
            "  topic gone for {away:.0?}: {:.0} rows/s, caught up in {caught_up:.1?}",
            gone.rows_per_second
        ));
        Ok(Round { without, numbered, published, behind, half, gone, caught_up, after })
    };
    let all = rounds.each(round).await?;
    rounds.finish(environment, figures(&all)).await
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |short: &str, name: &str, unit, each: fn(&Round) -> f64| {
        Figure::new(&format!("decisions.{short}"), name, unit, rounds.iter().map(each))
    };
    let count = |short: &str, name: &str, each: fn(&Told) -> u64| {
        let sums = rounds.iter().map(|round| as_f64(each(&round.half) + each(&round.after)));
        Figure::new(&format!("decisions.{short}"), name, Count, sums)
            .goal(Goal::AtMost(0.0))
            .remark("at half load, and after the topic was gone; under faults the tests e1 to e8 judge")
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
        figure("half_event_p50_ms", "from the row to its event at half load, p50", Ms, |round| {
            round.half.delay_ms(0.5)
        }),
        figure("half_event_p99_ms", "from the row to its event at half load, p99", Ms, |round| {
            round.half.delay_ms(0.99)
        })
        .goal(Goal::AtMost(500.0))
        .remark("from the begin of the statement that decides to the append at the broker"),
        figure("gone_ratio", "drain while the topic is gone, share of that with numbers", Ratio, |round| {
            round.gone.rows_per_second / round.numbered.rows_per_second
        })
        .goal(Goal::AtLeast(0.9))
        .remark("a relay looks for the topic meanwhile; what two drains of a round differ by is in it"),
        figure("caught_up_ms", "from the making of the topic to the last event", Ms, |round| {
            round.caught_up.as_secs_f64() * 1000.0
        })
        .goal(Goal::AtMost(60_000.0))
        .remark("all events of the drain wait; how long the topic was gone is in the command (--away-seconds)"),
        count("lost", "decisions without an event", |told| told.lost),
        count("wrong", "events that are wrong", |told| told.wrong),
        count("out_of_order", "events out of order in their partition", |told| told.out_of_order),
        figure("postgres_cpu_us", "CPU of PostgreSQL for each row, numbered", Us, |round| round.numbered.postgres_us),
        figure("without_postgres_cpu_us", "CPU of PostgreSQL for each row, without numbers", Us, |round| {
            round.without.postgres_us
        }),
    ]
}
