//! `reconcile`, `rebuild`, `campaign archive`.

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use clap::{Args, Subcommand};
use coupon_core::{ids::CouponCode, repo::jobs::ServiceJobStatus, runtime::Escaped};
use coupon_operations::{
    Operations,
    jobs::{Reconciliations, Skipped},
    plans::Change,
    rebuild::{RebuildOptions, RebuildProgress, rebuilt},
    reconcile::{ReconcileOptions, Reconciled, Report, Verdict},
    terminal::{ByArgs, Progress, confirm::confirm, output::Output, reason},
};

use super::follow;
use crate::config::Config;

mod by_service;
mod table;

/// What to reconcile.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer reconcile SPRING\n  dlq-consumer reconcile --apply --by alice --output json"
)]
pub struct ReconcileArgs {
    /// Campaigns; all when none is given
    codes: Vec<CouponCode>,
    /// Put right what differs; without it nothing is changed
    #[arg(long)]
    apply: bool,
    /// How long to wait for the consumers, in seconds; as `reconcile.wait_ms` says when not given
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Show the last reconciliations instead
    #[arg(long, conflicts_with_all = ["apply", "wait"])]
    history: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    operator: ByArgs,
}

/// What to rebuild.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer rebuild SPRING\n  dlq-consumer rebuild SPRING --wait 600 --yes --by alice"
)]
pub struct RebuildArgs {
    /// The campaign; nobody gets a coupon of it meanwhile
    code: CouponCode,
    /// How long each wait may take, for the outbox and for the consumers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Go on although requests are held or parked undecided: they can only be compensated afterwards
    #[arg(long)]
    leave_undecided: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: ByArgs,
}

/// What to do with a campaign.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer campaign archive SPRING --reason \"over since May\"\n  dlq-consumer campaign archive SPRING --reason \"over\" --yes --by alice"
)]
pub struct CampaignArgs {
    #[command(subcommand)]
    command: CampaignCommand,
}

#[derive(Debug, Subcommand)]
enum CampaignCommand {
    /// End a closed campaign for good: its data in Redis goes, its rows are kept
    #[command(
        before_help = "Examples:\n  dlq-consumer campaign archive SPRING --reason \"over since May\"\n  dlq-consumer campaign archive SPRING --reason \"over\" --yes --by alice"
    )]
    Archive(ArchiveArgs),
}

/// What to end.
#[derive(Debug, Args)]
struct ArchiveArgs {
    /// The campaign
    code: CouponCode,
    /// Why, for whoever looks later
    #[arg(long, value_parser = reason)]
    reason: String,
    /// How long to wait for the consumers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: ByArgs,
}

/// Exit code when drift was found and is still there.
const EXIT_DRIFT_LEFT: u8 = 3;
/// Exit code when no difference was found and not every request could be verified; of `rebuild` too, when a wait ended in
/// vain and the same command may work later.
const EXIT_NOT_VERIFIED: u8 = 4;

/// `reconcile`.
pub async fn reconcile(config: &Config, args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    // Where nothing is changed, the name is only for the history.
    let by = if args.apply { args.operator.name()? } else { args.operator.name_or_unknown() };
    let operations = super::operations_of(config, &by).await?;
    if args.history {
        let rows = operations.database.reconciliations().list(args.codes.first(), None, 50).await?;
        table::history(&rows, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let wait = args.wait.map_or(Duration::from_millis(config.reconcile.wait_ms), Duration::from_secs);
    let (Reconciliations { reports, skipped, unknown, .. }, is_any_busy) =
        if args.apply && operations.has_workers().await? {
            (by_service::reconcile(&operations, args.codes, wait).await?, false)
        } else {
            reconcile_each(&operations, args.codes, args.apply, wait).await?
        };
    table::reports(&reports, args.output)?;
    for Skipped { coupon, why, .. } in &skipped {
        eprintln!("{coupon} was not compared: {why}");
    }
    let failed = !unknown.is_empty();
    let mut unverified = is_any_busy || skipped.iter().any(|skipped| !skipped.for_good);
    for report in &reports {
        print_verdict(report, args.apply);
    }
    let left: u64 = reports.iter().map(Report::left).sum();
    unverified |= reports.iter().any(|report| report.waiting_for.is_some());
    Ok(match (left, failed, unverified) {
        (1.., ..) => ExitCode::from(EXIT_DRIFT_LEFT),
        (0, true, _) => ExitCode::FAILURE,
        (0, false, true) => ExitCode::from(EXIT_NOT_VERIFIED),
        (0, false, false) => ExitCode::SUCCESS,
    })
}

/// Compares each campaign in this terminal. Also returns whether one could not be compared, because somebody else is at its data.
async fn reconcile_each(
    operations: &Operations,
    codes: Vec<CouponCode>,
    apply: bool,
    wait: Duration,
) -> anyhow::Result<(Reconciliations, bool)> {
    let codes = if codes.is_empty() { operations.all_campaigns().await? } else { codes };
    let (mut sum, mut is_any_busy) = (Reconciliations::default(), false);
    for coupon in codes {
        let bar = Progress::new("holder entries and rows");
        let options = ReconcileOptions { apply, requeue: apply, wait };
        let reconciled = operations.reconcile(&coupon, options, &|entries, rows| bar.both(entries, rows)).await?;
        bar.end();
        match reconciled {
            Reconciled::Report(report) => sum.reports.push(report),
            Reconciled::Skipped { why, for_good } => {
                sum.skipped.push(Skipped { coupon, why: why.to_owned(), for_good });
            }
            Reconciled::Unknown => {
                print_unknown(&coupon);
                sum.unknown.push(coupon);
            }
            Reconciled::Busy => {
                is_any_busy = true;
                eprintln!("error: somebody else is at the data of {coupon} now; ask again when that has ended");
            }
        }
    }
    Ok((sum, is_any_busy))
}

fn print_unknown(coupon: &CouponCode) {
    eprintln!("error: there is no coupon {coupon}; `issuer-api coupon list` shows them all");
}

fn print_verdict(report: &Report, applied: bool) {
    let code = &report.coupon;
    if let Some(waiting_for) = &report.waiting_for {
        eprintln!("{code}: {} requests could not be judged: {waiting_for}", report.in_flight);
    }
    match report.verdict {
        Verdict::Agree => eprintln!("{code}: redis and postgresql agree"),
        Verdict::Mended => eprintln!("{code}: everything that differed was put right"),
        Verdict::Differ if applied => eprintln!("{code}: {} differences are left", report.left()),
        Verdict::Differ => eprintln!("{code}: {} differences; nothing was changed", report.left()),
        Verdict::Unjudged => eprintln!("{code}: not known; ask again with `dlq-consumer reconcile {code}`"),
    }
}

/// `rebuild`.
pub async fn rebuild(config: &Config, args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let RebuildArgs { code, wait, leave_undecided, yes, operator } = args;
    let what = format!("rebuild {code}: its gate is closed until its data in Redis is as PostgreSQL has it");
    confirm(&what, code.as_str(), yes)?;
    let operations = super::operations_of(config, &operator.name()?).await?;
    let options = RebuildOptions { wait: Duration::from_secs(wait), leave_undecided };
    if operations.has_workers().await? {
        return by_service::rebuild(&operations, code, options).await;
    }
    let bar = Progress::new("holder entries");
    let coupon = operations.rebuild(&code, options, &|progress| show_progress(&bar, &progress)).await;
    bar.end();
    let coupon = match coupon {
        Err(error) if error.is_retryable() => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(EXIT_NOT_VERIFIED));
        }
        ended => ended?,
    };
    eprintln!("{}", rebuilt(&coupon));
    Ok(ExitCode::SUCCESS)
}

fn show_progress(bar: &Progress, progress: &RebuildProgress) {
    match progress {
        RebuildProgress::Resumed(step) => bar.say(&format!("going on with the rebuild that ended while {step}")),
        RebuildProgress::GateClosed => bar.say("the gate is closed"),
        RebuildProgress::Outbox(0) => bar.say("the outbox is empty"),
        RebuildProgress::Outbox(waiting) => bar.wait_for(&format!("{waiting} reservations wait to be published")),
        RebuildProgress::Consumers => bar.say("waiting for the consumers"),
        RebuildProgress::Requeued(requests) => {
            bar.say(&format!("{requests} requests that only redis still knew are published again"));
        }
        RebuildProgress::Epoch(epoch) => bar.say(&format!("epoch {epoch} begins")),
        RebuildProgress::Copied(copied, all) => bar.of(*copied, *all),
        RebuildProgress::Left(status) => bar.say(&format!("nothing was rebuilt; the campaign is {status}")),
    }
}

/// `campaign …`.
pub async fn campaign(config: &Config, args: CampaignArgs) -> anyhow::Result<ExitCode> {
    let CampaignCommand::Archive(ArchiveArgs { code, reason, wait, yes, operator }) = args.command;
    let what = format!("archive {code}: it ends for good, and its data in Redis is deleted");
    confirm(&what, code.as_str(), yes)?;
    let operations = super::operations_of(config, &operator.name()?).await?;
    let wait = Duration::from_secs(wait);
    if operations.has_workers().await? {
        let job = follow::change(&operations, Change::Archive { code }, &reason, Some(wait), &|_| {}).await?;
        ensure!(job.status == ServiceJobStatus::Done, "{}", Escaped(&job.note));
        eprintln!("{}", Escaped(&job.note));
    } else {
        eprintln!("{}", operations.archive(&code, wait, &reason).await?.sentence(&code));
    }
    Ok(ExitCode::SUCCESS)
}
