//! `coupon-bench repair`: `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.

mod campaign;
mod check;
mod figures;
mod rounds;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use coupon_e2e::process::binaries;

use self::campaign::Campaign;
use crate::{
    environment::{self, Environment},
    figures::finish,
    measure::redis_log::Noting,
    rounds::look_at_build,
};

/// Arguments: what is measured, how long and how often.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  coupon-bench repair --members 1000000\n  \
                   coupon-bench repair --members 10000000 --rounds 5 --json repair.json")]
pub struct RepairArgs {
    /// Issued members of the one coupon.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    members: u32,
    /// How often everything is measured; the figures are medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Holder entries that are taken away before `reconcile --apply`.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    missing: u32,
    /// Also write every figure of every round to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this dlq-consumer; without it the one beside coupon-bench or in `COUPON_BIN_DIR`.
    #[arg(long, value_name = "PATH")]
    dlq_consumer: Option<PathBuf>,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &RepairArgs) -> Result<()> {
    let RepairArgs { members, rounds, missing, .. } = *arguments;
    look_at_build()?;
    let dlq_consumer = arguments.dlq_consumer.clone().map_or_else(|| binaries::find("dlq-consumer"), Ok)?;
    // Before anything takes minutes.
    ensure!(dlq_consumer.is_file(), "{} is not there", dlq_consumer.display());
    let world = environment::world().await?;
    let noting = Noting::begin(&world.redis_url)?;
    let mut campaign = Campaign::seed(world, members).await?;
    let runs = rounds::measure(&mut campaign, &dlq_consumer, rounds, missing).await?;
    drop((campaign, noting));
    finish(environment, rounds, figures::of(&runs, members, missing), arguments.json.as_deref()).await
}
