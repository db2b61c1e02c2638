//! The worker of a replay job. It begins 1 row and waits for its decision, then 10, 100 and so on, and stops the job when
//! most of a step fail.

use std::time::Duration;

use coupon_core::{
    repo::{
        dlq_events::UndecidedDlqEvent,
        jobs::Beat,
        replay_jobs::{Hold, Job, JobKind, JobStatus},
    },
    retry::Backoff,
    runtime::chain,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use super::{Operations, OperationsError};

/// Rows begun in each step; the last size repeats.
const STEP_SIZES: [i64; 4] = [1, 10, 100, 1000];
/// Longest wait for the decisions of a step: every attempt of both consumers, and the relay.
const MAX_STEP_WAIT: Duration = Duration::from_mins(1);
/// Time between two readings of a step's outcomes.
const STEP_POLL_PERIOD: Duration = Duration::from_millis(250);
/// Time between two heartbeats of a job, of which some may fail before the job seems abandoned, and between two readings of
/// the rate.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(2);

/// A worker of one job, at the job's rate.
pub(super) struct Worker<'a> {
    operations: &'a Operations,
    hold: Hold,
    pace: Pace,
    progress: &'a (dyn Fn(&Job) + Sync),
}

/// The rate at which rows are begun; an operator may change it at any time.
struct Pace {
    per_second: f64,
    ticks: Interval,
    read_at: Instant,
}

/// The outcome of beginning one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// The request is under way; its decision comes later.
    UnderWay,
    /// The request is decided.
    Succeeded,
    /// The request was refused, or failed again.
    Failed,
    /// The row was refused for a reason that was known before, and that says nothing about other rows.
    Ineligible,
    /// The job is not RUNNING any more.
    Stopped,
}

impl Operations {
    /// Works on a RUNNING job in this terminal until it is done, paused, cancelled or stopped, and returns the job as it is
    /// then. `progress` gets the job after every row and while a step is waited for.
    pub async fn work_replay(&self, job: i64, progress: &(dyn Fn(&Job) + Sync)) -> Result<Job, OperationsError> {
        let work = self.work_held(Hold { job_id: job, worker: None }, progress);
        let worked = self.with_lock(&format!("replay {job}"), Box::pin(work)).await?;
        worked.unwrap_or(Err(OperationsError::ReplayBusy(job)))
    }

    /// Works on a job as the worker that holds it. A worker that has lost it stops.
    pub(crate) async fn work_held(&self, hold: Hold, progress: &(dyn Fn(&Job) + Sync)) -> Result<Job, OperationsError> {
        let pace = Pace::new(self.job(hold.job_id).await?.per_second);
        let mut worker = Worker { operations: self, hold: hold.clone(), pace, progress };
        tokio::select! {
            worked = worker.work() => worked,
            () = self.keep(&hold) => self.job(hold.job_id).await,
        }
    }

    /// Notes a heartbeat of a job again and again, until another worker has the job.
    async fn keep(&self, hold: &Hold) {
        loop {
            match self.database.replay_jobs().beat(hold.clone()).await {
                Ok(Beat::Lost) => return,
                // What has ended is noticed by the work itself, before the next row.
                Ok(Beat::Held | Beat::Ended) => {}
                Err(error) => {
                    tracing::debug!(job = hold.job_id, "a heartbeat of a replay cannot be noted: {}", chain(&error));
                }
            }
            sleep(HEARTBEAT_PERIOD).await;
        }
    }

    /// Ends a job with this status, unless it was paused or cancelled meanwhile, or has another worker.
    pub(crate) async fn end_job(&self, hold: Hold, to: JobStatus, note: String) -> Result<(), OperationsError> {
        let (job, from) = (hold.job_id, &[JobStatus::Running]);
        self.database.replay_jobs().set_status(job, Some(hold), from, to, note, self.me()).await?;
        Ok(())
    }

    /// Whether the job still runs, with the same worker.
    pub(super) async fn runs(&self, job: &Job) -> Result<bool, OperationsError> {
        let now = self.database.replay_jobs().find(job.job_id).await?;
        Ok(now.is_some_and(|now| now.status == JobStatus::Running && now.hold() == job.hold()))
    }
}

impl Worker<'_> {
    async fn work(&mut self) -> Result<Job, OperationsError> {
        let (operations, job_id) = (self.operations, self.hold.job_id);
        let mut job = operations.job(job_id).await?;
        // A killed worker may have linked requests and got no answer for them: these come first, so that a kill leaves no
        // gap.
        if job.kind == JobKind::Requests && self.runs(&job) {
            operations.ask_unanswered(&job).await?;
            job = operations.job(job_id).await?;
        }
        let mut steps = 0;
        while self.runs(&job) {
            let size = STEP_SIZES[steps.min(STEP_SIZES.len() - 1)];
            let mut step = self.begin(&job, size).await?;
            if !step.stopped && step.begun == 0 && step.ineligible == 0 {
                // Also the rows that a step has not waited for to the end, or that an earlier worker had begun.
                self.wait_for_rows(job_id, 0).await?;
                operations.end_job(self.hold.clone(), JobStatus::Done, String::new()).await?;
            } else if !step.stopped && step.begun > 0 {
                if step.under_way > 0 {
                    step.failed += self.wait_for_rows(job_id, job.cursor_id).await?;
                }
                if let Some(why) = step.reason_to_stop() {
                    operations.end_job(self.hold.clone(), JobStatus::Stopped, why).await?;
                }
                steps += 1;
            }
            job = operations.job(job_id).await?;
            (self.progress)(&job);
        }
        Ok(job)
    }

    /// Whether a job that was just read runs, with this worker.
    fn runs(&self, job: &Job) -> bool {
        job.status == JobStatus::Running && job.hold() == self.hold
    }

    /// Waits for the turn of the next row, and takes up a rate that was changed. `false` when the job does not run any more.
    async fn next_turn(&mut self) -> Result<bool, OperationsError> {
        loop {
            if self.pace.read_at.elapsed() >= HEARTBEAT_PERIOD {
                let job = self.operations.job(self.hold.job_id).await?;
                if !self.runs(&job) {
                    return Ok(false);
                }
                self.pace.change_to(job.per_second);
            }
            let due = self.pace.read_at + HEARTBEAT_PERIOD;
            tokio::select! {
                _ = self.pace.ticks.tick() => return Ok(true),
                () = sleep_until(due) => {}
            }
        }
    }

    /// Begins the next `size` rows of a job.
    async fn begin(&mut self, job: &Job, size: i64) -> Result<Step, OperationsError> {
        let database = &self.operations.database;
        match job.kind {
            JobKind::Requests => {
                let rows = database.replays().rows_to_replay(&job.filter, job.cursor_id, size).await?;
                self.begin_each(job, rows.into_iter().map(Row::Entry).collect()).await
            }
            JobKind::DlqEvents => {
                let rows = database.dlq_events().undecided(&job.filter, job.cursor_id, size).await?;
                self.begin_each(job, rows.into_iter().map(|row| Row::DeadLetter(Box::new(row))).collect()).await
            }
        }
    }

    /// Begins one row after the other, no faster than the job's rate, until the job does not run any more.
    async fn begin_each(&mut self, job: &Job, rows: Vec<Row>) -> Result<Step, OperationsError> {
        let operations = self.operations;
        let (mut step, mut shown) = (Step::default(), job.clone());
        for row in rows {
            let has_turn = self.next_turn().await?;
            let begun = match row {
                Row::Entry(id) if has_turn => operations.replay_request(job, id).await?,
                Row::DeadLetter(dead_letter) if has_turn => operations.replay_dead_letter(job, *dead_letter).await?,
                _ => Begun::Stopped,
            };
            step.add(&begun);
            if begun == Begun::Stopped {
                break;
            }
            shown.begun += 1;
            (self.progress)(&shown);
        }
        Ok(step)
    }

    /// Waits until every row of a job with an id above `after` is decided. Returns the number of rows that were compensated
    /// again or not decided in time: a pipeline that does not decide must not be given more.
    async fn wait_for_rows(&self, job: i64, after: i64) -> Result<u64, OperationsError> {
        let (operations, database) = (self.operations, &self.operations.database);
        let deadline = Instant::now() + MAX_STEP_WAIT;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        loop {
            database.replays().settle(operations.me()).await?;
            // Only the rows of this step: one of an earlier step that is decided now must not hide one of this.
            let step = database.replays().step_outcomes(job, after).await?;
            let Some(now) = database.replay_jobs().find(job).await? else { return Ok(0) };
            (self.progress)(&now);
            if step.open == 0 || !self.runs(&now) {
                return Ok(count(step.compensated));
            }
            if Instant::now() >= deadline {
                return Ok(count(step.compensated) + count(step.open));
            }
            sleep(STEP_POLL_PERIOD).await;
        }
    }
}

/// A row that a job replays.
enum Row {
    /// The number of an entry of the work list.
    Entry(i64),
    /// A dead letter.
    DeadLetter(Box<UndecidedDlqEvent>),
}

/// The outcomes of one step, in rows.
#[derive(Clone, Debug, Default)]
struct Step {
    begun: u64,
    under_way: u64,
    failed: u64,
    ineligible: u64,
    stopped: bool,
}

impl Step {
    fn add(&mut self, begun: &Begun) {
        self.begun += u64::from(matches!(begun, Begun::UnderWay | Begun::Succeeded | Begun::Failed));
        self.under_way += u64::from(*begun == Begun::UnderWay);
        self.failed += u64::from(*begun == Begun::Failed);
        self.ineligible += u64::from(*begun == Begun::Ineligible);
        self.stopped |= *begun == Begun::Stopped;
    }

    /// Returns the reason to stop the job, if most of this step failed.
    fn reason_to_stop(&self) -> Option<String> {
        (self.failed * 2 > self.begun).then(|| {
            format!(
                "{} of the last {} failed or were not decided: look at them before resuming",
                self.failed, self.begun
            )
        })
    }
}

impl Pace {
    /// Returns a pace of `per_second` ticks a second; a late tick is not made up for.
    fn new(per_second: f64) -> Self {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second.max(0.001)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { per_second, ticks, read_at: Instant::now() }
    }

    /// Notes that the rate was read just now, and takes it up if it has changed.
    fn change_to(&mut self, per_second: f64) {
        self.read_at = Instant::now();
        if per_second.to_bits() != self.per_second.to_bits() {
            *self = Self::new(per_second);
        }
    }
}

/// Returns the back-off for a dependency that is down: the job waits, and the row does not fail.
pub(crate) fn outage_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(4))
}
