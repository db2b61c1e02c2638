//! `coupon-bench rows`: the pipeline against a design without Redis and Kafka, in which a coupon is a row of PostgreSQL and is
//! issued by `SELECT … FOR UPDATE SKIP LOCKED`.

mod check;
mod contender;
mod figures;
pub mod server;

use anyhow::{Context, Result};
use clap::Args;

use self::contender::{Contender, Full, Steady};
use crate::{
    environment::Environment,
    progress,
    rounds::{Rounds, seconds},
};

/// Numbers of campaigns that the members ask for in turn: one that all want, and many.
const CAMPAIGNS: [usize; 2] = [1, 100];

/// More requests than any machine accepts in a second by rows.
const MOST_PER_SECOND: f64 = 30_000.0;

/// Arguments: how long and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench rows --rounds 3 --json rows.json")]
pub struct RowsArgs {
    /// Length of each run at full load, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Length of each run at half load, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    half_seconds: f64,
    /// Connections to PostgreSQL of the server that issues rows.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200))]
    connections: u32,
    #[command(flatten)]
    rounds: Rounds,
}

/// What one round has shown with one number of campaigns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    rows: (Full, Steady),
    pipeline: (Full, Steady),
    /// The pipeline at half of what the rows do.
    pipeline_at_rate_of_rows: Steady,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &RowsArgs) -> Result<()> {
    let round = async |_| {
        let mut all = [Compared::default(); CAMPAIGNS.len()];
        for (compared, campaigns) in all.iter_mut().zip(CAMPAIGNS) {
            *compared = compare(environment, arguments, campaigns).await.with_context(|| label(campaigns))?;
        }
        Ok(all)
    };
    let all = arguments.rounds.each(round).await?;
    arguments.rounds.finish(environment, figures::figures(&all)).await
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some 10,000 rows for each second")]
async fn compare(environment: &Environment, arguments: &RowsArgs, campaigns: usize) -> Result<Compared> {
    let RowsArgs { seconds, half_seconds, connections, .. } = *arguments;
    let codes: Vec<String> = (0..campaigns).map(|number| format!("BENCH-ROWS-{number:03}")).collect();
    let mut compared = Compared::default();
    {
        let units = ((seconds + half_seconds + 1.0) * MOST_PER_SECOND) as u32;
        let mut rows = Contender::rows(environment, &codes, units, connections).await?;
        let _running = progress::step(&format!("rows, {}", label(campaigns)));
        let full = rows.full(seconds).await?;
        compared.rows = (full, rows.steady(full.per_second / 2.0, half_seconds).await?);
        rows.check().await?;
    }
    let mut pipeline = Contender::pipeline(environment, &codes).await?;
    let _running = progress::step(&format!("the pipeline, {}", label(campaigns)));
    let full = pipeline.full(seconds).await?;
    compared.pipeline = (full, pipeline.steady(full.per_second / 2.0, half_seconds).await?);
    let rate = compared.rows.0.per_second / 2.0;
    compared.pipeline_at_rate_of_rows = pipeline.steady(rate, half_seconds).await?;
    pipeline.check().await?;
    Ok(compared)
}

/// What the figures of so many campaigns are called by.
fn label(campaigns: usize) -> String {
    if campaigns == 1 { "one hot coupon".to_owned() } else { format!("{campaigns} coupons in turn") }
}
