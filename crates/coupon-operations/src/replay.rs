//! Replays of many requests: a compensated request goes through the reservation script with a new, linked request id; a
//! held or parked dead letter is written with its own. A job in PostgreSQL has the progress, so any process can go on with
//! it.

use coupon_core::{
    event::VERSION,
    repo::{
        replay_jobs::{Job, JobKind, JobStatus, NewJob, SILENT_AFTER},
        replays::Plan,
        work_list::Filter,
    },
};

use crate::{Operations, OperationsError};

mod compensate;
mod dead_letters;
mod requests;
mod work;

pub use compensate::Compensated;
pub(crate) use work::outage_backoff;

/// The request for a replay job.
#[derive(Clone, Debug)]
pub struct Request {
    /// Entries of the work list, or dead letters.
    pub kind: JobKind,
    /// The choice of rows.
    pub filter: Filter,
    /// Whether rows of a closed campaign, or after its window, are replayed too.
    pub after_close: bool,
    /// Most rows begun in a second.
    pub per_second: f64,
    /// The reason, for the audit.
    pub reason: String,
}

impl Request {
    /// Returns the job of this request, up to the highest number of its plan.
    pub(crate) fn into_job(self, plan: &Plan, in_service: bool) -> NewJob {
        NewJob {
            kind: self.kind,
            up_to: plan.up_to,
            filter: Filter { up_to: Some(plan.up_to), ..self.filter },
            per_second: self.per_second,
            after_close: self.after_close,
            eligible: plan.eligible,
            chosen: plan.chosen(),
            reason: self.reason,
            in_service,
        }
    }
}

impl Operations {
    /// Returns how many rows of a request are eligible, and why others are refused. Changes nothing.
    pub async fn plan_replay(&self, request: &Request) -> Result<Plan, OperationsError> {
        Ok(match request.kind {
            JobKind::Requests => {
                self.database.replays().plan(&request.filter, request.after_close, self.clock.now()).await?
            }
            JobKind::DlqEvents => {
                self.database.dlq_events().plan_replay(&request.filter, VERSION, self.events.refused_codes()).await?
            }
        })
    }

    /// Creates a job for a request and returns its id. With `in_service` the services work on it, else nothing is replayed
    /// before [`Operations::work_replay`].
    pub async fn create_replay(&self, request: Request, plan: &Plan, in_service: bool) -> Result<i64, OperationsError> {
        Ok(self.database.replay_jobs().create(request.into_job(plan, in_service), self.me()).await?)
    }

    /// Returns a job.
    pub async fn job(&self, job: i64) -> Result<Job, OperationsError> {
        self.database.replay_jobs().find(job).await?.ok_or(OperationsError::UnknownReplay(job))
    }

    /// Pauses a job; its worker, in whatever process, stops before the next row.
    pub async fn pause_replay(&self, job: i64, reason: String) -> Result<(), OperationsError> {
        self.move_job(job, &[JobStatus::Running, JobStatus::Paused], JobStatus::Paused, reason, "paused").await
    }

    /// Cancels a job for good. The requests that it has begun go on.
    pub async fn cancel_replay(&self, job: i64, reason: String) -> Result<(), OperationsError> {
        const FROM: &[JobStatus] = &[JobStatus::Running, JobStatus::Paused, JobStatus::Stopped, JobStatus::Cancelled];
        self.move_job(job, FROM, JobStatus::Cancelled, reason, "cancelled").await
    }

    /// Sets a job to RUNNING. The services go on with it if any works on jobs, else [`Operations::work_replay`] has to; the
    /// job says which. One that a terminal is at stays there.
    pub async fn resume_replay(&self, job: i64, reason: String) -> Result<(), OperationsError> {
        const FROM: &[JobStatus] = &[JobStatus::Running, JobStatus::Paused, JobStatus::Stopped];
        let before = self.job(job).await?;
        self.move_job(job, FROM, JobStatus::Running, reason, "resumed").await?;
        let silent_after = i64::try_from(SILENT_AFTER.as_secs()).unwrap_or(i64::MAX);
        let in_terminal = !before.in_service && before.idle_seconds.is_some_and(|idle| idle < silent_after);
        if !in_terminal {
            self.database.replay_jobs().hand_over(job, self.has_workers().await?, &self.by).await?;
            crate::jobs::tell_of_job();
        }
        Ok(())
    }

    async fn move_job(
        &self,
        job: i64,
        from: &'static [JobStatus],
        to: JobStatus,
        reason: String,
        wish: &'static str,
    ) -> Result<(), OperationsError> {
        if self.database.replay_jobs().set_status(job, None, from, to, reason, self.me()).await? {
            return Ok(());
        }
        let found = self.job(job).await?;
        Err(OperationsError::ReplayStatus { job, status: found.status, wish })
    }
}
