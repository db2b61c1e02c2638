//! What this stage does with a dead letter: try again, then decide.
//!
//! It never writes to Kafka. A letter is done when the database has a word on it: issued, compensated, held, parked.

use std::sync::Arc;

use coupon_core::{
    budget::Budget,
    clock::Clock,
    event::{CouponIssued, DecodeError, VERSION},
    failure::{Class, Classified, Failure},
    ids::RequestId,
    kafka::{Handler, History, Record, Work},
    repo::{
        Database, RepoError,
        dead_letters::{LetterStatus, Verdict},
        give_ups::{GiveUp, GivenUp, Remedy},
        issues::IssueOutcome,
        may_be_the_records_doing,
    },
    writing::{Writer, codes, judge},
};
use tokio::sync::Notify;

use crate::{
    alarm,
    letter::{arrival, letter},
};

/// So often the database may refuse a decision for a reason nobody has classified.
const REFUSALS: u32 = 3;

/// Tries dead letters again; what cannot be written is decided against, held or parked.
pub struct Repair {
    /// Writes in batches.
    pub writer: Writer,
    /// Decisions, the work list, the letters.
    pub database: Database,
    /// How many requests may be given up.
    pub budget: Budget,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the sweeper.
    pub due: Arc<Notify>,
    /// Wakes the alarm sender.
    pub alarms_wakeup: Arc<Notify>,
}

impl Handler for Repair {
    type Item = Arc<CouponIssued>;
    const ATTEMPT_DEPENDENCY: &'static str = "postgresql";
    const EXHAUSTED_DEPENDENCY: &'static str = "postgresql";

    fn read(&self, record: &Record) -> Result<Arc<CouponIssued>, Failure> {
        CouponIssued::decode(record.value.as_deref(), VERSION).map(Arc::new).map_err(|error| Failure::from(&error))
    }

    fn request_id(&self, event: &Arc<CouponIssued>) -> RequestId {
        event.request_id
    }

    async fn attempt(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &Arc<CouponIssued>,
        number: u32,
        isolated: bool,
    ) -> Result<(), Failure> {
        let outcome = self.writer.write(event, isolated).await?;
        if let IssueOutcome::MemberHoldsOne(holder) = outcome {
            let failure = judge(outcome).err().unwrap_or_else(|| arrival(&work.record));
            return self
                .decide(work, event, failure, number, Remedy::Supersede(holder))
                .await
                .map_err(|error| Failure::from(&error));
        }
        self.writer.settle(event, outcome, self.clock.now()).await?;
        let status = if outcome == IssueOutcome::CompensatedBefore {
            self.due.notify_one();
            LetterStatus::Duplicate
        } else {
            tracing::info!(request_id = work.request_id(), outcome = outcome.as_str(), "dead letter recovered");
            LetterStatus::Recovered
        };
        self.put_down(work, status, &arrival(&work.record), number).await.map_err(|error| Failure::from(&error))
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
                    LetterStatus::Held
                } else {
                    LetterStatus::Parked
                };
                return self
                    .put_down(work, status, failure, history.attempts)
                    .await
                    .map_err(|error| Failure::from(&error));
            }
        };
        let remedy = if failure.code == codes::CAP_REACHED { Remedy::GiveBackAndSuspect } else { Remedy::GiveBack };
        match self.decide(work, event, failure.clone(), history.attempts, remedy).await {
            // The database will never take this decision; the record is kept for somebody to look at.
            Err(error) if is_refused(error.class(), history) => {
                let refused = Failure::from(&error);
                self.put_down(work, LetterStatus::Parked, &refused, history.attempts)
                    .await
                    .map_err(|error| Failure::from(&error))
            }
            other => other.map_err(|error| Failure::from(&error)),
        }
    }

    fn may_be_the_records_doing(failure: &Failure) -> bool {
        may_be_the_records_doing(&failure.code)
    }

    async fn probe(&self) -> Result<(), Failure> {
        self.database.probe().await.map_err(|error| Failure::from(&error))
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
        || class == Class::Unknown && history.refusals + 1 >= REFUSALS
        || history.refusals >= REFUSALS
}

impl Repair {
    async fn decide(
        &self,
        work: &Work<Arc<CouponIssued>>,
        event: &CouponIssued,
        failure: Failure,
        attempts: u32,
        remedy: Remedy,
    ) -> Result<(), RepoError> {
        let letter = letter(&work.record, attempts);
        // A rebuild replaced the data they were reserved in; no deployment can be at fault.
        let budget = (failure.code != codes::OLD_EPOCH).then_some(self.budget);
        let give_up = GiveUp {
            event: CouponIssued::clone(event),
            failure,
            letter,
            remedy,
            budget,
            now: self.clock.now(),
            by: None,
        };
        let failure = give_up.failure.clone();
        let given_up = self.database.give_up(give_up).await?;
        metrics::counter!("coupon_give_ups_total", "outcome" => outcome_word(given_up)).increment(1);
        match given_up {
            GivenUp::CompensatedBefore => {
                self.database.ask_give_back_again(event.coupon_code.clone(), event.request_id).await?;
            }
            GivenUp::Issued => {
                tracing::info!(request_id = work.request_id(), "the request was issued after all; nothing to give up");
            }
            // Nobody has to look at one that the member did not lose anything by.
            GivenUp::Compensated { failed_issue_id } if !matches!(remedy, Remedy::Supersede(_)) => {
                alarm::log_compensated(event, &failure, failed_issue_id);
            }
            GivenUp::Compensated { .. } | GivenUp::Held | GivenUp::Parked => {}
        }
        self.due.notify_one();
        self.alarms_wakeup.notify_one();
        Ok(())
    }

    async fn put_down(
        &self,
        work: &Work<Arc<CouponIssued>>,
        status: LetterStatus,
        failure: &Failure,
        attempts: u32,
    ) -> Result<(), RepoError> {
        let event_version = match CouponIssued::decode(work.record.value.as_deref(), VERSION) {
            Ok(event) => Some(event.version),
            Err(DecodeError::Newer(version)) => Some(version),
            Err(_) => None,
        };
        let verdict = Verdict {
            status,
            event: work.item.as_deref().ok(),
            event_version,
            failure,
            failed_issue_id: None,
            alarm: matches!(status, LetterStatus::Held | LetterStatus::Parked),
            now: self.clock.now(),
        };
        metrics::counter!("coupon_dead_letters_total", "status" => status.as_str()).increment(1);
        self.database.put_down(letter(&work.record, attempts), verdict).await?;
        self.alarms_wakeup.notify_one();
        Ok(())
    }
}

/// What `coupon_give_ups_total` is counted by.
pub fn outcome_word(given_up: GivenUp) -> &'static str {
    match given_up {
        GivenUp::Compensated { .. } => "COMPENSATED",
        GivenUp::CompensatedBefore => "COMPENSATED_BEFORE",
        GivenUp::Issued => "ISSUED",
        GivenUp::Held => "HELD",
        GivenUp::Parked => "PARKED",
    }
}
