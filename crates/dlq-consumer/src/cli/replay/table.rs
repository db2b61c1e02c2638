//! What `replay …` prints: plans and jobs.

use coupon_core::repo::{
    replay_jobs::{Job, SILENT_AFTER},
    replays::Plan,
};
use coupon_operations::terminal::output::{self, Output};

/// Prints what a replay would begin, and why rows are refused.
pub(super) fn print_plan(plan: &Plan, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(plan);
    }
    let mut rows = vec![vec!["eligible".to_owned(), plan.eligible.to_string()]];
    rows.extend(plan.refused.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]));
    output::cells(output, &["what", "rows"], &rows)
}

/// Prints replays, one in a row.
pub(super) fn print_jobs(jobs: &[Job], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(jobs);
    }
    let columns = [
        "replay",
        "kind",
        "status",
        "eligible",
        "begun",
        "issued",
        "failed",
        "under way",
        "refused",
        "by",
        "reason",
        "note",
    ];
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            vec![
                job.job_id.to_string(),
                job.kind.to_string(),
                standing(job),
                job.eligible.to_string(),
                job.begun.to_string(),
                job.succeeded.to_string(),
                job.failed.to_string(),
                job.under_way.to_string(),
                job.refused.to_string(),
                job.created_by.clone(),
                job.reason.clone(),
                job.note.clone(),
            ]
        })
        .collect();
    output::cells(output, &columns, &rows)
}

/// Where a job stands, and whether anybody works on one that runs.
fn standing(job: &Job) -> String {
    let silent_after = i64::try_from(SILENT_AFTER.as_secs()).unwrap_or(i64::MAX);
    match job.idle_seconds {
        Some(idle) if idle >= silent_after => {
            let resume = format!("dlq-consumer replay resume {} --by NAME", job.job_id);
            format!("{}, but nobody has worked on it for {idle} s: `{resume}`", job.status)
        }
        _ => job.status.to_string(),
    }
}
