//! `list`, `show`, `stats`, `causes`, `audit`: looking.

use std::process::ExitCode;

use anyhow::Context;
use chrono::TimeDelta;
use clap::Args;
use coupon_core::repo::{audit::AuditFilter, filter::Filter, settling::List};

use super::{
    desk,
    filter::{self, FilterArgs},
    print::{self, Output, entries, figures, letters},
};
use crate::{config::Config, desk::Desk};

/// What to list.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer list --coupon SPRING --since 2h\n  dlq-consumer list --dead-letters --status HELD --output json"
)]
pub(super) struct ListArgs {
    /// List dead letters instead of requests that were given up.
    #[arg(long, alias = "dead-letter")]
    dead_letters: bool,
    /// Only this status: PENDING, RESOLVED, IGNORED; of dead letters RECOVERED, COMPENSATED, DUPLICATE, HELD, PARKED,
    /// RESOLVED, IGNORED.
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    which: FilterArgs,
}

/// What to show.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  dlq-consumer show 17\n  dlq-consumer show 4 --dead-letter --output json")]
pub(super) struct ShowArgs {
    /// Number on the work list; with --dead-letter, of a dead letter.
    id: i64,
    /// Show a dead letter, as `list --dead-letters` numbers them.
    #[arg(long, alias = "dead-letters")]
    dead_letter: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How to print the figures.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  dlq-consumer stats\n  dlq-consumer stats --output json")]
pub(super) struct StatsArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What to group.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer causes --status PENDING\n  dlq-consumer causes --dead-letters --since 1h --output csv"
)]
pub(super) struct CausesArgs {
    /// Group dead letters instead of requests that were given up.
    #[arg(long, alias = "dead-letter")]
    dead_letters: bool,
    /// Only this status.
    #[arg(long)]
    status: Option<String>,
    /// At most so many causes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    which: FilterArgs,
}

/// Which changes to read.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer audit --subject failed_coupon_issues/17\n  dlq-consumer audit --by alice --verb ignore --limit 10"
)]
pub(super) struct AuditArgs {
    /// Only what was done to this, such as coupons/SPRING, or to all of its kind, such as coupons.
    #[arg(long)]
    subject: Option<String>,
    /// Only by this person.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only by this verb, such as resolve or coupon.close.
    #[arg(long)]
    verb: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// One page, and how to print it.
#[derive(Debug, Args)]
struct PageArgs {
    /// Only numbers below this one: the next page.
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `list`.
pub(super) async fn list(desk: &Desk, args: ListArgs) -> anyhow::Result<ExitCode> {
    let ListArgs { dead_letters, status, page, which } = args;
    let list = filter::list(dead_letters);
    let filter = Filter { status: filter::status(list, status)?, ..which.filter(desk.clock.now()) };
    let numbers: Vec<i64> = match list {
        List::Requests => {
            let rows = desk.database.failed_issues(&filter, page.before, page.limit).await?;
            print::rows(page.output, &rows, entries::TABLE, entries::CSV)?;
            rows.iter().map(|row| row.id).collect()
        }
        List::Letters => {
            let rows = desk.database.letters(&filter, page.before, page.limit).await?;
            print::rows(page.output, &rows, letters::TABLE, letters::CSV)?;
            rows.iter().map(|row| row.id).collect()
        }
    };
    Ok(page.ended(&numbers))
}

/// `show`.
pub(super) async fn show(desk: &Desk, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let ShowArgs { id, dead_letter, output } = args;
    if dead_letter {
        let letter = desk.letter(id).await?.with_context(|| format!("there is no dead letter {id}"))?;
        letters::show(output, &letter)?;
    } else {
        let entry = desk.entry(id).await?.with_context(|| format!("there is no entry {id} on the work list"))?;
        entries::show(output, &entry)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `stats`.
pub(super) async fn stats(config: &Config, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let digest = TimeDelta::milliseconds(config.alarms.digest_ms.try_into().unwrap_or(i64::MAX));
    figures::stats(args.output, &desk(config).await?.stats(digest).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// `causes`.
pub(super) async fn causes(desk: &Desk, args: CausesArgs) -> anyhow::Result<ExitCode> {
    let CausesArgs { dead_letters, status, limit, output, which } = args;
    let list = filter::list(dead_letters);
    let filter = Filter { status: filter::status(list, status)?, ..which.filter(desk.clock.now()) };
    let causes = desk.database.causes(list, &filter, limit).await?;
    print::rows(output, &causes, figures::CAUSES, figures::CAUSES)?;
    Ok(ExitCode::SUCCESS)
}

/// `audit`.
pub(super) async fn audit(desk: &Desk, args: AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditArgs { subject, by, verb, page } = args;
    let filter = AuditFilter { subject, actor: by, verb };
    let rows = desk.database.audit(&filter, page.before, page.limit).await?;
    print::rows(page.output, &rows, figures::AUDIT, figures::AUDIT)?;
    Ok(page.ended(&rows.iter().map(|row| row.id).collect::<Vec<_>>()))
}

impl PageArgs {
    /// Says how to go on when the page is full. Numbers as they were printed, the lowest last.
    fn ended(&self, numbers: &[i64]) -> ExitCode {
        if let Some(lowest) = numbers.last().filter(|_| i64::try_from(numbers.len()).is_ok_and(|n| n == self.limit)) {
            eprintln!("there may be more: go on with --before {lowest}");
        }
        ExitCode::SUCCESS
    }
}
