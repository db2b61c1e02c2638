//! `coupon-bench poison`: how fast healthy events are written while one in a hundred fails each time it is tried.

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::Environment,
    figures::{
        Figure, Goal,
        Unit::{Count, PerSecond, Ratio, Us},
    },
    progress,
    rounds::Rounds,
};

/// Arguments: how many events, and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench poison --events 200000 --json poison.json")]
pub struct PoisonArgs {
    /// Events that wait in the topic, those that fail among them.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    events: u32,
    #[command(flatten)]
    rounds: Rounds,
}

/// Figures of one round beside failing records.
struct Round {
    without: Drained,
    with: Drained,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.with.rows_per_second / self.without.rows_per_second
    }
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &PoisonArgs) -> Result<()> {
    let PoisonArgs { events, rounds } = arguments;
    let round = async |_| {
        let load = Load::of(*events, 1);
        let without = drain(environment, load).await.context("all healthy")?;
        progress::say(&format!("  all healthy: {:.0} rows/s", without.rows_per_second));
        let with = drain(environment, load.poisoned()).await.context("1 % failing")?;
        progress::say(&format!("  1 % failing: {:.0} healthy rows/s", with.rows_per_second));
        Ok(Round { without, with })
    };
    let all = rounds.each(round).await?;
    rounds.finish(environment, figures(&all)).await
}

/// One drain. Both kinds have the trigger, so that its cost is in both; what fails must end in the dead letter topic.
async fn drain(environment: &Environment, load: Load) -> Result<Drained> {
    let site = Site::filled(environment, load).await?;
    sqlx::raw_sql(include_str!("poison/poison.sql")).execute(&site.world.db).await?;
    site.drain().await
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |short: &str, name: &str, unit, each: fn(&Round) -> f64| {
        Figure::new(&format!("poison.{short}"), name, unit, rounds.iter().map(each))
    };
    let healthy = "for each healthy row, 1 % failing";
    vec![
        figure("healthy_per_second", "healthy rows written, 1 % failing", PerSecond, |round| {
            round.with.rows_per_second
        })
        .remark("until the last healthy row; each failing record became one dead letter after 4 attempts"),
        figure("without_per_second", "rows written, none failing", PerSecond, |round| round.without.rows_per_second)
            .remark("the same events and the same trigger in the same round, every member healthy"),
        figure("ratio", "healthy drain with 1 % failing, share of that without", Ratio, Round::ratio)
            .goal(Goal::AtLeast(0.8))
            .remark("limit: the same without failing records"),
        figure("batch_rows", "events in a batch, 1 % failing", Count, |round| round.with.batch_rows)
            .remark("a batch that fails is written once more, by parts, until the record that fails stands alone"),
        figure("without_batch_rows", "events in a batch, none failing", Count, |round| round.without.batch_rows),
        figure("consumer_cpu_us", &format!("CPU of issue-consumer {healthy}"), Us, |round| round.with.consumer_us),
        figure("postgres_cpu_us", &format!("CPU of PostgreSQL {healthy}"), Us, |round| round.with.postgres_us),
        figure("without_postgres_cpu_us", "CPU of PostgreSQL for each row, none failing", Us, |round| {
            round.without.postgres_us
        }),
    ]
}
