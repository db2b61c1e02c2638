//! Held and parked letters: written down as they are, with their own request id. Whoever was decided meanwhile keeps the
//! decision; what cannot be written stays where it is.

use std::sync::Arc;

use coupon_core::{
    event::{CouponIssued, DecodeError, VERSION},
    failure::{Class, Failure},
    repo::{
        coupon_issues::{Compensation, CompensationOutcome, IssueOutcome, Operator, Remedy},
        dlq_events::{DlqEventStatus, UndecidedDlqEvent},
        replay_jobs::Job,
    },
};
use tokio::time::{Interval, sleep};

use super::{Begun, Operations, OperationsError, Step, audited, begin_each, patience};
use coupon_core::writing::decision_against;

impl Operations {
    /// Begins and ends the next `size` letters.
    pub(super) async fn begin_letters(
        &self,
        job: &Job,
        size: usize,
        pace: &mut Interval,
        told: &(dyn Fn(&Job) + Sync),
    ) -> Result<Step, OperationsError> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let letters = self.database.dlq_events().undecided(&job.filter, job.cursor_id, size).await?;
        begin_each(job, letters, pace, told, async |letter| self.replay_letter(job, letter).await).await
    }

    async fn replay_letter(&self, job: &Job, letter: UndecidedDlqEvent) -> Result<Begun, OperationsError> {
        let event = match CouponIssued::decode(letter.record.payload.as_deref(), VERSION) {
            Ok(event) => Arc::new(event),
            Err(error) => {
                let newer = matches!(error, DecodeError::Newer(_));
                return self.refuse(job, &letter, if newer { "NEWER_VERSION" } else { "UNREADABLE" }, false).await;
            }
        };
        let mut backoff = patience();
        let written = loop {
            match self.writer.write(&event, true).await {
                Err(failure) if matches!(failure.class, Class::Unavailable | Class::Interrupted) => {
                    if !self.runs(job).await? {
                        return Ok(Begun::Stopped);
                    }
                    sleep(backoff.next_wait()).await;
                }
                other => break other,
            }
        };
        match written {
            Ok(outcome @ (IssueOutcome::IssuedNow | IssueOutcome::IssuedBefore)) => {
                self.settle(job, &letter, DlqEventStatus::Recovered, outcome.as_str()).await
            }
            Ok(outcome @ IssueOutcome::CompensatedBefore) => {
                self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await?;
                self.settle(job, &letter, DlqEventStatus::Duplicate, outcome.as_str()).await
            }
            Ok(outcome @ (IssueOutcome::MemberHoldsOne(_) | IssueOutcome::OldEpoch)) => {
                self.decide_against(job, letter, &event, outcome).await
            }
            // What the record itself claims says nothing about the others.
            Ok(outcome) => {
                let is_verdict = matches!(outcome, IssueOutcome::CapReached | IssueOutcome::Undecided);
                self.refuse(job, &letter, outcome.as_str(), is_verdict).await
            }
            Err(failure) => self.refuse(job, &letter, &format!("{} {}", failure.class, failure.code), true).await,
        }
    }

    /// The member has a coupon by another request, or a rebuild has sold the unit again: it can only be compensated.
    async fn decide_against(
        &self,
        job: &Job,
        letter: UndecidedDlqEvent,
        event: &CouponIssued,
        outcome: IssueOutcome,
    ) -> Result<Begun, OperationsError> {
        let (remedy, failure) = decision_against(outcome).unwrap_or((Remedy::GiveBack, letter.failure.clone()));
        let reason = failure.code.clone();
        let id = letter.id;
        let by = Operator { name: self.by.clone(), reason: audited(job, &reason), is_by_hand: false };
        self.compensate_letter(letter, event, failure, remedy, by).await?;
        let runs = self.database.replay_jobs().note_refused_dlq_event(job.job_id, id, reason, self.clock.now()).await?;
        Ok(if runs { Begun::Failed } else { Begun::Stopped })
    }

    /// Decides a letter COMPENSATED, in the operator's name.
    pub(super) async fn compensate_letter(
        &self,
        letter: UndecidedDlqEvent,
        event: &CouponIssued,
        failure: Failure,
        remedy: Remedy,
        by: Operator,
    ) -> Result<CompensationOutcome, OperationsError> {
        let give_up = Compensation {
            event: event.clone(),
            failure,
            record: letter.record,
            remedy,
            budget: None,
            now: self.clock.now(),
            by: Some(by),
        };
        Ok(self.database.coupon_issues().compensate(give_up).await?)
    }

    async fn settle(
        &self,
        job: &Job,
        letter: &UndecidedDlqEvent,
        to: DlqEventStatus,
        word: &str,
    ) -> Result<Begun, OperationsError> {
        let reason = audited(job, word);
        let settled = self.database.dlq_events().settle(job.job_id, letter.id, to, self.me(), reason).await?;
        Ok(if settled { Begun::Succeeded } else { Begun::Stopped })
    }

    /// Leaves a letter where it is. With `is_verdict` it speaks against going on with the others.
    async fn refuse(
        &self,
        job: &Job,
        letter: &UndecidedDlqEvent,
        reason: &str,
        is_verdict: bool,
    ) -> Result<Begun, OperationsError> {
        let now = self.clock.now();
        let runs =
            self.database.replay_jobs().note_refused_dlq_event(job.job_id, letter.id, reason.to_owned(), now).await?;
        Ok(match (runs, is_verdict) {
            (false, _) => Begun::Stopped,
            (true, true) => Begun::Failed,
            (true, false) => Begun::Ineligible,
        })
    }
}
