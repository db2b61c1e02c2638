//! What this stage does with a dead letter: try again, then decide.
//!
//! It never writes to Kafka. A dead letter is done when PostgreSQL has a decision or a status for it: issued, compensated,
//! held or parked.
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
    signing::{self, EventReader},
    writing::{Writer, classify, codes},
};
use tokio::sync::Notify;

use crate::{
    alarm,
    dead_letter::{new_dlq_event, original_failure},
};

/// Refusals of one decision by PostgreSQL, for a reason that no table classifies, after which the dead letter is parked.
const MAX_REFUSALS: u32 = 3;

/// Attempts dead letters again. One that cannot be written is compensated, held or parked.
pub struct Repair {
    /// Writes events in batches.
    pub writer: Writer,
    /// Takes the decisions, the work list and the rows of dead letters.
    pub database: Database,
    /// Reads and verifies events.
    pub events: EventReader,
    /// Limits how many requests of one coupon may be compensated for one cause.
    pub budget: Budget,
    /// Gives the time that decisions carry.
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
        // issue-consumer may have keys while this process has none: what it has refused must not be issued here. Whoever forges
        // this header has a copy of an event parked, and no request is decided by that.
        let refused = record.header("x-coupon-error-code").map(String::from_utf8_lossy).unwrap_or_default();
        self.events.check_refused_before(&refused)?;
        let event = self.events.read_consumed(record.value.as_deref(), record.header(signing::HEADER))?;
        Ok(Arc::new(CouponIssued { traceparent: record.sampled_trace(), ..event }))
    }

    fn request_id(&self, event: &Arc<CouponIssued>) -> RequestId {
        event.request_id
    }

    /// Writes the event again. A request whose member holds a coupon by another request is compensated at once.
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
        self.record(work, status, &original_failure(&work.record), number).await
    }

    /// Compensates the request after its last attempt has failed; holds or parks a dead letter that no program may decide.
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
                return self.record(work, status, failure, history.attempts).await;
            }
        };
        let remedy = if failure.code == codes::CAP_REACHED { Remedy::GiveBackAndSuspect } else { Remedy::GiveBack };
        match self.decide(work, event, failure.clone(), history.attempts, remedy).await {
            // PostgreSQL will never take this decision: the dead letter is parked for an operator.
            Err(refused) if is_refused(refused.class, history) => {
                self.record(work, DlqEventStatus::Parked, &refused, history.attempts).await
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

/// Whether the failure rests only on what the record claims: an unknown coupon, the request id of another member, an epoch
/// that PostgreSQL does not know. Such a record revokes nothing.
fn is_undecidable(failure: &Failure) -> bool {
    [codes::COUPON_UNKNOWN, codes::OTHER_MEMBER, codes::NEWER_EPOCH].contains(&failure.code.as_str())
}

/// Whether PostgreSQL has refused a decision for good: by a constraint, or [`MAX_REFUSALS`] times by anything else that is
/// neither an outage nor contention. A failure while no probe commits is an outage, and no refusal.
fn is_refused(class: Class, history: History) -> bool {
    // The engine also counts what looks like an outage while its probe commits.
    class == Class::Permanent
        || class == Class::Unknown && history.refusals + 1 >= MAX_REFUSALS
        || history.refusals >= MAX_REFUSALS
}

impl Repair {
    /// Compensates a request before its attempts are over: its member holds a coupon by the request `holder`.
    async fn decide_within_attempt(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &CouponIssued,
        attempts: u32,
        holder: RequestId,
    ) -> Result<(), Failure> {
        let failure =
            classify(IssueOutcome::MemberHoldsOne(holder)).err().unwrap_or_else(|| original_failure(&work.record));
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
        // A rebuild replaced the data that the request was reserved in: no deployment can be at fault.
        let budget = (failure.code != codes::OLD_EPOCH).then_some(self.budget);
        let compensation = Compensation {
            event: CouponIssued::clone(event),
            failure,
            record: new_dlq_event(&work.record, attempts),
            remedy,
            budget,
            now: self.clock.now(),
            by: None,
        };
        match compensate(&self.database, compensation).await? {
            CompensationOutcome::CompensatedBefore => {
                self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await?;
            }
            CompensationOutcome::Issued => {
                tracing::info!(
                    request_id = work.request_id(),
                    "the request was issued after all; there is nothing to compensate"
                );
            }
            CompensationOutcome::Compensated { .. } | CompensationOutcome::Held | CompensationOutcome::Parked => {}
        }
        self.give_backs_wakeup.notify_one();
        self.alarms_wakeup.notify_one();
        Ok(())
    }

    /// Records the dead letter with a status and without a decision, and wakes the alarm sender.
    async fn record(
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
        let classification = Classification {
            status,
            event: work.item.as_deref().ok(),
            event_version,
            failure,
            failed_issue_id: None,
            alarm: matches!(status, DlqEventStatus::Held | DlqEventStatus::Parked),
            now: self.clock.now(),
        };
        metrics::counter!("coupon_dead_letters_total", "status" => status.as_str()).increment(1);
        self.database.dlq_events().record(new_dlq_event(&work.record, attempts), classification).await?;
        self.alarms_wakeup.notify_one();
        Ok(())
    }
}

/// Compensates a request, counts the outcome, and logs an alarm if its member loses a coupon by it.
pub async fn compensate(database: &Database, compensation: Compensation) -> Result<CompensationOutcome, Failure> {
    let (event, failure, remedy) = (compensation.event.clone(), compensation.failure.clone(), compensation.remedy);
    let outcome = database.coupon_issues().compensate(compensation).await?;
    metrics::counter!("coupon_give_ups_total", "outcome" => outcome_label(outcome)).increment(1);
    if let (CompensationOutcome::Compensated { failed_issue_id }, Remedy::GiveBack | Remedy::GiveBackAndSuspect) =
        (outcome, remedy)
    {
        alarm::log_compensated(&event, &failure, failed_issue_id);
    }
    Ok(outcome)
}

/// Returns the label `outcome` of the metric `coupon_give_ups_total`.
pub fn outcome_label(outcome: CompensationOutcome) -> &'static str {
    match outcome {
        CompensationOutcome::Compensated { .. } => "COMPENSATED",
        CompensationOutcome::CompensatedBefore => "COMPENSATED_BEFORE",
        CompensationOutcome::Issued => "ISSUED",
        CompensationOutcome::Held => "HELD",
        CompensationOutcome::Parked => "PARKED",
    }
}
