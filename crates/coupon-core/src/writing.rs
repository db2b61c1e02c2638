//! Writing events down in batches: the composition of events and the decision ledger that both consumers share.
//!
//! Events of one coupon and one epoch go together. While one batch of a coupon commits, the next one grows, so the
//! batch size follows the load by itself and an idle pipeline writes at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    clock::from_unix_ms,
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::{Database, issues::Outcome},
    runtime::{SettingsError, admin::count_from_zero},
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
pub struct Writer(Arc<Inner>);

struct Inner {
    database: Database,
    lanes: Mutex<HashMap<Lane, Vec<Waiting>>>,
    parallel: Semaphore,
    max_batch: usize,
}

type Lane = (CouponCode, i64);

struct Waiting {
    event: CouponIssued,
    reply: oneshot::Sender<Result<Outcome, Failure>>,
}

impl WriterSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(1..=10_000).contains(&self.max_batch) {
            return Err(SettingsError::invalid("writer.max_batch", self.max_batch, "1 to 10000 events"));
        }
        if !(1..=500).contains(&self.max_parallel) {
            return Err(SettingsError::invalid("writer.max_parallel", self.max_parallel, "1 to 500 batches"));
        }
        Ok(())
    }
}

impl Writer {
    /// A writer into `database`.
    pub fn new(database: Database, settings: &WriterSettings) -> Self {
        let parallel = Semaphore::new(settings.max_parallel);
        count_from_zero("coupon_outcomes_total", "outcome", [Outcome::IssuedNow.as_str()]);
        drop((accept_to_row(), batch_events()));
        Self(Arc::new(Inner { database, lanes: Mutex::default(), parallel, max_batch: settings.max_batch }))
    }

    /// Acts on what became of an event at `now`: done, or a failure that says what has to follow.
    pub async fn settle(&self, event: &CouponIssued, outcome: Outcome, now: DateTime<Utc>) -> Result<(), Failure> {
        metrics::counter!("coupon_outcomes_total", "outcome" => outcome.as_str()).increment(1);
        if outcome == Outcome::IssuedNow {
            // Less than nothing when the clocks of Redis and this machine differ.
            accept_to_row().record((now - from_unix_ms(event.reserved_at)).to_std().unwrap_or_default());
        }
        if outcome == Outcome::CompensatedBefore {
            let asked = self.0.database.ask_give_back_again(event.coupon_code.clone(), event.request_id).await;
            asked.map_err(|error| Failure::from(&error))?;
        }
        judge(outcome)
    }

    /// Writes an event down and tells what became of it. With `alone` it shares no statement with other events.
    pub async fn write(&self, event: &CouponIssued, alone: bool) -> Result<Outcome, Failure> {
        if alone {
            let outcomes = self.0.issue(&event.coupon_code, event.epoch, std::slice::from_ref(event)).await?;
            return outcomes.first().copied().ok_or_else(lost);
        }
        let (reply, answer) = oneshot::channel();
        let lane = (event.coupon_code.clone(), event.epoch);
        let idle = {
            let mut lanes = self.0.lanes();
            let idle = !lanes.contains_key(&lane);
            lanes.entry(lane.clone()).or_default().push(Waiting { event: event.clone(), reply });
            idle
        };
        if idle {
            // A task nobody aborts: a caller that goes away must not tear the batches of others.
            tokio::spawn(Arc::clone(&self.0).drain(lane));
        }
        answer.await.map_err(|_| lost())?
    }
}

/// From the reservation to the row of a coupon, in seconds. What ends without a row is not in it.
fn accept_to_row() -> metrics::Histogram {
    metrics::histogram!("coupon_accept_to_row_seconds")
}

/// Events in a batch.
fn batch_events() -> metrics::Histogram {
    metrics::histogram!("coupon_batch_events")
}

/// What an outcome means for the record: done, or a failure that says what has to follow.
pub fn judge(outcome: Outcome) -> Result<(), Failure> {
    let (class, code, message) = match outcome {
        Outcome::IssuedNow | Outcome::IssuedBefore | Outcome::CompensatedBefore => return Ok(()),
        Outcome::MemberHoldsOne(_) => {
            (Class::Permanent, codes::MEMBER_HOLDS_ONE, "the member already holds a coupon by another request")
        }
        Outcome::CapReached => {
            (Class::Permanent, codes::CAP_REACHED, "every coupon is issued although redis reserved one more")
        }
        Outcome::OldEpoch => {
            (Class::Permanent, codes::OLD_EPOCH, "the reservation was made in redis data that a rebuild has replaced")
        }
        Outcome::OtherMember => {
            (Class::Permanent, codes::OTHER_MEMBER, "the request id was decided for another member")
        }
        Outcome::CouponUnknown => (Class::Unknown, codes::COUPON_UNKNOWN, "postgresql knows no such coupon"),
        Outcome::NewerEpoch => {
            (Class::Unknown, codes::NEWER_EPOCH, "the reservation is of an epoch postgresql has not heard of")
        }
        Outcome::Undecided => (Class::Contended, codes::UNDECIDED, "what the insert ran into is gone again"),
    };
    Err(Failure::new(class, code, message))
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

impl Inner {
    /// Writes batches of one lane until nothing waits; the lane is in the map as long as somebody does this.
    async fn drain(self: Arc<Self>, lane: Lane) {
        loop {
            let Ok(_permit) = self.parallel.acquire().await else { return };
            let batch = {
                let mut lanes = self.lanes();
                let waiting =
                    lanes.get_mut(&lane).map(|waiting| waiting.drain(..waiting.len().min(self.max_batch)).collect());
                let batch: Vec<Waiting> = waiting.unwrap_or_default();
                if batch.is_empty() {
                    lanes.remove(&lane);
                    return;
                }
                batch
            };
            self.write(&lane, batch).await;
        }
    }

    /// Writes a batch. When it fails for a reason that may lie in one record, it is halved until the guilty one
    /// stands alone, so that nobody else is charged for it.
    async fn write(&self, (code, epoch): &Lane, batch: Vec<Waiting>) {
        let mut pending = vec![batch];
        while let Some(batch) = pending.pop() {
            let events: Vec<CouponIssued> = batch.iter().map(|waiting| waiting.event.clone()).collect();
            batch_events().record(u32::try_from(events.len()).unwrap_or(u32::MAX));
            match self.issue(code, *epoch, &events).await {
                Ok(outcomes) => {
                    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                        // Nobody waits any more when the partition was taken away meanwhile.
                        let _ = waiting.reply.send(Ok(outcome));
                    }
                }
                Err(failure) if self.may_lie_in_one(code, &failure).await => {
                    if batch.len() == 1 {
                        answer(batch, &Failure { by_itself: true, ..failure });
                        continue;
                    }
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    pending.extend([second, first]);
                }
                Err(failure) => answer(batch, &failure),
            }
        }
    }

    /// Whether the batch may have failed for one of its records. Contention does when somebody holds a single decision,
    /// and does not when it is the coupon's row.
    async fn may_lie_in_one(&self, code: &CouponCode, failure: &Failure) -> bool {
        match failure.class {
            Class::Unknown | Class::Permanent => true,
            Class::Contended => self.database.is_coupon_unlocked(code).await.unwrap_or(false),
            Class::Unavailable | Class::Malformed | Class::Interrupted => false,
        }
    }

    async fn issue(&self, code: &CouponCode, epoch: i64, events: &[CouponIssued]) -> Result<Vec<Outcome>, Failure> {
        self.database.issue(code, epoch, events).await.map_err(|error| Failure::from(&error))
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Vec<Waiting>>> {
        // Nothing panics while the lock is held, and a map of waiting events would be whole all the same.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody of a batch the same.
fn answer(batch: Vec<Waiting>, failure: &Failure) {
    for waiting in batch {
        let _ = waiting.reply.send(Err(failure.clone()));
    }
}

fn lost() -> Failure {
    Failure::new(Class::Interrupted, "WRITER", "the writer was torn down before it answered")
}
