//! `coupon-bench repair`: `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.

mod campaign;
mod check;
mod report;
mod rounds;
mod verb;

use std::path::PathBuf;

use anyhow::{Context, Result};
use chrono::Utc;
use clap::Args;

use self::{campaign::Campaign, report::Report};
use crate::{binaries::Binaries, environment::Environment, machine::Machine, place::Place, progress};

/// What is measured.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  coupon-bench repair --members 1000000\n  \
                   coupon-bench repair --members 10000000 --rounds 5 --json repair.json --bin-dir target/release")]
pub struct RepairArgs {
    /// Issued members of the one coupon.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    members: u32,
    /// How often everything is measured; the figures are medians.
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Marks that are taken away before `reconcile --apply`.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    missing: u32,
    /// Also write every figure of every round to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Work in this logical database of Redis, which must be empty; without it in the first empty one of 1 to 15.
    #[arg(long, value_name = "NUMBER")]
    redis_db: Option<u16>,
    #[command(flatten)]
    binaries: Binaries,
}

/// Measures, and prints what was measured.
pub async fn run(environment: &Environment, arguments: &RepairArgs) -> Result<()> {
    // Before anything takes minutes.
    let dlq_consumer = arguments.binaries.dlq_consumer()?;
    arguments.binaries.issue_consumer()?;
    if dlq_consumer.parent().is_some_and(|folder| folder.ends_with("debug")) {
        progress::say("this is a debug build: its figures say nothing");
    }
    let measure = async |place: &Place| {
        let mut campaign = Campaign::seed(place, arguments.members).await?;
        let machine = Machine::look(&mut campaign.database, &mut place.redis.connection()).await?;
        let runs = rounds::measure(&mut campaign, place, &dlq_consumer, arguments.rounds, arguments.missing).await?;
        let RepairArgs { members, rounds, missing, .. } = *arguments;
        Ok(Report { at: Utc::now(), machine, binary: dlq_consumer.clone(), members, rounds, missing, runs })
    };
    let report = Place::own(environment, &arguments.binaries, arguments.redis_db, measure).await?;
    println!("{report}");
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, json + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}
