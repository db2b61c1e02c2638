//! The work of a service on jobs: a worker claims one, keeps it by heartbeats, and works until it has ended. A worker that has
//! lost its job stops; whoever drops the work may let the job go, so that another worker claims it at once.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coupon_core::{
    ids::CouponCode,
    repo::{
        jobs::{Beat, JobRow, ServiceJobStatus},
        replay_jobs::{Hold, JobStatus},
    },
    retry::Backoff,
    runtime::chain,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::ServiceJob;
use crate::{Operations, OperationsError, plans::Change, replay::outage_backoff};

/// Time between two heartbeats of a job.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(2);
/// Time between two looks at whether the progress has changed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// A worker at a job.
pub(super) struct Turn<'a> {
    pub(super) operations: &'a Operations,
    pub(super) job_id: i64,
    pub(super) worker: String,
    /// Progress that is to be shown, where the work does not write it itself.
    shown: Mutex<Option<Value>>,
}

impl Operations {
    /// Records that a process works on jobs, for [`Operations::has_workers`].
    pub async fn note_worker(&self, worker: &str) -> Result<(), OperationsError> {
        Ok(self.database.jobs().note_worker(worker.to_owned()).await?)
    }

    /// Lets every job of a process go, and forgets the process: it stops.
    pub async fn stop_working(&self, worker: &str) -> Result<(), OperationsError> {
        self.database.jobs().forget_worker(worker.to_owned()).await?;
        self.database.jobs().release(worker.to_owned()).await?;
        Ok(self.database.replay_jobs().release(None, worker.to_owned()).await?)
    }

    /// Claims a replay and works on it until it is done, paused, cancelled, stopped or lost, in the name of who asked for it.
    /// Waits while a server is away. Returns `false` when there was none to claim.
    pub async fn work_on_replay(&self, worker: &str) -> Result<bool, OperationsError> {
        let replays = self.database.replay_jobs();
        let Some(job_id) = replays.claim(worker.to_owned()).await? else { return Ok(false) };
        let job = self.job(job_id).await?;
        let operations = job.asked_by.map_or_else(|| self.clone(), |by| self.in_the_name_of(by.0));
        let hold = Hold { job_id, worker: Some(worker.to_owned()) };
        let mut backoff = outage_backoff();
        loop {
            match operations.work_held(hold.clone(), &|_| {}).await {
                Ok(_) => break,
                Err(error) if error.is_outage() => {
                    let why = format!("it waits: {}", chain(&error));
                    tracing::warn!(replay = job_id, "replay {job_id} cannot go on: {why}");
                    // What cannot be noted now is nothing more than a note.
                    let _ = replays.note(job_id, worker.to_owned(), why).await;
                    sleep(backoff.next_wait()).await;
                    let _ = replays.note(job_id, worker.to_owned(), String::new()).await;
                }
                Err(error) => {
                    let why = chain(&error).to_string();
                    operations.end_job(hold, JobStatus::Stopped, why).await?;
                    break;
                }
            }
        }
        // A replay that is resumed is claimed at once then.
        replays.release(Some(job_id), worker.to_owned()).await?;
        Ok(true)
    }

    /// Claims a job that is no replay and works on it until it has ended, was cancelled or lost, in the name of who asked for
    /// it. Waits while a server is away. Returns `false` when there was none to claim.
    pub async fn work_on_job(&self, worker: &str) -> Result<bool, OperationsError> {
        let Some(row) = self.database.jobs().claim(worker.to_owned()).await? else { return Ok(false) };
        let operations = &self.in_the_name_of(row.asked_by.0.clone());
        let turn = Turn { operations, job_id: row.job_id, worker: worker.to_owned(), shown: Mutex::default() };
        let change = ServiceJob::of(row.clone()).map(|job| job.change);
        tokio::select! {
            () = turn.work(row, change.clone()) => {}
            beat = turn.keep() => {
                if let (Beat::Ended, Some(Change::Rebuild { code, .. })) = (beat, change) {
                    Box::pin(operations.leave(&code)).await?;
                }
            }
        }
        Ok(true)
    }
}

impl Operations {
    /// Leaves the rebuild of a job that was cancelled, as soon as the lock that its work had is free.
    async fn leave(&self, code: &CouponCode) -> Result<(), OperationsError> {
        let mut backoff = outage_backoff();
        loop {
            match Box::pin(self.leave_rebuild(code)).await {
                Err(error) if error.is_outage() || matches!(error, OperationsError::Busy(_)) => {
                    sleep(backoff.next_wait()).await;
                }
                left => return left.map(drop),
            }
        }
    }
}

impl Turn<'_> {
    /// Works on the job to its end, and writes that down.
    async fn work(&self, row: JobRow, change: Option<Change>) {
        let mut backoff = outage_backoff();
        let ended = match change {
            Some(change) => self.work_through(&row, &change, &mut backoff).await,
            None => Err("this build does not know what it is about; a newer one does".to_owned()),
        };
        let (to, note) = match ended {
            Ok(note) => (ServiceJobStatus::Done, note),
            Err(why) => (ServiceJobStatus::Failed, why),
        };
        while let Err(error) = self.end(to, &note).await {
            tracing::warn!(
                job = self.job_id,
                "the end of job {} cannot be written now: {}",
                self.job_id,
                chain(&error)
            );
            sleep(backoff.next_wait()).await;
        }
    }

    /// Makes the change, again after every outage. Returns how it ended, or why it cannot be done, in a sentence.
    async fn work_through(&self, row: &JobRow, change: &Change, backoff: &mut Backoff) -> Result<String, String> {
        loop {
            let error = match self.attempt(row, change).await {
                Ok(note) => return Ok(note),
                Err(error) => error,
            };
            if !error.is_outage() && !matches!(error, OperationsError::Busy(_)) {
                if error.is_retryable() {
                    self.show_field("retryable", true.into());
                }
                return Err(chain(&error).to_string());
            }
            let why = format!("it waits: {}", chain(&error));
            tracing::warn!(job = self.job_id, "job {} cannot go on: {why}", self.job_id);
            let jobs = self.operations.database.jobs();
            // What cannot be noted now is nothing more than a note.
            let _ = jobs.note(self.job_id, self.worker.clone(), why).await;
            sleep(backoff.next_wait()).await;
            let _ = jobs.note(self.job_id, self.worker.clone(), String::new()).await;
        }
    }

    async fn attempt(&self, row: &JobRow, change: &Change) -> Result<String, OperationsError> {
        // As far as an earlier attempt, or an earlier worker, has come.
        let now = self.operations.database.jobs().find(self.job_id).await?;
        let progress = now.map_or_else(|| row.progress.clone(), |now| now.progress);
        let wait = row.parameters.get("wait_seconds").and_then(Value::as_u64).map(Duration::from_secs);
        if let Some((list, filter)) = change.rows() {
            return match change.settles() {
                Some(verb) => self.settle(list, verb, filter, &row.reason, &progress).await,
                None => self.compensate(filter, &row.reason, progress).await,
            };
        }
        match change {
            Change::Rebuild { code, leave_undecided } => self.rebuild(code, *leave_undecided, wait, progress).await,
            Change::Archive { code } => self.archive(code, wait, &row.reason).await,
            Change::Reconcile { codes, apply } => self.reconcile(codes, *apply, wait, progress).await,
            _ => Err(OperationsError::UnknownJob(self.job_id)),
        }
    }

    async fn end(&self, to: ServiceJobStatus, note: &str) -> Result<(), OperationsError> {
        let jobs = self.operations.database.jobs();
        if let Some(shown) = self.take_shown() {
            jobs.beat(self.job_id, self.worker.clone(), Some(shown)).await?;
        }
        jobs.end(self.job_id, Some(self.worker.clone()), to, note.to_owned(), self.operations.me()).await?;
        Ok(())
    }

    /// Notes a heartbeat, and the progress when it has changed, again and again, until the worker does not hold the job any
    /// more. Returns why.
    async fn keep(&self) -> Beat {
        let mut beaten_at: Option<Instant> = None;
        loop {
            let shown = self.take_shown();
            if shown.is_some() || beaten_at.is_none_or(|at| at.elapsed() >= HEARTBEAT_PERIOD) {
                match self.operations.database.jobs().beat(self.job_id, self.worker.clone(), shown.clone()).await {
                    Ok(Beat::Held) => beaten_at = Some(Instant::now()),
                    Ok(other) => return other,
                    Err(error) => {
                        tracing::debug!(job = self.job_id, "a heartbeat of a job cannot be noted: {}", chain(&error));
                        if let Some(shown) = shown {
                            self.shown.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(shown);
                        }
                    }
                }
            }
            sleep(PROGRESS_PERIOD).await;
        }
    }

    /// Shows this progress soon.
    pub(super) fn show(&self, progress: &impl serde::Serialize) {
        let progress = serde_json::to_value(progress).unwrap_or_else(|_| json!({}));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn show_field(&self, name: &str, value: Value) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get_or_insert_with(|| json!({}))[name] = value;
    }

    fn take_shown(&self) -> Option<Value> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
