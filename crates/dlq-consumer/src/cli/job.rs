//! `job …`: what services do for operators, seen and cancelled. Replays have `replay …`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use coupon_operations::{
    OperationsError,
    jobs::ServiceJob,
    terminal::{
        ByArgs,
        output::{self, Column, Output, time},
        reason,
    },
};

use super::{operations, operations_of};
use crate::config::Config;

/// Jobs shown without a number.
const SHOWN_JOBS: i64 = 50;

/// What to do with a job.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Show jobs that services do for operators, newest first, or one; replays have `replay status`
    #[command(before_help = "Examples:\n  dlq-consumer job status\n  dlq-consumer job status 3 --output json")]
    Status {
        /// Which one
        job: Option<i64>,
        /// How to print
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// End a job for good, wherever it runs; it stops before the next batch, and what it has done stays
    #[command(
        before_help = "Examples:\n  dlq-consumer job cancel 3 --reason \"wrong coupon\"\n  dlq-consumer job cancel 3 --reason \"by mistake\" --by alice"
    )]
    Cancel {
        /// Which one
        job: i64,
        /// Why
        #[arg(long, value_parser = reason)]
        reason: String,
        #[command(flatten)]
        operator: ByArgs,
    },
}

const JOBS: &[Column<ServiceJob>] = &[
    ("job", |job| job.job_id.to_string()),
    ("what", |job| job.change.verb().to_owned()),
    ("of", |job| job.change.name()),
    ("status", |job| job.status.to_string()),
    ("done", |job| job.progress["done"].as_i64().map(|done| done.to_string()).unwrap_or_default()),
    ("of all", |job| job.progress["total"].as_i64().map(|total| total.to_string()).unwrap_or_default()),
    ("worker", |job| job.worker.clone().unwrap_or_default()),
    ("silent for s", |job| job.idle_seconds.map(|seconds| seconds.to_string()).unwrap_or_default()),
    ("by", |job| job.created_by.clone()),
    ("at", |job| time(job.created_at)),
    ("reason", |job| job.reason.clone()),
    ("note", |job| job.note.clone()),
];

/// `job …`.
pub(super) async fn job(config: &Config, args: JobArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        JobCommand::Status { job: None, output } => {
            let jobs = operations(config).await?.service_jobs(None, SHOWN_JOBS).await?;
            output::rows(output, &jobs, JOBS, JOBS)?;
        }
        JobCommand::Status { job: Some(job), output } => {
            let found = operations(config).await?.service_job(job).await?;
            output::rows(output, &[found.ok_or(OperationsError::UnknownJob(job))?], JOBS, JOBS)?;
        }
        JobCommand::Cancel { job, reason, operator } => {
            operations_of(config, &operator.name()?).await?.cancel_service_job(job, &reason).await?;
            eprintln!("job {job} is cancelled");
        }
    }
    Ok(ExitCode::SUCCESS)
}
