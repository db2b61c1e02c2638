//! `replay …`.

use std::{collections::BTreeSet, process::ExitCode};

use coupon_core::{
    clock::{Clock, SystemClock},
    ids::CouponCode,
    repo::{
        failed_coupon_issues::FailedIssueStatus,
        replay_jobs::{Job, JobKind, JobStatus},
        work_list::{Filter, List},
    },
    runtime::{Escaped, chain},
};
use coupon_operations::{
    Operations,
    replay::Request,
    terminal::{Progress, confirm::confirm, output::Output},
};

use super::{filter, follow, operations, operations_of, settling::rows};
use crate::config::Config;

mod args;
mod table;

use args::{JobArgs, JobCommand, NewArgs, ResumeArgs};
use table::{print_jobs, print_plan};

pub use args::ReplayArgs;

/// `replay …`.
pub async fn replay(config: &Config, args: ReplayArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => begin(config, args.new).await,
        Some(JobCommand::Status { job, output }) => {
            let operations = operations(config).await?;
            let jobs = match job {
                Some(job) => vec![operations.job(job).await?],
                None => operations.database.replay_jobs().list(None, 50).await?,
            };
            print_jobs(&jobs, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Pause(JobArgs { job, reason, operator })) => {
            operations_of(config, &operator.name()?).await?.pause_replay(job, reason).await?;
            eprintln!("replay {job} is paused; `dlq-consumer replay resume {job} --by NAME` goes on with it");
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Cancel(JobArgs { job, reason, operator })) => {
            operations_of(config, &operator.name()?).await?.cancel_replay(job, reason).await?;
            eprintln!("replay {job} is cancelled");
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Resume(ResumeArgs { job: JobArgs { job, reason, operator }, yes: _ })) => {
            let operations = operations_of(config, &operator.name()?).await?;
            operations.resume_replay(job, reason).await?;
            work(&operations, job, Output::Table).await
        }
    }
}

async fn begin(config: &Config, args: NewArgs) -> anyhow::Result<ExitCode> {
    // A number of a dead letter says it too.
    let dead_letters = args.dead_letters || args.ids.iter().any(|id| id.list == Some(List::DlqEvents));
    let list = filter::list(dead_letters);
    let kind = if dead_letters { JobKind::DlqEvents } else { JobKind::Requests };
    let coupon = args.filter.coupon.clone();
    let (ids, up_to) = (filter::ids(&args.ids, list)?, filter::bound(args.up_to, list)?);
    let mut filter = Filter { ids, up_to, ..args.filter.filter(SystemClock.now()) };
    // Named rows are judged one by one, so that the answer says what is wrong with them.
    if filter.ids.is_empty() && kind == JobKind::Requests {
        filter = filter.of_status(FailedIssueStatus::Pending);
    }
    let request = Request {
        kind,
        filter,
        after_close: args.after_close,
        per_second: args.per_second,
        reason: args.reason.unwrap_or_default(),
    };
    let by = if args.dry_run { args.operator.name_or_unknown() } else { args.operator.name()? };
    let operations = operations_of(config, &by).await?;
    let plan = operations.plan_replay(&request).await?;
    eprintln!("{} can be replayed, refused: {}", plan.eligible, filter::refused(&plan));
    let are_named = !request.filter.ids.is_empty();
    let is_nothing_meant = plan.eligible == 0 && plan.refused.is_empty();
    if is_nothing_meant && filter::says_mistyped(&operations, list, &request.filter).await? {
        return Ok(ExitCode::FAILURE);
    }
    if args.dry_run {
        if kind == JobKind::Requests && plan.eligible > 0 {
            note_coupons_left(&operations, coupon.as_ref(), plan.eligible).await;
        }
        print_plan(&plan, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if plan.eligible == 0 {
        eprintln!("there is nothing to replay");
        // A filter may rightly choose none; a number that was named is meant.
        return Ok(if plan.refused.is_empty() && !are_named { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let name = coupon.map_or_else(|| "all".to_owned(), |code| code.to_string());
    let what = format!("replay {} up to number {}", rows(list, plan.eligible), list.number(plan.up_to));
    confirm(&what, &name, args.yes)?;
    let job = operations.create_replay(request, &plan, operations.has_workers().await?).await?;
    eprintln!("this is replay {job}; `dlq-consumer replay pause {job} --by NAME` stops it from anywhere");
    work(&operations, job, args.output).await
}

/// Notes on stderr how many of the eligible requests the coupons left in Redis are enough for: the plan comes from PostgreSQL,
/// which does not know that. Each request takes a coupon anew, and ends `SOLD_OUT` when there is none.
async fn note_coupons_left(operations: &Operations, coupon: Option<&CouponCode>, eligible: i64) {
    let Some(code) = coupon else {
        eprintln!(
            "note: whether coupons are left is only looked at with --coupon; a request ends SOLD_OUT where none is"
        );
        return;
    };
    match operations.stock.view(code).await {
        Ok(Some(view)) if view.total - view.issued < eligible => {
            let left = (view.total - view.issued).max(0);
            eprintln!("note: {code} has {left} left now, so {} of them would end SOLD_OUT", eligible - left);
        }
        Ok(Some(_)) => {}
        Ok(None) => eprintln!("note: Redis has no data of {code}, so no request can be replayed before a rebuild"),
        Err(error) => eprintln!("note: whether coupons of {code} are left is not known: {}", chain(&error)),
    }
}

/// Works on a job, or follows the services that do, and prints its end; exit code 1 unless every row asked for is issued.
async fn work(operations: &Operations, job: i64, output: Output) -> anyhow::Result<ExitCode> {
    let bar = Progress::new("replays");
    let on_progress = |job: &Job| {
        let (done, all) = progress(job);
        bar.of(done, all);
    };
    let ended = if operations.job(job).await?.in_service {
        follow::replay(operations, job, &on_progress).await
    } else {
        operations.work_replay(job, &on_progress).await.map_err(anyhow::Error::from)
    };
    bar.end();
    let job = ended?;
    print_jobs(std::slice::from_ref(&job), output)?;
    let note = if job.note.is_empty() { String::new() } else { format!(": {}", Escaped(&job.note)) };
    eprintln!("replay {} is {}{note}", job.job_id, job.status);
    Ok(if is_whole(&job) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the rows of a job that were begun or refused, and all that its filter chose.
fn progress(job: &Job) -> (u64, u64) {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    (count(job.begun), count(job.chosen))
}

/// Whether every row asked for is issued. Each named row has to have been eligible.
fn is_whole(job: &Job) -> bool {
    let named: BTreeSet<i64> = job.filter.ids.iter().copied().collect();
    let are_all_eligible = named.is_empty() || usize::try_from(job.eligible).is_ok_and(|count| count == named.len());
    job.status == JobStatus::Done && job.failed == 0 && job.under_way == 0 && are_all_eligible
}
