//! Compensated requests: a new request id is linked and committed, then Redis is asked for it, then its answer is noted. The
//! event goes out by the outbox, as that of any reservation.

use coupon_core::{
    failure::{Class, Classified},
    ids::RequestId,
    repo::{
        replay_jobs::{Job, JobStatus},
        replays::{Abandoned, Link, Linked, Refusal, ReplayOutcome},
    },
    stock::{Held, Refused},
};
use tokio::time::{Interval, sleep};

use super::{Begun, Operations, OperationsError, Step, begin_each, patience};

/// Replays must not fill the outbox that members need.
const OUTBOX_CAP: u64 = 10_000;
/// Most abandoned replays asked for in one pass.
const ABANDONED: i64 = 200;

impl Operations {
    /// Asks again for what an earlier worker had linked.
    pub(super) async fn ask_unanswered(&self, job: &Job) -> Result<(), OperationsError> {
        for link in self.database.replays().unanswered(job.job_id).await? {
            if self.ask(job, &link).await? == Begun::Stopped {
                break;
            }
        }
        Ok(())
    }

    /// Settles what can be settled of replays, whoever began them: asks for those that nobody asks for any more, then brings
    /// each decision to the row it replays. Gives the number of replays that are decided.
    pub async fn settle_replays(&self) -> Result<usize, OperationsError> {
        // While Redis is away, decisions are brought home all the same.
        let asked = self.ask_abandoned().await;
        let settled = self.database.replays().settle(&self.by, self.clock.now()).await?;
        asked.map(|()| settled)
    }

    /// What a job has begun goes on, whatever became of the job: a link without an answer would be under way for ever, and
    /// its campaign could never be archived. Asking is safe, because the same id is never two reservations.
    async fn ask_abandoned(&self) -> Result<(), OperationsError> {
        let mut failed = Ok(());
        for abandoned in self.database.replays().abandoned(ABANDONED).await? {
            match self.answer_abandoned(abandoned).await {
                Ok(()) => {}
                Err(OperationsError::Stock(error)) if error.class() == Class::Unavailable => return Err(error.into()),
                // The data of one campaign says nothing about the others.
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    async fn answer_abandoned(&self, Abandoned { link, is_resumable }: Abandoned) -> Result<(), OperationsError> {
        match self.answer(&link).await? {
            Some((outcome, held_by)) => self.note(&link, outcome, held_by).await,
            // It waits for the campaign; the job asks for it when it is resumed.
            None if is_resumable => Ok(()),
            None => self.note(&link, ReplayOutcome::NotReady, None).await,
        }
    }

    /// Begins the next `size` rows.
    pub(super) async fn begin_requests(
        &self,
        job: &Job,
        size: usize,
        pace: &mut Interval,
        told: &(dyn Fn(&Job) + Sync),
    ) -> Result<Step, OperationsError> {
        let rows = self
            .database
            .replays()
            .rows_to_replay(&job.filter, job.cursor_id, i64::try_from(size).unwrap_or(i64::MAX))
            .await?;
        begin_each(job, rows, pace, told, async |row| self.begin_request(job, row).await).await
    }

    async fn begin_request(&self, job: &Job, row: i64) -> Result<Begun, OperationsError> {
        let request_id = RequestId::make(self.clock.as_ref());
        match self
            .database
            .replays()
            .link((job.job_id, halts(job)), row, request_id, job.after_close, self.clock.now())
            .await?
        {
            Linked::Link(link) => self.ask(job, &link).await,
            Linked::Refused(Refusal::NotReady) if halts(job) => {
                let why = format!("the campaign of row {row} takes no replays now: resume when it is OPEN again");
                self.halt(job, why).await
            }
            Linked::Refused(_) => Ok(Begun::Ineligible),
            Linked::Stopped => Ok(Begun::Stopped),
        }
    }

    /// Asks Redis for a linked request until there is an answer, and notes it. The same id may be asked for any number
    /// of times.
    async fn ask(&self, job: &Job, link: &Link) -> Result<Begun, OperationsError> {
        let mut backoff = patience();
        let answer = loop {
            match self.answer(link).await {
                Ok(answer) => break answer,
                Err(OperationsError::Stock(error)) if error.class() == Class::Unavailable => {
                    if !self.runs(job).await? {
                        return Ok(Begun::Stopped);
                    }
                    sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        };
        let (outcome, held_by) = match answer {
            Some(answer) => answer,
            None if !halts(job) => (ReplayOutcome::NotReady, None),
            // No verdict: it stays linked, and is asked for first when the job is resumed.
            None => {
                let why = format!("{} takes no reservations in Redis now: resume when it does", link.coupon_code);
                return self.halt(job, why).await;
            }
        };
        self.note(link, outcome, held_by).await?;
        let is_under_way = matches!(outcome, ReplayOutcome::Reserved | ReplayOutcome::HoldsOne);
        Ok(if is_under_way { Begun::UnderWay } else { Begun::Failed })
    }

    /// Asks Redis once; `None` when the campaign as it is now takes no reservations, which says nothing about the row.
    async fn answer(&self, link: &Link) -> Result<Option<(ReplayOutcome, Option<RequestId>)>, OperationsError> {
        let (code, member) = (&link.coupon_code, &link.member_id);
        // Asked anew each time, because Redis may have been away for long. Somebody has settled the row by other means: it
        // only goes on if Redis has reserved a unit for it before.
        if !self.database.failed_coupon_issues().is_pending(link.failed_issue_id).await? {
            let holders = self.stock.holders_of(code, &[member.as_str()]).await?;
            let is_held = holders == [Some(link.request_id.to_string())];
            let outcome = if is_held { ReplayOutcome::Reserved } else { ReplayOutcome::NotReady };
            return Ok(Some((outcome, None)));
        }
        // So that a Redis that went back in time is noticed here too.
        if let Some(coupon) = self.database.coupons().find(code).await? {
            self.stock.seen.note(code, coupon.epoch, coupon.high_seq);
        }
        Ok(match self.stock.reserve_again(code, member, link.request_id, OUTBOX_CAP, link.after_close).await? {
            Ok(Held { is_repeat: false, .. }) => Some((ReplayOutcome::Reserved, None)),
            Ok(Held { request_id, .. }) => Some((ReplayOutcome::HoldsOne, Some(request_id))),
            Err(refused) => refusal(refused).map(|outcome| (outcome, None)),
        })
    }

    async fn note(
        &self,
        link: &Link,
        outcome: ReplayOutcome,
        held_by: Option<RequestId>,
    ) -> Result<(), OperationsError> {
        Ok(self.database.replays().note_outcome(link.request_id, outcome, held_by, self.clock.now()).await?)
    }

    /// Stops the job: what stands against this row now stands against those behind it too.
    async fn halt(&self, job: &Job, why: String) -> Result<Begun, OperationsError> {
        self.end(job.job_id, JobStatus::Stopped, why).await?;
        Ok(Begun::Stopped)
    }

    /// Whether the job still runs.
    pub(super) async fn runs(&self, job: &Job) -> Result<bool, OperationsError> {
        let now = self.database.replay_jobs().find(job.job_id).await?;
        Ok(now.is_some_and(|now| now.status == JobStatus::Running))
    }
}

/// Whether a campaign that takes no replays now stands against all of the job: it has no other.
fn halts(job: &Job) -> bool {
    job.filter.coupon.is_some()
}

/// What a refusal means for the row; `None` when it is none of the row, but of the campaign as it is now.
fn refusal(refused: Refused) -> Option<ReplayOutcome> {
    match refused {
        Refused::SoldOut => Some(ReplayOutcome::SoldOut),
        Refused::Closed | Refused::NotOpen(_) => Some(ReplayOutcome::Closed),
        Refused::Missing | Refused::Filling | Refused::Suspect | Refused::OutboxFull => None,
    }
}
