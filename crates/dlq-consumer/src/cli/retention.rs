//! `purge`: retention by hand.

use coupon_core::repo::retention::Bound;
use coupon_operations::{
    Operations,
    retention::Purged,
    terminal::{
        ByArgs, confirm,
        output::{self, Column, Output},
    },
};
use std::process::ExitCode;

use clap::Args;

const COLUMNS: &[Column<Purged>] =
    &[("table", |purged| purged.table.to_string()), ("rows", |purged| purged.rows.to_string())];

/// What to purge.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer purge --dry-run\n  dlq-consumer purge --older-than-days 90 --yes --by alice"
)]
pub(super) struct PurgeArgs {
    /// Delete nothing, say how many rows may go.
    #[arg(long)]
    dry_run: bool,
    /// How long ago it must have been done with; retention.days when not given.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    older_than_days: Option<u32>,
    #[command(flatten)]
    operator: ByArgs,
    /// Do not ask whether it is meant.
    #[arg(long)]
    yes: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `purge`.
pub(super) async fn purge(operations: &Operations, args: PurgeArgs, days: u32) -> anyhow::Result<ExitCode> {
    let days = args.older_than_days.unwrap_or(days);
    // Only the service knows for sure that nobody publishes decisions.
    let bound = Bound { before: operations.days_ago(days), unpublished: false };
    if args.dry_run {
        let purgeable = operations.purgeable(bound).await?;
        output::rows(args.output, &purgeable, COLUMNS, COLUMNS)?;
        return Ok(ExitCode::SUCCESS);
    }
    let operations = operations.in_the_name_of(args.operator.identity()?);
    confirm::must_be_possible(args.yes)?;
    if !args.yes {
        let rows: i64 = operations.purgeable(bound).await?.iter().map(|purgeable| purgeable.rows).sum();
        confirm::confirm(&format!("{rows} rows older than {days} days will be deleted for good"), "all", args.yes)?;
    }
    let mut gone: Vec<Purged> = Vec::new();
    let purged = operations.purge(bound, |batch| {
        match gone.last_mut().filter(|last| last.table == batch.table) {
            Some(last) => last.rows += batch.rows,
            None => gone.push(batch),
        }
        true
    });
    let purged = purged.await;
    // What is gone is gone, also when it did not come to its end.
    output::rows(args.output, &gone, COLUMNS, COLUMNS)?;
    purged?;
    Ok(ExitCode::SUCCESS)
}
