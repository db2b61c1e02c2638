//! `list`, `show`, `stats`, `causes`, `audit`: the verbs that change nothing.

use std::process::ExitCode;

use anyhow::bail;
use chrono::TimeDelta;
use clap::Args;
use coupon_core::{
    repo::{
        audit::AuditFilter,
        work_list::{Filter, List, TypedNumber},
    },
    runtime::Escaped,
};
use coupon_operations::{
    Operations,
    terminal::output::{self, Output},
    work_list::{self, absent},
};

use super::{
    filter::{self, FilterArgs},
    operations,
};
use crate::cli::columns::{dead_letters, entries, figures};
use crate::config::Config;

/// What to list.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer list --coupon SPRING --since 2h\n  dlq-consumer list --dead-letters --status HELD --output json"
)]
pub(super) struct ListArgs {
    /// List dead letters instead of compensated requests.
    #[arg(long, alias = "dead-letter")]
    dead_letters: bool,
    /// Only this status: PENDING, RESOLVED, IGNORED; of dead letters RECOVERED, COMPENSATED, DUPLICATE, HELD, PARKED,
    /// RESOLVED, IGNORED.
    #[arg(long)]
    status: Option<String>,
    /// Print reasons whole.
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    which: FilterArgs,
}

/// What to show.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  dlq-consumer show E17\n  dlq-consumer show D4 --output json")]
pub(super) struct ShowArgs {
    /// Number, such as E17 of an entry or D4 of a dead letter; a plain one is of the work list.
    id: TypedNumber,
    /// A plain number is of a dead letter.
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
    /// Group dead letters instead of compensated requests.
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
    before_help = "Examples:\n  dlq-consumer audit --subject E17\n  dlq-consumer audit --by alice --verb ignore --limit 10"
)]
pub(super) struct AuditArgs {
    /// Only what was done to this, such as E17, D4 or coupons/SPRING, or to all of its kind, such as coupons.
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
    before: Option<TypedNumber>,
    /// Most rows to print.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `list`.
pub(super) async fn list(operations: &Operations, args: ListArgs) -> anyhow::Result<ExitCode> {
    let ListArgs { dead_letters, status, wide, page, which } = args;
    let list = filter::list(dead_letters);
    let filter = Filter { status: filter::status(list, status)?, ..which.filter(operations.clock.now()) };
    let before = filter::bound(page.before, list)?;
    let numbers: Vec<i64> = match list {
        List::Requests => {
            let rows = operations.database.failed_coupon_issues().list(&filter, before, page.limit).await?;
            output::rows(page.output, &rows, &entries::table(wide), entries::CSV)?;
            rows.iter().map(|row| row.id).collect()
        }
        List::DlqEvents => {
            let rows = operations.database.dlq_events().list(&filter, before, page.limit).await?;
            output::rows(page.output, &rows, &dead_letters::table(wide), dead_letters::CSV)?;
            rows.iter().map(|row| row.id).collect()
        }
    };
    if numbers.is_empty() && filter::says_mistyped(operations, list, &filter).await? {
        return Ok(ExitCode::FAILURE);
    }
    Ok(page.ended(&numbers, |id| list.number(id).to_string()))
}

/// `show`.
pub(super) async fn show(operations: &Operations, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let ShowArgs { id, dead_letter, output } = args;
    let number = filter::numbers(&[id], dead_letter)?[0];
    let is_shown = match number.list {
        List::Requests => match operations.entry(number.id).await? {
            Some(entry) => entries::show(output, &entry).map(|()| true)?,
            None => false,
        },
        List::DlqEvents => match operations.dead_letter(number.id).await? {
            Some(letter) => dead_letters::show(output, &letter).map(|()| true)?,
            None => false,
        },
    };
    if is_shown {
        return Ok(ExitCode::SUCCESS);
    }
    let other = number.list.other();
    let is_other = !operations.database.work_list().statuses(other, &[number.id]).await?.is_empty();
    bail!("{}", absent(number, is_other))
}

/// `stats`.
pub(super) async fn stats(config: &Config, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let digest = TimeDelta::milliseconds(config.alarms.digest_ms.try_into().unwrap_or(i64::MAX));
    figures::stats(args.output, &operations(config).await?.stats(digest).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// `causes`.
pub(super) async fn causes(operations: &Operations, args: CausesArgs) -> anyhow::Result<ExitCode> {
    let CausesArgs { dead_letters, status, limit, output, which } = args;
    let list = filter::list(dead_letters);
    let filter = Filter { status: filter::status(list, status)?, ..which.filter(operations.clock.now()) };
    let causes = operations.database.work_list().causes(list, &filter, limit).await?;
    output::rows(output, &causes, &figures::causes(list), figures::CAUSES)?;
    if causes.is_empty() && filter::says_mistyped(operations, list, &filter).await? {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// `audit`.
pub(super) async fn audit(operations: &Operations, args: AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditArgs { subject, by, verb, page } = args;
    // As it is numbered, or as the audit has it.
    let number = subject.as_deref().and_then(|subject| subject.parse::<TypedNumber>().ok());
    let number = number.and_then(|typed| Some(typed.list?.number(typed.id)));
    let filter =
        AuditFilter { subject: number.map(work_list::subject).or(subject), actor: by, verb, ..AuditFilter::default() };
    let before = page.before.map(|before| before.id);
    let rows = operations.database.audit().list(&filter, before, page.limit).await?;
    output::rows(page.output, &rows, &figures::audit(), figures::AUDIT_CSV)?;
    if let Some(subject) = filter.subject.filter(|_| rows.is_empty())
        && !operations.database.audit().has_subject(&subject).await?
    {
        let hint = "name it as E17, D4 or coupons/SPRING, or its kind, such as coupons";
        eprintln!("nothing was ever done to {}: {hint}", Escaped(&subject));
        return Ok(ExitCode::FAILURE);
    }
    Ok(page.ended(&rows.iter().map(|row| row.id).collect::<Vec<_>>(), |id| id.to_string()))
}

impl PageArgs {
    /// Prints the command of the next page when this one is full. `numbers` are in the order of printing, the lowest last.
    fn ended(&self, numbers: &[i64], named: impl Fn(i64) -> String) -> ExitCode {
        if let Some(lowest) = numbers.last().filter(|_| i64::try_from(numbers.len()).is_ok_and(|n| n == self.limit)) {
            eprintln!("there may be more: go on with --before {}", named(*lowest));
        }
        ExitCode::SUCCESS
    }
}
