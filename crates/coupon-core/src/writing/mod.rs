//! Writing events down in batches: the composition of events and the decision ledger that both consumers share.
//!
//! Events of one coupon and one epoch go together. While one batch of a coupon commits, the next one grows, so the
//! batch size follows the load by itself and an idle pipeline writes at once. One that is full is written beside it.

mod batches;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::batches::{Batches, Reply, Waiting};

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

/// Writes events down. Clones share the batches.
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

    /// Acts on what became of an event at `now`: done, or a failure that says what has to follow.
    pub async fn settle(&self, event: &CouponIssued, outcome: IssueOutcome, now: DateTime<Utc>) -> Result<(), Failure> {
        if let Some(settled) = self.settle_at_once(event, outcome, now) {
            return settled;
        }
        self.count(event, outcome, now);
        let asked = self.database.coupon_issues().request_give_back(event.coupon_code.clone(), event.request_id).await;
        asked.map_err(|error| Failure::from(&error))?;
        judge(outcome)
    }

    /// The same where nothing has to be written for it; `None` where something has, and [`Writer::settle`] does it.
    pub fn settle_at_once(
        &self,
        event: &CouponIssued,
        outcome: IssueOutcome,
        now: DateTime<Utc>,
    ) -> Option<Result<(), Failure>> {
        if outcome == IssueOutcome::CompensatedBefore {
            return None;
        }
        self.count(event, outcome, now);
        Some(judge(outcome))
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

    /// Writes an event down and tells what became of it. With `alone` it shares no statement with other events.
    pub async fn write(&self, event: &Arc<CouponIssued>, alone: bool) -> Result<IssueOutcome, Failure> {
        if alone {
            return self.batches.issue(event).await;
        }
        let (reply, answer) = oneshot::channel();
        // Nobody waits any more when the partition was taken away meanwhile.
        let reply = Reply::new(move |outcome| drop(reply.send(outcome)));
        self.batches.put([Waiting { event: Arc::clone(event), suspected: false, reply }]);
        answer.await.map_err(|_| lost())?
    }

    /// Writes many events down, with others of their coupons; each is told what became of it as soon as it is known.
    /// One that is dropped untold was torn by a panic. Those that are `suspected`, because they have failed for a reason
    /// that may lie in them, share statements only with others that are.
    pub fn write_all<R>(&self, events: impl IntoIterator<Item = (Arc<CouponIssued>, bool, R)>)
    where
        R: FnOnce(Result<IssueOutcome, Failure>) + Send + 'static,
    {
        let waiting = |(event, suspected, reply)| Waiting { event, suspected, reply: Reply::new(reply) };
        self.batches.put(events.into_iter().map(waiting));
    }
}

/// What an outcome means for the record: done, or a failure that says what has to follow.
pub fn judge(outcome: IssueOutcome) -> Result<(), Failure> {
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
    judge(outcome).err().map(|failure| (remedy, failure))
}

/// Codes of the failures that [`judge`] finds.
pub mod codes {
    /// The member holds a coupon by another request.
    pub const MEMBER_HOLDS_ONE: &str = "MEMBER_HOLDS_ONE";
    /// Every coupon is issued.
    pub const CAP_REACHED: &str = "CAP_REACHED";
    /// Reserved before a rebuild.
    pub const OLD_EPOCH: &str = "OLD_EPOCH";
    /// Decided for somebody else.
    pub const OTHER_MEMBER: &str = "OTHER_MEMBER";
    /// No such coupon.
    pub const COUPON_UNKNOWN: &str = "COUPON_UNKNOWN";
    /// Reserved after what PostgreSQL was restored to.
    pub const NEWER_EPOCH: &str = "NEWER_EPOCH";
    /// Neither inserted nor found.
    pub const UNDECIDED: &str = "UNDECIDED";
}

fn lost() -> Failure {
    // Whose doing that was shows when it is written alone.
    Failure::new(Class::Interrupted, "WRITER", "the writer was torn down before it answered").happened_by_itself()
}
