//! The operators' verbs on the work list: list, show, resolve, ignore. Data on stdout, talk on stderr.

use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::Utc;
use clap::{Args, ValueEnum};
use coupon_core::{
    repo::{
        Database,
        coupons::Actor,
        dead_letters::LetterStatus,
        failed_issues::{FailedStatus, Settled},
    },
    runtime::{LogSettings, telemetry},
};

use crate::config::Config;

mod print;

/// What to list.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dlq-consumer list\n  dlq-consumer list --dead-letters --status HELD --output json"
)]
pub struct ListArgs {
    /// List dead letters instead of requests that were given up.
    #[arg(long)]
    dead_letters: bool,
    /// Only this status: PENDING, RESOLVED, IGNORED; of dead letters RECOVERED, COMPENSATED, DUPLICATE, HELD, PARKED,
    /// RESOLVED, IGNORED.
    #[arg(long)]
    status: Option<String>,
    /// Only this coupon (not with --dead-letters).
    #[arg(long, conflicts_with = "dead_letters")]
    coupon: Option<String>,
    /// Only numbers below this one: the next page.
    #[arg(long)]
    before: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dlq-consumer show 17\n  dlq-consumer show 4 --dead-letter --output json")]
pub struct ShowArgs {
    /// Number on the work list; with --dead-letter, of a dead letter.
    id: i64,
    /// Show a dead letter, as `list --dead-letters` numbers them.
    #[arg(long)]
    dead_letter: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What to settle, and why.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dlq-consumer resolve 17 --reason \"issued by hand, ticket 4711\"\n  dlq-consumer ignore 18 --reason \"a test account\" --by alice"
)]
pub struct SettleArgs {
    /// Number on the work list.
    id: i64,
    /// Why, for whoever looks later: 1 to 2000 bytes.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who decides this; $USER when not given.
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `list`.
pub async fn list(config: &Config, args: ListArgs) -> anyhow::Result<ExitCode> {
    let database = open(config)?;
    let shown = if args.dead_letters {
        let status = match args.status.as_deref().map(str::parse::<LetterStatus>).transpose() {
            Ok(status) => status,
            Err(unknown) => return Ok(usage(unknown)),
        };
        let letters = database.letters(status, args.before, args.limit).await?;
        print::letters(&letters, args.output)?;
        letters.len()
    } else {
        let status = match args.status.as_deref().map(str::parse::<FailedStatus>).transpose() {
            Ok(status) => status,
            Err(unknown) => return Ok(usage(format_args!("{unknown}; dead letters are listed with --dead-letters"))),
        };
        let failed = database.failed_issues(status, args.coupon.as_deref(), args.before, args.limit).await?;
        print::failed_issues(&failed, args.output)?;
        failed.len()
    };
    if i64::try_from(shown).is_ok_and(|shown| shown == args.limit) {
        eprintln!("there may be more: go on with --before and the lowest number");
    }
    Ok(ExitCode::SUCCESS)
}

/// `show`.
pub async fn show(config: &Config, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let database = open(config)?;
    if args.dead_letter {
        let letter = database.letter(args.id).await?;
        print::letter(&letter.with_context(|| format!("there is no dead letter {}", args.id))?, args.output)?;
    } else {
        let failed = database.failed_issue(args.id).await?;
        print::failed_issue(
            &failed.with_context(|| format!("there is no entry {} on the work list", args.id))?,
            args.output,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `resolve`.
pub async fn resolve(config: &Config, args: SettleArgs) -> anyhow::Result<ExitCode> {
    settle(config, args, FailedStatus::Resolved).await
}

/// `ignore`.
pub async fn ignore(config: &Config, args: SettleArgs) -> anyhow::Result<ExitCode> {
    settle(config, args, FailedStatus::Ignored).await
}

async fn settle(config: &Config, args: SettleArgs, to: FailedStatus) -> anyhow::Result<ExitCode> {
    let SettleArgs { id, reason, by } = args;
    let Some(name) = by.filter(|name| !name.is_empty()) else {
        return Ok(usage("nobody to name in the audit: say who with --by"));
    };
    match open(config)?.settle(id, to, Actor { name, now: Utc::now() }, reason).await? {
        Settled::Done => {
            eprintln!("{id} is {to}");
            Ok(ExitCode::SUCCESS)
        }
        Settled::Absent => bail!("there is no entry {id} on the work list"),
        Settled::Not(status) => bail!("entry {id} is {status}, only a PENDING one can become {to}"),
    }
}

/// Wrong usage that only shows when the words are put together: exit code 2, as for all other wrong usage.
fn usage(what: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}

fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.len() {
        0 => Err("it is empty: say why, for whoever looks later".to_owned()),
        1..=2000 => Ok(reason.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, at most 2000 are kept")),
    }
}

fn open(config: &Config) -> anyhow::Result<Database> {
    telemetry::init(&LogSettings { filter: "warn".to_owned(), ..config.log.clone() }, "dlq-consumer");
    Ok(Database::new(&config.database, "dlq-consumer operator")?)
}
