//! The replay of a held or parked dead letter: its event is written with its own request id. A request that was decided
//! meanwhile keeps its decision; an event that cannot be written leaves its dead letter as it is.

use std::sync::Arc;

use coupon_core::{
    event::{CouponIssued, DecodeError},
    failure::{Class, Classified, Failure},
    repo::{
        coupon_issues::{Compensation, CompensationOutcome, IssueOutcome, Operator, Remedy},
        dlq_events::{DlqEventStatus, UndecidedDlqEvent},
        replay_jobs::Job,
    },
    signing::ReadError,
    writing::decision_against,
};
use tokio::time::sleep;

use super::{
    Operations, OperationsError,
    work::{Begun, outage_backoff},
};

impl Operations {
    /// Replays one dead letter of a job.
    pub(super) async fn replay_dead_letter(
        &self,
        job: &Job,
        dead_letter: UndecidedDlqEvent,
    ) -> Result<Begun, OperationsError> {
        let event = match self.event_of(&dead_letter) {
            Ok(event) => Arc::new(event),
            Err(error) => {
                let reason = match &error {
                    ReadError::Decode(DecodeError::Newer(_)) | ReadError::Signature(_) => error.code(),
                    ReadError::Decode(_) => "UNREADABLE".to_owned(),
                };
                return self.refuse(job, dead_letter.id, &reason, false).await;
            }
        };
        let mut backoff = outage_backoff();
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
                self.settle(job, &dead_letter, DlqEventStatus::Recovered, outcome.as_str()).await
            }
            Ok(outcome @ IssueOutcome::CompensatedBefore) => {
                self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await?;
                self.settle(job, &dead_letter, DlqEventStatus::Duplicate, outcome.as_str()).await
            }
            Ok(outcome @ (IssueOutcome::MemberHoldsOne(_) | IssueOutcome::OldEpoch)) => {
                self.decide_against(job, dead_letter, &event, outcome).await
            }
            // What the record itself claims says nothing about the others.
            Ok(outcome) => {
                let is_failure = matches!(outcome, IssueOutcome::CapReached | IssueOutcome::Undecided);
                self.refuse(job, dead_letter.id, outcome.as_str(), is_failure).await
            }
            Err(failure) => {
                self.refuse(job, dead_letter.id, &format!("{} {}", failure.class, failure.code), true).await
            }
        }
    }

    /// Compensates a request whose member has a coupon by another request, or whose unit a rebuild has sold again.
    async fn decide_against(
        &self,
        job: &Job,
        dead_letter: UndecidedDlqEvent,
        event: &CouponIssued,
        outcome: IssueOutcome,
    ) -> Result<Begun, OperationsError> {
        let (remedy, failure) = decision_against(outcome).unwrap_or((Remedy::GiveBack, dead_letter.failure.clone()));
        let reason = failure.code.clone();
        let id = dead_letter.id;
        let by = Operator { identity: self.by.clone(), reason: audited(job, &reason), is_by_hand: false };
        self.compensate_dead_letter(dead_letter, event, failure, remedy, by).await?;
        self.refuse(job, id, &reason, true).await
    }

    /// Decides the request of a dead letter COMPENSATED, in the operator's name.
    pub(super) async fn compensate_dead_letter(
        &self,
        dead_letter: UndecidedDlqEvent,
        event: &CouponIssued,
        failure: Failure,
        remedy: Remedy,
        by: Operator,
    ) -> Result<CompensationOutcome, OperationsError> {
        let compensation = Compensation {
            event: event.clone(),
            failure,
            record: dead_letter.record,
            remedy,
            budget: None,
            now: self.clock.now(),
            by: Some(by),
        };
        Ok(self.database.coupon_issues().compensate(compensation).await?)
    }

    async fn settle(
        &self,
        job: &Job,
        dead_letter: &UndecidedDlqEvent,
        to: DlqEventStatus,
        outcome: &str,
    ) -> Result<Begun, OperationsError> {
        let reason = audited(job, outcome);
        let settled = self.database.dlq_events().settle(job.hold(), dead_letter.id, to, self.me(), reason).await?;
        Ok(if settled { Begun::Succeeded } else { Begun::Stopped })
    }

    /// Notes that a dead letter stays as it is. `is_failure` counts it as a reason to stop the job.
    async fn refuse(&self, job: &Job, id: i64, reason: &str, is_failure: bool) -> Result<Begun, OperationsError> {
        let now = self.clock.now();
        let runs = self.database.replay_jobs().note_refused_dlq_event(job.hold(), id, reason.to_owned(), now).await?;
        Ok(match (runs, is_failure) {
            (false, _) => Begun::Stopped,
            (true, true) => Begun::Failed,
            (true, false) => Begun::Ineligible,
        })
    }
}

/// Returns the reason in the audit of a row that a job has changed: the outcome, the job, and the job's reason.
fn audited(job: &Job, outcome: &str) -> String {
    let why = if job.reason.is_empty() { String::new() } else { format!(": {}", job.reason) };
    format!("{outcome}; replay {}{why}", job.job_id)
}
