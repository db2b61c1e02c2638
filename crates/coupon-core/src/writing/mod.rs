//! Writing events to PostgreSQL in batches, for both consumers: from events to decisions, and from decisions to what follows
//! for the record. The only thing that is written beside a decision is a give-back that becomes due once more
//! ([`Writer::apply_outcome`]).
//!
//! Events of one coupon and one epoch go together. While one batch of a coupon commits, the next one grows, so the
//! batch size follows the load by itself and an idle pipeline writes at once. A batch that is full is written beside it.

mod batches;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::batches::{Batches, Waiting};

use crate::{
    clock::from_unix_ms,
    event::CouponIssued,
    failure::{Class, Failure},
    repo::{
        Database,
        coupon_issues::{IssueOutcome, Remedy},
    },
    runtime::{SettingsError, admin::count_from_zero, within},
};

/// The `[writer]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriterSettings {
    /// Most events in one batch.
    pub max_batch: usize,
    /// Most batches written at once, over all coupons; not more than `database.max_connections`.
    pub max_parallel: usize,
}

/// Writes events to PostgreSQL. Clones share the batch queues.
#[derive(Clone)]
pub struct Writer {
    database: Database,
    batches: Arc<Batches>,
    accept_to_row: metrics::Histogram,
    issued_now: metrics::Counter,
}

impl WriterSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("writer.max_batch", self.max_batch, 1..=10_000, "events")?;
        within("writer.max_parallel", self.max_parallel, 1..=500, "batches")
    }
}

impl Writer {
    /// A writer into `database`.
    pub fn new(database: Database, settings: &WriterSettings) -> Self {
        const OUTCOMES: &str = "coupon_outcomes_total";
        count_from_zero(OUTCOMES, "outcome", [IssueOutcome::IssuedNow.as_str()]);
        Self {
            batches: Batches::new(database.clone(), settings),
            database,
            // From the reservation to the row of a coupon, in seconds. What ends without a row is not in it.
            accept_to_row: metrics::histogram!("coupon_accept_to_row_seconds"),
            issued_now: metrics::counter!(OUTCOMES, "outcome" => IssueOutcome::IssuedNow.as_str()),
        }
    }

    /// Counts an outcome and gives what it means for the record. If the request was COMPENSATED before, its give-back is made
    /// due once more, for `dlq-consumer`: that harms nothing, and it repairs a Redis that went back in time.
    pub async fn apply_outcome(
        &self,
        event: &CouponIssued,
        outcome: IssueOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        if let Some(applied) = self.apply_at_once(event, outcome, now) {
            return applied;
        }
        self.count(event, outcome, now);
        self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await?;
        classify(outcome)
    }

    /// Like [`Writer::apply_outcome`] for an outcome that writes nothing; `None`, and nothing is counted, for the one that does.
    pub fn apply_at_once(
        &self,
        event: &CouponIssued,
        outcome: IssueOutcome,
        now: DateTime<Utc>,
    ) -> Option<Result<(), Failure>> {
        if outcome == IssueOutcome::CompensatedBefore {
            return None;
        }
        self.count(event, outcome, now);
        Some(classify(outcome))
    }

    fn count(&self, event: &CouponIssued, outcome: IssueOutcome, now: DateTime<Utc>) {
        if outcome == IssueOutcome::IssuedNow {
            self.issued_now.increment(1);
            // Less than nothing when the clocks of Redis and this machine differ.
            self.accept_to_row.record((now - from_unix_ms(event.reserved_at)).to_std().unwrap_or_default());
        } else {
            metrics::counter!("coupon_outcomes_total", "outcome" => outcome.as_str()).increment(1);
        }
    }

    /// Writes an event and gives its outcome. With `isolated` the event shares no statement with others.
    pub async fn write(&self, event: &Arc<CouponIssued>, isolated: bool) -> Result<IssueOutcome, Failure> {
        if isolated {
            return self.batches.issue(event).await;
        }
        let (sender, outcome) = oneshot::channel();
        // The caller is gone when the partition was taken away meanwhile.
        self.write_all([(Arc::clone(event), false, move |outcome| drop(sender.send(outcome)))]);
        outcome.await.map_err(|_| lost())?
    }

    /// Writes many events, with others of their coupons, and calls each one's `on_outcome` as soon as its outcome is known; a
    /// callback that is dropped uncalled was torn by a panic. The flag says that an event is quarantined, because it has failed
    /// for a reason that may lie in it: such events share statements only with each other.
    pub fn write_all<R>(&self, events: impl IntoIterator<Item = (Arc<CouponIssued>, bool, R)>)
    where
        R: FnOnce(Result<IssueOutcome, Failure>) + Send + 'static,
    {
        self.batches.put(events.into_iter().map(|(event, quarantined, on_outcome)| Waiting {
            event,
            quarantined,
            on_outcome: Box::new(on_outcome),
        }));
    }
}

/// What an outcome means for the record: done, or a failure that says what has to follow.
pub fn classify(outcome: IssueOutcome) -> Result<(), Failure> {
    let (class, code, message) = match outcome {
        IssueOutcome::IssuedNow | IssueOutcome::IssuedBefore | IssueOutcome::CompensatedBefore => return Ok(()),
        IssueOutcome::MemberHoldsOne(_) => {
            (Class::Permanent, codes::MEMBER_HOLDS_ONE, "the member already holds a coupon by another request")
        }
        IssueOutcome::CapReached => {
            (Class::Permanent, codes::CAP_REACHED, "every coupon is issued although redis reserved one more")
        }
        IssueOutcome::OldEpoch => {
            (Class::Permanent, codes::OLD_EPOCH, "the reservation was made in redis data that a rebuild has replaced")
        }
        IssueOutcome::OtherMember => {
            (Class::Permanent, codes::OTHER_MEMBER, "the request id was decided for another member")
        }
        IssueOutcome::CouponUnknown => (Class::Unknown, codes::COUPON_UNKNOWN, "postgresql knows no such coupon"),
        IssueOutcome::NewerEpoch => {
            (Class::Unknown, codes::NEWER_EPOCH, "the reservation is of an epoch postgresql has not heard of")
        }
        IssueOutcome::Undecided => (Class::Contended, codes::UNDECIDED, "what the insert ran into is gone again"),
    };
    Err(Failure::new(class, code, message))
}

/// Returns the decision against an event that has come too late, and the reason: its member has a coupon by another request,
/// or a rebuild has sold its unit again. `None`: the outcome decides nothing against it.
pub fn decision_against(outcome: IssueOutcome) -> Option<(Remedy, Failure)> {
    let remedy = match outcome {
        IssueOutcome::MemberHoldsOne(holder) => Remedy::Supersede(holder),
        IssueOutcome::OldEpoch => Remedy::GiveBack,
        _ => return None,
    };
    classify(outcome).err().map(|failure| (remedy, failure))
}

/// Codes of the failures that [`classify`] gives.
pub mod codes {
    /// The member holds a coupon by another request.
    pub const MEMBER_HOLDS_ONE: &str = "MEMBER_HOLDS_ONE";
    /// Every coupon is issued.
    pub const CAP_REACHED: &str = "CAP_REACHED";
    /// Reserved before a rebuild.
    pub const OLD_EPOCH: &str = "OLD_EPOCH";
    /// The request id was decided for another member.
    pub const OTHER_MEMBER: &str = "OTHER_MEMBER";
    /// No such coupon.
    pub const COUPON_UNKNOWN: &str = "COUPON_UNKNOWN";
    /// Reserved after what PostgreSQL was restored to.
    pub const NEWER_EPOCH: &str = "NEWER_EPOCH";
    /// Neither inserted nor found.
    pub const UNDECIDED: &str = "UNDECIDED";
}

fn lost() -> Failure {
    // Which event was the cause shows when each is written by itself.
    Failure::new(Class::Interrupted, "WRITER", "the writer was torn down before it answered").happened_by_itself()
}
