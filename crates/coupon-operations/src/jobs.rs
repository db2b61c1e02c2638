//! Jobs that services work on for operators, so that nobody waits for them in a terminal.

use std::time::Duration;

use chrono::{DateTime, Utc};
use coupon_core::repo::{
    RepoError,
    jobs::{JobRow, ServiceJobKind, ServiceJobStatus},
    plans::NewPlanJob,
    replays::Plan,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    Operations, OperationsError,
    plans::{Change, new_job},
};

mod campaigns;
mod rows;
mod work;

pub use campaigns::{RebuildSteps, Reconciliations, Skipped};

/// A job by its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobRef {
    /// A replay of this number.
    Replay(i64),
    /// Another job of this number.
    Job(i64),
}

/// A job that is no replay.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceJob {
    /// Number.
    pub job_id: i64,
    /// Kind.
    pub kind: ServiceJobKind,
    /// Status.
    pub status: ServiceJobStatus,
    /// Change that it makes.
    pub change: Change,
    /// How far it is, as its kind writes it: `done`, `total`, `refused` by reason where it is about rows.
    pub progress: serde_json::Value,
    /// Why it stands where it stands, or how it ended.
    pub note: String,
    /// Reason that the operator gave.
    pub reason: String,
    /// Who asked for it.
    pub created_by: String,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    /// Seconds since its worker last said that it works on it, while it is RUNNING.
    pub idle_seconds: Option<i64>,
    /// Process that works on it.
    pub worker: Option<String>,
}

impl ServiceJob {
    /// Returns the job of a row; `None`: a newer build has written it, and this one cannot read what it does.
    fn of(row: JobRow) -> Option<Self> {
        let change = serde_json::from_value(row.parameters)
            .inspect_err(|error| tracing::warn!(job = row.job_id, "a job cannot be read: {error}"))
            .ok()?;
        Some(Self {
            job_id: row.job_id,
            kind: row.kind,
            status: row.status,
            change,
            progress: row.progress,
            note: row.note,
            reason: row.reason,
            created_by: row.asked_by.0.name,
            created_at: row.created_at,
            updated_at: row.updated_at,
            idle_seconds: row.idle_seconds,
            worker: row.worker,
        })
    }
}

/// Wakes the workers of this process when it has made a job, so that nobody waits for their next look.
static MADE: Notify = Notify::const_new();

/// Returns when this process has made a job, or resumed one, since the last call.
pub async fn made_here() {
    MADE.notified().await;
}

/// Tells the workers of this process of a job.
pub(crate) fn tell_of_job() {
    MADE.notify_one();
}

impl Operations {
    /// Whether any service works on jobs now; else a command has to do its work itself.
    pub async fn has_workers(&self) -> Result<bool, RepoError> {
        self.database.jobs().has_workers().await
    }

    /// Starts a change as a job of the services, without a plan: for the command line. `wait` is the longest wait for the
    /// consumers of a reconciliation, a rebuild or an archive.
    pub async fn start(&self, change: Change, reason: &str, wait: Option<Duration>) -> Result<JobRef, OperationsError> {
        let judged = self.judge(change, false).await?;
        let (eligible, up_to) = (judged.eligible.unwrap_or(0), judged.up_to.unwrap_or(0));
        let plan = Plan { eligible, refused: judged.refused, up_to, at_least: judged.at_least };
        let mut me = self.me();
        reason.clone_into(&mut me.by.reason);
        let job = match new_job(&judged.change, reason, &plan, wait.map(|wait| wait.as_secs())) {
            NewPlanJob::Replay(new) => JobRef::Replay(self.database.replay_jobs().create(*new, me).await?),
            NewPlanJob::Service(new) => JobRef::Job(self.database.jobs().create(new, me).await?),
        };
        tell_of_job();
        Ok(job)
    }

    /// Returns a job.
    pub async fn service_job(&self, job: i64) -> Result<Option<ServiceJob>, RepoError> {
        Ok(self.database.jobs().find(job).await?.and_then(ServiceJob::of))
    }

    /// Returns up to `limit` jobs below the number `before`, newest first.
    pub async fn service_jobs(&self, before: Option<i64>, limit: i64) -> Result<Vec<ServiceJob>, RepoError> {
        let rows = self.database.jobs().list(before, limit).await?;
        Ok(rows.into_iter().filter_map(ServiceJob::of).collect())
    }

    /// Cancels a job; its worker, in whatever process, stops before the next batch. What it has done stays.
    pub async fn cancel_service_job(&self, job: i64, note: &str) -> Result<(), OperationsError> {
        let to = ServiceJobStatus::Cancelled;
        if self.database.jobs().end(job, None, to, note.to_owned(), self.me()).await? {
            return Ok(());
        }
        match self.database.jobs().find(job).await? {
            None => Err(OperationsError::UnknownJob(job)),
            Some(found) if found.status == to => Ok(()),
            Some(found) => Err(OperationsError::JobEnded { job, status: found.status, wish: "cancelled" }),
        }
    }

    /// Changes the rate of a replay; its worker takes it up within seconds.
    pub async fn set_replay_rate(&self, job: i64, per_second: f64) -> Result<(), OperationsError> {
        let per_second = per_second.clamp(0.01, 10_000.0);
        if self.database.replay_jobs().set_rate(job, per_second, self.me()).await? {
            return Ok(());
        }
        let found = self.job(job).await?;
        Err(OperationsError::ReplayStatus { job, status: found.status, wish: "given another rate" })
    }
}
