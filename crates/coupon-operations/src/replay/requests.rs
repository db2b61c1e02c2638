//! The replay of a compensated request: a new request id is linked and committed, then Redis reserves for it, then the outcome
//! is noted. The relay publishes the event, as that of any reservation.

use coupon_core::{
    failure::{Class, Classified},
    ids::RequestId,
    repo::{
        replay_jobs::{Job, JobStatus},
        replays::{Abandoned, Link, Linked, Refusal, ReplayOutcome},
    },
    stock::{Held, Refused},
};
use tokio::time::sleep;

use super::{
    Operations, OperationsError,
    work::{Begun, outage_backoff},
};

/// Outbox entries of a campaign above which no replay reserves: replays must not fill the outbox that members need.
const MAX_OUTBOX_ENTRIES: u64 = 10_000;
/// Most abandoned replays reserved for in one pass.
const MAX_ABANDONED_REPLAYS: i64 = 200;

impl Operations {
    /// Reserves for the requests that an earlier worker had linked, and of which no outcome is noted.
    pub(super) async fn ask_unanswered(&self, job: &Job) -> Result<(), OperationsError> {
        for link in self.database.replays().unanswered(job.job_id).await? {
            if self.ask(job, &link).await? == Begun::Stopped {
                break;
            }
        }
        Ok(())
    }

    /// Settles the replays of every job: reserves for those whose worker is gone, then copies each decision to the entry that
    /// is replayed. Returns the number of replays settled.
    pub async fn settle_replays(&self) -> Result<usize, OperationsError> {
        // While Redis is down, decisions are copied all the same.
        let asked = self.ask_abandoned().await;
        let settled = self.database.replays().settle(self.me()).await?;
        asked.map(|()| settled)
    }

    /// Reserves for linked requests whose job has no worker: a link without an outcome would be under way for ever, and its
    /// campaign could never be archived. Repeating is safe, because one request id is never two reservations.
    async fn ask_abandoned(&self) -> Result<(), OperationsError> {
        let mut failed = Ok(());
        for abandoned in self.database.replays().abandoned(MAX_ABANDONED_REPLAYS).await? {
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
            Some((outcome, held_by)) => self.note_outcome(&link, outcome, held_by).await,
            // The campaign may be open again when the job is resumed.
            None if is_resumable => Ok(()),
            None => self.note_outcome(&link, ReplayOutcome::NotReady, None).await,
        }
    }

    /// Replays one entry of a job.
    pub(super) async fn replay_request(&self, job: &Job, row: i64) -> Result<Begun, OperationsError> {
        let request_id = RequestId::make(self.clock.as_ref());
        match self
            .database
            .replays()
            .link((job.hold(), halts(job)), row, request_id, job.after_close, self.clock.now())
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

    /// Reserves for a linked request, as soon as Redis is up, and notes the outcome. May be repeated for the same id.
    async fn ask(&self, job: &Job, link: &Link) -> Result<Begun, OperationsError> {
        let mut backoff = outage_backoff();
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
            // The request did not fail: it stays linked, and comes first when the job is resumed.
            None => {
                let why = format!("{} takes no reservations in Redis now: resume when it does", link.coupon_code);
                return self.halt(job, why).await;
            }
        };
        self.note_outcome(link, outcome, held_by).await?;
        let is_under_way = matches!(outcome, ReplayOutcome::Reserved | ReplayOutcome::HoldsOne);
        Ok(if is_under_way { Begun::UnderWay } else { Begun::Failed })
    }

    /// Reserves once. Returns `None` when the campaign takes no reservations now, which says nothing about the request.
    async fn answer(&self, link: &Link) -> Result<Option<(ReplayOutcome, Option<RequestId>)>, OperationsError> {
        let (code, member) = (&link.coupon_code, &link.member_id);
        // Read anew each time, because Redis may have been down for long. An entry that was settled meanwhile is replayed only
        // if Redis has reserved a unit for it before.
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
        let reserved =
            self.stock.reserve_again(code, member, link.request_id, MAX_OUTBOX_ENTRIES, link.after_close).await?;
        Ok(match reserved {
            Ok(Held { is_repeat: false, .. }) => Some((ReplayOutcome::Reserved, None)),
            Ok(Held { request_id, .. }) => Some((ReplayOutcome::HoldsOne, Some(request_id))),
            Err(refused) => refusal(refused).map(|outcome| (outcome, None)),
        })
    }

    async fn note_outcome(
        &self,
        link: &Link,
        outcome: ReplayOutcome,
        held_by: Option<RequestId>,
    ) -> Result<(), OperationsError> {
        Ok(self.database.replays().note_outcome(link.request_id, outcome, held_by, self.clock.now()).await?)
    }

    /// Stops the job: the state that refuses this row refuses those after it too.
    async fn halt(&self, job: &Job, why: String) -> Result<Begun, OperationsError> {
        self.end_job(job.hold(), JobStatus::Stopped, why).await?;
        Ok(Begun::Stopped)
    }
}

/// Whether a campaign that takes no replays now stops the job: the job has no other campaign.
fn halts(job: &Job) -> bool {
    job.filter.coupon.is_some()
}

/// Returns the outcome that a refusal is for the request; `None` when the campaign takes no reservations now.
fn refusal(refused: Refused) -> Option<ReplayOutcome> {
    match refused {
        Refused::SoldOut => Some(ReplayOutcome::SoldOut),
        Refused::Closed | Refused::NotOpen(_) => Some(ReplayOutcome::Closed),
        Refused::Missing | Refused::Filling | Refused::Suspect | Refused::OutboxFull => None,
    }
}
