//! What this stage does with a dead letter: try again, then decide.
//!
//! It never writes to Kafka. A letter is done when the database has a decision or a status for it: issued, compensated,
//! held, parked.
//!
//! A decision is taken at two places. `on_exhausted` decides after the last attempt has failed. An attempt itself decides at
//! once against a request whose member holds a coupon by another one (`decide_within_attempt`): no further attempt could
//! change that.

use std::sync::Arc;

use coupon_core::{
    budget::Budget,
    clock::Clock,
    event::{CouponIssued, DecodeError, VERSION},
    failure::{Class, Classified, Failure},
    ids::RequestId,
    kafka::{Handler, History, Record, Work},
    repo::{
        Database,
        coupon_issues::{Compensation, CompensationOutcome, IssueOutcome, Remedy},
        dlq_events::{Classification, DlqEventStatus},
        may_be_the_records_doing,
    },
    writing::{Writer, classify, codes},
};
use tokio::sync::Notify;

use crate::{
    alarm,
    letter::{arrival, letter},
};

/// Times that the database may refuse a decision for a reason nobody has classified.
const MAX_REFUSALS: u32 = 3;

/// Tries dead letters again; what cannot be written is decided against, held or parked.
pub struct Repair {
    /// Writes in batches.
    pub writer: Writer,
    /// Decisions, the work list, the letters.
    pub database: Database,
    /// How many requests may be given up.
    pub budget: Budget,
    /// Time of the decisions.
    pub clock: Arc<dyn Clock>,
    /// Wakes the give-back worker.
    pub give_backs_wakeup: Arc<Notify>,
    /// Wakes the alarm sender.
    pub alarms_wakeup: Arc<Notify>,
}

impl Handler for Repair {
    type Item = Arc<CouponIssued>;
    const ATTEMPT_DEPENDENCY: &'static str = "postgresql";
    const EXHAUSTED_DEPENDENCY: &'static str = "postgresql";

    fn read(&self, record: &Record) -> Result<Arc<CouponIssued>, Failure> {
        Ok(Arc::new(CouponIssued::decode(record.value.as_deref(), VERSION)?))
    }

    fn request_id(&self, event: &Arc<CouponIssued>) -> RequestId {
        event.request_id
    }

    /// Writes the event again; decides against it at once if its member holds a coupon by another request.
    async fn attempt(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &Arc<CouponIssued>,
        number: u32,
        isolated: bool,
    ) -> Result<(), Failure> {
        let outcome = self.writer.write(event, isolated).await?;
        if let IssueOutcome::MemberHoldsOne(holder) = outcome {
            return self.decide_within_attempt(work, event, number, holder).await;
        }
        self.writer.apply_outcome(event, outcome, self.clock.now()).await?;
        let status = if outcome == IssueOutcome::CompensatedBefore {
            self.give_backs_wakeup.notify_one();
            DlqEventStatus::Duplicate
        } else {
            tracing::info!(request_id = work.request_id(), outcome = outcome.as_str(), "dead letter recovered");
            DlqEventStatus::Recovered
        };
        self.put_down(work, status, &arrival(&work.record), number).await
    }

    /// The last attempt has failed: decide, unless there is nothing that could be decided by a machine.
    async fn on_exhausted(
        &self,
        work: &Work<Arc<CouponIssued>>,
        failure: &Failure,
        history: History,
    ) -> Result<(), Failure> {
        let event = match &work.item {
            Ok(event) if !is_undecidable(failure) => event,
            _ => {
                let status = if failure.code == DecodeError::Newer(0).code() {
                    DlqEventStatus::Held
                } else {
                    DlqEventStatus::Parked
                };
                return self.put_down(work, status, failure, history.attempts).await;
            }
        };
        let remedy = if failure.code == codes::CAP_REACHED { Remedy::GiveBackAndSuspect } else { Remedy::GiveBack };
        match self.decide(work, event, failure.clone(), history.attempts, remedy).await {
            // The database will never take this decision; the record is kept for somebody to look at.
            Err(refused) if is_refused(refused.class, history) => {
                self.put_down(work, DlqEventStatus::Parked, &refused, history.attempts).await
            }
            decided => decided,
        }
    }

    fn may_be_the_records_doing(failure: &Failure) -> bool {
        may_be_the_records_doing(&failure.code)
    }

    async fn probe(&self) -> Result<(), Failure> {
        Ok(self.database.probe().await?)
    }
}

/// Nothing is revoked because of what the record itself claims: an unknown coupon, another member's request, an epoch
/// that PostgreSQL has not heard of.
fn is_undecidable(failure: &Failure) -> bool {
    [codes::COUPON_UNKNOWN, codes::OTHER_MEMBER, codes::NEWER_EPOCH].contains(&failure.code.as_str())
}

/// Whether the database has refused a decision for good: by a constraint, or after a few times by anything else that is
/// neither an outage nor contention. What it refuses while no probe commits is an outage, and no refusal.
fn is_refused(class: Class, history: History) -> bool {
    // Also what looks like an outage each time, when the engine has found out that it is none.
    class == Class::Permanent
        || class == Class::Unknown && history.refusals + 1 >= MAX_REFUSALS
        || history.refusals >= MAX_REFUSALS
}

impl Repair {
    /// Decides against an event before its attempts are over: its member holds a coupon by the request `holder`.
    async fn decide_within_attempt(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &CouponIssued,
        attempts: u32,
        holder: RequestId,
    ) -> Result<(), Failure> {
        let failure = classify(IssueOutcome::MemberHoldsOne(holder)).err().unwrap_or_else(|| arrival(&work.record));
        self.decide(work, event, failure, attempts, Remedy::Supersede(holder)).await
    }

    async fn decide(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &CouponIssued,
        failure: Failure,
        attempts: u32,
        remedy: Remedy,
    ) -> Result<(), Failure> {
        let letter = letter(&work.record, attempts);
        // A rebuild replaced the data they were reserved in; no deployment can be at fault.
        let budget = (failure.code != codes::OLD_EPOCH).then_some(self.budget);
        let give_up = Compensation {
            event: CouponIssued::clone(event),
            failure,
            record: letter,
            remedy,
            budget,
            now: self.clock.now(),
            by: None,
        };
        match decide_against(&self.database, give_up).await? {
            CompensationOutcome::CompensatedBefore => {
                self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await?;
            }
            CompensationOutcome::Issued => {
                tracing::info!(request_id = work.request_id(), "the request was issued after all; nothing to give up");
            }
            CompensationOutcome::Compensated { .. } | CompensationOutcome::Held | CompensationOutcome::Parked => {}
        }
        self.give_backs_wakeup.notify_one();
        self.alarms_wakeup.notify_one();
        Ok(())
    }

    async fn put_down(
        &self,
        work: &Work<Arc<CouponIssued>>,
        status: DlqEventStatus,
        failure: &Failure,
        attempts: u32,
    ) -> Result<(), Failure> {
        let event_version = match CouponIssued::decode(work.record.value.as_deref(), VERSION) {
            Ok(event) => Some(event.version),
            Err(DecodeError::Newer(version)) => Some(version),
            Err(_) => None,
        };
        let verdict = Classification {
            status,
            event: work.item.as_deref().ok(),
            event_version,
            failure,
            failed_issue_id: None,
            alarm: matches!(status, DlqEventStatus::Held | DlqEventStatus::Parked),
            now: self.clock.now(),
        };
        metrics::counter!("coupon_dead_letters_total", "status" => status.as_str()).increment(1);
        self.database.dlq_events().record(letter(&work.record, attempts), verdict).await?;
        self.alarms_wakeup.notify_one();
        Ok(())
    }
}

/// Takes the decision against an event, counts it, and logs it if the member lost a coupon by it.
pub async fn decide_against(database: &Database, give_up: Compensation) -> Result<CompensationOutcome, Failure> {
    let (event, failure, remedy) = (give_up.event.clone(), give_up.failure.clone(), give_up.remedy);
    let given_up = database.coupon_issues().compensate(give_up).await?;
    metrics::counter!("coupon_give_ups_total", "outcome" => outcome_label(given_up)).increment(1);
    if let (CompensationOutcome::Compensated { failed_issue_id }, Remedy::GiveBack | Remedy::GiveBackAndSuspect) =
        (given_up, remedy)
    {
        alarm::log_compensated(&event, &failure, failed_issue_id);
    }
    Ok(given_up)
}

/// The label `outcome` of `coupon_give_ups_total`.
pub fn outcome_label(given_up: CompensationOutcome) -> &'static str {
    match given_up {
        CompensationOutcome::Compensated { .. } => "COMPENSATED",
        CompensationOutcome::CompensatedBefore => "COMPENSATED_BEFORE",
        CompensationOutcome::Issued => "ISSUED",
        CompensationOutcome::Held => "HELD",
        CompensationOutcome::Parked => "PARKED",
    }
}
