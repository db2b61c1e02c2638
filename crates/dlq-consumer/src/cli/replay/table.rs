//! The tables of `replay …`: plans and jobs.

use coupon_core::repo::{
    replay_jobs::{Job, SILENT_AFTER},
    replays::Plan,
};
use coupon_operations::terminal::output::{self, Column, Output};

/// A count of a plan, and what it counts.
type Counted = (String, i64);

const PLAN: &[Column<Counted>] = &[("what", |(what, _)| what.clone()), ("rows", |(_, count)| count.to_string())];

const JOBS: &[Column<Job>] = &[
    ("replay", |job| job.job_id.to_string()),
    ("kind", |job| job.kind.to_string()),
    ("status", status),
    ("eligible", |job| job.eligible.to_string()),
    ("begun", |job| job.begun.to_string()),
    ("issued", |job| job.succeeded.to_string()),
    ("failed", |job| job.failed.to_string()),
    ("under way", |job| job.under_way.to_string()),
    ("refused", |job| job.refused.to_string()),
    ("by", |job| job.created_by.clone()),
    ("reason", |job| job.reason.clone()),
    ("note", |job| job.note.clone()),
];

/// Prints the number of eligible rows, and of refused rows by reason.
pub(super) fn print_plan(plan: &Plan, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(plan);
    }
    let refused = plan.refused.iter().map(|(reason, count)| (reason.clone(), *count));
    let rows: Vec<Counted> = std::iter::once(("eligible".to_owned(), plan.eligible)).chain(refused).collect();
    output::rows(output, &rows, PLAN, PLAN)
}

/// Prints replays, one in a row.
pub(super) fn print_jobs(jobs: &[Job], output: Output) -> anyhow::Result<()> {
    output::rows(output, jobs, JOBS, JOBS)
}

/// Returns the status of a job, and for how long no process has worked on a RUNNING one.
fn status(job: &Job) -> String {
    let silent_after = i64::try_from(SILENT_AFTER.as_secs()).unwrap_or(i64::MAX);
    match job.idle_seconds {
        Some(idle) if idle >= silent_after && job.in_service => {
            format!("{}, but nobody has worked on it for {idle} s: is a dlq-consumer running?", job.status)
        }
        Some(idle) if idle >= silent_after => {
            let resume = format!("dlq-consumer replay resume {} --by NAME", job.job_id);
            format!("{}, but nobody has worked on it for {idle} s: `{resume}`", job.status)
        }
        _ => job.status.to_string(),
    }
}
