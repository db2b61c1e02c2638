//! Replaying by the many: compensated requests through the reservation script with a new, linked request id; held and
//! parked letters as they are. A job in PostgreSQL says how far it has come, so any process can go on with it.
//!
//! It begins with one, waits what becomes of it, then 10, 100 and so on, and stops when most of a step fail.

use std::time::Duration;

use coupon_core::{
    event::VERSION,
    repo::{
        locks::Lock,
        replay_jobs::{Job, JobKind, JobStatus, NewJob},
        replays::Plan,
        work_list::Filter,
    },
    retry::Backoff,
    runtime::chain,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use crate::{Operations, OperationsError, server_errors};

mod compensate;
mod letters;
mod requests;

pub use compensate::Compensated;

/// Sizes of the steps: 1, 10, 100, 1000, 1000, …
const RAMP: [usize; 4] = [1, 10, 100, 1000];
/// How long the end of a step is waited for: all attempts of both consumers, the relay, and some air.
const STEP_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at what became of a step.
const LOOK: Duration = Duration::from_millis(250);
/// Between two heartbeats of a job: four of them have to fail before nobody seems to work on it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Requests of the work list, or letters.
    pub kind: JobKind,
    /// Which.
    pub filter: Filter,
    /// Whether the campaign's window counts for nothing.
    pub after_close: bool,
    /// Most begun in a second.
    pub per_second: f64,
    /// Why, for the audit.
    pub reason: String,
}

/// What becomes of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Begun {
    /// It is on its way; its request may tell what became of it.
    UnderWay,
    /// It is decided.
    Succeeded,
    /// It was refused, or failed again.
    Failed,
    /// It could not be begun for a reason that was known before: no verdict on the others.
    Ineligible,
    /// The job does not run any more.
    Stopped,
}

/// Why a job was not made, or not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No such job.
    #[error("there is no replay {0}; `dlq-consumer replay status` shows them all")]
    Unknown(i64),
    /// It stands where it cannot be moved from.
    #[error("replay {job} is {status}, and cannot be {wish}")]
    Not {
        /// The job.
        job: i64,
        /// Where it stands.
        status: JobStatus,
        /// What was wished.
        wish: &'static str,
    },
    /// Another process has it.
    #[error("another process is at replay {0} now; `dlq-consumer replay pause {0}` stops it there")]
    Busy(i64),
    /// A server.
    #[error(transparent)]
    Operations(#[from] OperationsError),
}

server_errors!(ReplayError);

impl Operations {
    /// What a request would do, without doing it.
    pub async fn plan_replay(&self, request: &Request) -> Result<Plan, OperationsError> {
        Ok(match request.kind {
            JobKind::Requests => {
                self.database.replays().plan(&request.filter, request.after_close, self.clock.now()).await?
            }
            JobKind::DlqEvents => self.database.dlq_events().plan_replay(&request.filter, VERSION).await?,
        })
    }

    /// Makes a job of a request; nothing is replayed before [`Operations::work_replay`].
    pub async fn create_replay(&self, request: Request, plan: &Plan) -> Result<i64, OperationsError> {
        let new = NewJob {
            kind: request.kind,
            up_to: plan.up_to,
            filter: Filter { up_to: Some(plan.up_to), ..request.filter },
            per_second: request.per_second,
            after_close: request.after_close,
            eligible: plan.eligible,
            chosen: plan.chosen(),
            reason: request.reason,
        };
        Ok(self.database.replay_jobs().create(new, self.me()).await?)
    }

    /// One job.
    pub async fn job(&self, job: i64) -> Result<Job, ReplayError> {
        self.database.replay_jobs().find(job).await?.ok_or(ReplayError::Unknown(job))
    }

    /// Pauses a job, wherever its worker is: it stops before the next row.
    pub async fn pause_replay(&self, job: i64, reason: String) -> Result<(), ReplayError> {
        self.move_job(job, &[JobStatus::Running, JobStatus::Paused], JobStatus::Paused, reason, "paused").await
    }

    /// Ends a job for good. What it has begun goes on.
    pub async fn cancel_replay(&self, job: i64, reason: String) -> Result<(), ReplayError> {
        const FROM: &[JobStatus] = &[JobStatus::Running, JobStatus::Paused, JobStatus::Stopped, JobStatus::Cancelled];
        self.move_job(job, FROM, JobStatus::Cancelled, reason, "cancelled").await
    }

    /// Lets a job run again; [`Operations::work_replay`] then goes on with it.
    pub async fn resume_replay(&self, job: i64, reason: String) -> Result<(), ReplayError> {
        const FROM: &[JobStatus] = &[JobStatus::Running, JobStatus::Paused, JobStatus::Stopped];
        self.move_job(job, FROM, JobStatus::Running, reason, "resumed").await
    }

    async fn move_job(
        &self,
        job: i64,
        from: &'static [JobStatus],
        to: JobStatus,
        reason: String,
        wish: &'static str,
    ) -> Result<(), ReplayError> {
        if self.database.replay_jobs().set_status(job, from, to, reason, self.me()).await? {
            return Ok(());
        }
        let found = self.job(job).await?;
        Err(ReplayError::Not { job, status: found.status, wish })
    }

    /// Works on a RUNNING job until it is done, paused, cancelled or stopped, and gives it as it is then. `told` hears
    /// of it after every row and while a step is waited for.
    pub async fn work_replay(&self, job: i64, told: &(dyn Fn(&Job) + Sync)) -> Result<Job, ReplayError> {
        let Some(lock) = self.database.try_lock(&format!("replay {job}")).await? else {
            return Err(ReplayError::Busy(job));
        };
        let worked = tokio::select! {
            worked = self.work_locked(job, told) => worked,
            never = self.beat(job) => never,
        };
        Lock::release(lock).await;
        worked
    }

    /// Says again and again that somebody works on a job, for ever.
    async fn beat<T>(&self, job: i64) -> T {
        loop {
            if let Err(error) = self.database.replay_jobs().note_heartbeat(job).await {
                tracing::debug!(job, "a heartbeat of a replay cannot be noted: {}", chain(&error));
            }
            sleep(HEARTBEAT).await;
        }
    }

    async fn work_locked(&self, job_id: i64, told: &(dyn Fn(&Job) + Sync)) -> Result<Job, ReplayError> {
        let mut job = self.job(job_id).await?;
        let mut pace = pace(job.per_second);
        // What an earlier worker had begun and got no answer for comes first: a kill leaves no gap.
        if job.kind == JobKind::Requests && job.status == JobStatus::Running {
            self.ask_unanswered(&job).await?;
            job = self.job(job_id).await?;
        }
        let mut step = 0;
        while job.status == JobStatus::Running {
            let (size, before) = (RAMP[step.min(RAMP.len() - 1)], job.clone());
            let mut rows = match job.kind {
                JobKind::Requests => self.begin_requests(&job, size, &mut pace, told).await?,
                JobKind::DlqEvents => self.begin_letters(&job, size, &mut pace, told).await?,
            };
            if !rows.stopped && rows.begun == 0 && rows.ineligible == 0 {
                // Also those that a step has not waited for to the end, or an earlier worker had begun.
                self.wait_for_rows(job_id, 0, told).await?;
                self.end(job_id, JobStatus::Done, String::new()).await?;
            } else if !rows.stopped && rows.begun > 0 {
                if rows.under_way > 0 {
                    rows.failed += self.wait_for_rows(job_id, before.cursor_id, told).await?;
                }
                if let Some(why) = rows.verdict() {
                    self.end(job_id, JobStatus::Stopped, why).await?;
                }
                step += 1;
            }
            job = self.job(job_id).await?;
            told(&job);
        }
        Ok(job)
    }

    async fn end(&self, job: i64, to: JobStatus, note: String) -> Result<(), OperationsError> {
        // Nothing to do when it was paused or cancelled meanwhile.
        self.database.replay_jobs().set_status(job, &[JobStatus::Running], to, note, self.me()).await?;
        Ok(())
    }

    /// Waits until every row of a job behind `after` is decided, and gives how many of them were given up again; what is
    /// not decided in time counts as failed too, because a pipeline that does not decide must not be given more.
    async fn wait_for_rows(&self, job: i64, after: i64, told: &(dyn Fn(&Job) + Sync)) -> Result<u64, OperationsError> {
        let deadline = Instant::now() + STEP_WITHIN;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        loop {
            self.database.replays().settle(&self.by, self.clock.now()).await?;
            // Only the rows of this step: one of an earlier step that is decided now must not hide one of this.
            let step = self.database.replays().step_outcomes(job, after).await?;
            let Some(now) = self.database.replay_jobs().find(job).await? else { return Ok(0) };
            told(&now);
            if step.open == 0 || now.status != JobStatus::Running {
                return Ok(count(step.compensated));
            }
            if Instant::now() >= deadline {
                return Ok(count(step.compensated) + count(step.open));
            }
            sleep(LOOK).await;
        }
    }
}

/// What stands in the audit of a row that a job has changed: what became of it, and why the job was asked for.
fn audited(job: &Job, what: &str) -> String {
    let why = if job.reason.is_empty() { String::new() } else { format!(": {}", job.reason) };
    format!("{what}; replay {}{why}", job.job_id)
}

/// What became of the rows of one step.
#[derive(Clone, Debug, Default)]
struct Step {
    begun: u64,
    under_way: u64,
    failed: u64,
    ineligible: u64,
    stopped: bool,
}

impl Step {
    fn note(&mut self, begun: &Begun) {
        match begun {
            Begun::UnderWay => {
                self.begun += 1;
                self.under_way += 1;
            }
            Begun::Succeeded => self.begun += 1,
            Begun::Failed => {
                self.begun += 1;
                self.failed += 1;
            }
            Begun::Ineligible => self.ineligible += 1,
            Begun::Stopped => self.stopped = true,
        }
    }

    /// Why the job must not go on, if most of this step failed.
    fn verdict(&self) -> Option<String> {
        (self.failed * 2 > self.begun).then(|| {
            format!(
                "{} of the last {} failed or were not decided: look at them before resuming",
                self.failed, self.begun
            )
        })
    }
}

/// Begins one row after the other, no faster than the pace, until the job does not run any more.
async fn begin_each<R>(
    job: &Job,
    rows: Vec<R>,
    pace: &mut Interval,
    told: &(dyn Fn(&Job) + Sync),
    begin: impl AsyncFn(R) -> Result<Begun, OperationsError>,
) -> Result<Step, OperationsError> {
    let (mut step, mut shown) = (Step::default(), job.clone());
    for row in rows {
        pace.tick().await;
        let begun = begin(row).await?;
        step.note(&begun);
        if begun == Begun::Stopped {
            break;
        }
        shown.begun += 1;
        told(&shown);
    }
    Ok(step)
}

fn pace(per_second: f64) -> Interval {
    let mut pace = interval(Duration::from_secs_f64(1.0 / per_second.max(0.001)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// For a dependency that is away: an outage is no verdict, and the job waits.
fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(4))
}
