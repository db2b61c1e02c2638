//! `compensate`.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use coupon_core::{
    clock::{Clock, SystemClock},
    repo::{
        jobs::ServiceJobStatus,
        work_list::{Filter, List, TypedNumber},
    },
    runtime::{Escaped, Usage},
};
use coupon_operations::{
    jobs::ServiceJob,
    plans::Change,
    replay::Compensated,
    terminal::{
        ByArgs, Progress,
        confirm::{confirm, must_be_possible},
        counted, output, reason,
    },
};

use super::{
    filter::{self, FilterArgs},
    follow, operations_of,
};
use crate::config::Config;

/// What to compensate.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer compensate D4 --reason \"the member was paid\"\n  dlq-consumer compensate --coupon SPRING --up-to D120 --reason \"campaign called off\" --yes"
)]
pub struct CompensateArgs {
    /// Numbers of dead letters that are held, or parked and readable, such as D4; without any, all that the filter
    /// chooses, up to the number given with --up-to
    #[arg(value_name = "ID")]
    ids: Vec<TypedNumber>,
    #[command(flatten)]
    filter: FilterArgs,
    /// No higher number, because what came after you looked is not meant; needed without numbers
    #[arg(long, value_name = "ID")]
    up_to: Option<TypedNumber>,
    /// Change nothing, say how many would be compensated, and why others would not
    #[arg(long)]
    dry_run: bool,
    /// Why, for whoever looks later: the entry is RESOLVED with this, and no replay by a filter takes it
    #[arg(long, value_parser = reason, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: ByArgs,
}

/// `compensate`.
pub async fn compensate(config: &Config, args: CompensateArgs) -> anyhow::Result<ExitCode> {
    let CompensateArgs { ids, filter, up_to, dry_run, reason, yes, operator } = args;
    // A bound alone is no choice: it would mean everything that waits.
    if ids.is_empty() && !filter.is_given() {
        let sentence = "say which: numbers, or a filter such as --coupon CODE with --up-to ID";
        return Err(Usage(sentence.to_owned()).into());
    }
    if ids.is_empty() && up_to.is_none() {
        let sentence = "a filter needs --up-to ID, the highest number you have seen: what comes later is not meant";
        return Err(Usage(sentence.to_owned()).into());
    }
    let (ids, up_to) = (filter::ids(&ids, List::DlqEvents)?, filter::bound(up_to, List::DlqEvents)?);
    let name = filter.coupon.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
    let filter = Filter { ids, up_to, ..filter.filter(SystemClock.now()) };
    let by = if dry_run { operator.name_or_unknown() } else { operator.name()? };
    if !dry_run {
        must_be_possible(yes)?;
    }
    let operations = operations_of(config, &by).await?;
    let mut plan = operations.plan_compensation(&filter).await?;
    let is_by_numbers = !filter.ids.is_empty();
    if !is_by_numbers {
        // A filter means what is undecided.
        plan.refused.remove("DECIDED");
    }
    let refused = filter::refused(&plan);
    if plan.eligible == 0 {
        if !filter::says_mistyped(&operations, List::DlqEvents, &filter).await? {
            eprintln!(
                "no dead letter is meant that can be compensated (refused: {refused}); `dlq-consumer list --dead-letters --status HELD` and `--status PARKED` show them"
            );
        }
        return Ok(ExitCode::FAILURE);
    }
    let requests = counted(plan.eligible, "request", "requests");
    if dry_run {
        output::put(&format!("{requests} would be compensated, refused: {refused}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let what = format!("compensate {requests} (refused: {refused}): their members lose what they were promised");
    confirm(&what, &name, yes)?;
    let filter = Filter { up_to: Some(plan.up_to), ..filter };
    let bar = Progress::new("requests");
    let all = u64::try_from(plan.eligible).unwrap_or(0);
    let progress = |sum: &Compensated| bar.of(sum.compensated + sum.decided_before + sum.left, all);
    let reason = reason.unwrap_or_default();
    let sum = if !is_by_numbers && operations.has_workers().await? {
        let sum = |job: &ServiceJob| serde_json::from_value::<Compensated>(job.progress.clone()).unwrap_or_default();
        let on_progress = |job: &ServiceJob| progress(&sum(job));
        let job = follow::change(&operations, Change::Compensate { filter }, &reason, None, &on_progress).await;
        job.and_then(|job| {
            ensure!(job.status == ServiceJobStatus::Done, "{}", Escaped(&job.note));
            Ok(sum(&job))
        })
    } else {
        operations.compensate(&filter, &reason, &progress).await.map_err(anyhow::Error::from)
    };
    bar.end();
    let sum = sum?;
    eprintln!(
        "{} compensated, {} had been decided before, {} left as they are",
        sum.compensated, sum.decided_before, sum.left
    );
    let is_whole = sum.left == 0 && (!is_by_numbers || plan.refused.is_empty());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
