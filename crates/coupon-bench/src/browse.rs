//! `coupon-bench browse`: how soon the console shows its pages over a long work list while the pipeline runs at half load,
//! whether members notice the operators, and what an export costs.

mod pages;
mod site;

use anyhow::Result;
use clap::Args;

use self::{pages::Operators, site::Site};
use crate::{
    environment::Environment,
    figures::{
        Goal::{AtLeast, AtMost},
        Unit::{Count, MiB, Ms, PerSecond, Ratio},
    },
    limits::table::{Collected, Row, goal, row},
    load::quantile_ms,
    progress,
    rounds::{Rounds, seconds},
};

const BOTH: &str = "of the run without operators just before it";

const ROWS: &[Row] = &[
    row("browse.entries", "entries of the work list", Count, "and a tenth as many dead letters"),
    row("browse.pages_per_second", "pages opened", PerSecond, "by all operators, without the wait of a slow page"),
    goal("browse.page_p99_ms", "a page at half load, p99", Ms, AtMost(300.0), "over all pages, its last byte"),
    row("browse.page_p50_ms", "a page at half load, p50", Ms, ""),
    row("browse.accepted", "accepted while operators browse", PerSecond, "full load, all services"),
    goal("browse.accepted_ratio", "accepted against none who browse", Ratio, AtLeast(0.98), BOTH),
    row("browse.answer_p99_ms", "answer at half load, p99", Ms, "while operators browse"),
    row("browse.alone_p99_ms", "answer at half load, p99, nobody browses", Ms, ""),
    goal("browse.export_ms", "export of a million decisions", Ms, AtMost(10_000.0), "CSV, nothing else runs"),
    goal("browse.export_mib", "growth of dlq-consumer by an export", MiB, AtMost(32.0), "VmHWM after less before"),
];

/// Arguments: how many rows, how many operators, how long and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench browse --rounds 3 --json browse.json")]
pub struct BrowseArgs {
    /// Entries of the work list.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    entries: u32,
    /// Operators who browse.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    operators: u32,
    /// Seconds between two pages that one operator opens.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    every: f64,
    /// Length of each run, in seconds.
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    rounds: Rounds,
}

/// Measures all rounds on one site, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &BrowseArgs) -> Result<()> {
    let mut site = Site::fill(environment, arguments.entries).await?;
    let operators = Operators::new(&site, arguments.operators, arguments.every).await?;
    let mut collected = Collected::default();
    arguments.rounds.each(async |_| round(&mut site, &operators, arguments, &mut collected).await).await?;
    let figures = [collected.figures(ROWS), operators.figures()].concat();
    arguments.rounds.finish(environment, figures).await
}

async fn round(site: &mut Site, operators: &Operators, asked: &BrowseArgs, collected: &mut Collected) -> Result<()> {
    collected.put("browse.entries", f64::from(asked.entries));
    let (took, grown) = {
        let _running = progress::step("exporting");
        site.export(operators).await?
    };
    collected.put("browse.export_ms", took);
    collected.put("browse.export_mib", grown);

    let full = site.full_load(asked.seconds).await?;
    let (browsed, pages) = operators.while_they_browse(site.full_load(asked.seconds)).await;
    let browsed = browsed?;
    drop(pages);
    collected.put("browse.accepted", browsed);
    collected.put("browse.accepted_ratio", browsed / full);

    let alone = site.half_load(full / 2.0, asked.seconds).await?;
    collected.put("browse.alone_p99_ms", quantile_ms(&alone, 0.99));
    let (answers, pages) = operators.while_they_browse(site.half_load(full / 2.0, asked.seconds)).await;
    let pages = pages?;
    collected.put("browse.answer_p99_ms", quantile_ms(&answers?, 0.99));
    collected.put("browse.pages_per_second", pages.per_second());
    collected.put("browse.page_p50_ms", quantile_ms(&pages.all, 0.5));
    collected.put("browse.page_p99_ms", quantile_ms(&pages.all, 0.99));
    operators.keep(pages);
    Ok(())
}
