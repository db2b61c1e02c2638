//! Decisions: who gets a coupon, written in batches. The table `coupon_issues` and the counter beside it.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Database, RepoError, pool::Pool};
use crate::{
    event::CouponIssued,
    ids::{CouponCode, MemberId, RequestId},
    words::words,
};

mod insert;
mod look_up;

pub use insert::{Batch, Columns};
use insert::{Key, Missing, Parts, insert_each, insert_new, insert_what_fits};

words! {
    /// The word on a request, spoken once.
    pub enum Decision as "decision" {
        /// The member has the coupon.
        Issued = "ISSUED",
        /// The member does not have it; the unit goes back.
        Compensated = "COMPENSATED",
    }
}

/// What became of one event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decided ISSUED by this batch.
    IssuedNow,
    /// Was decided ISSUED before.
    IssuedBefore,
    /// Was decided COMPENSATED before.
    CompensatedBefore,
    /// The member holds a coupon by this other request.
    MemberHoldsOne(RequestId),
    /// Every coupon is issued. Redis would not have reserved it if the two agreed.
    CapReached,
    /// PostgreSQL knows no such coupon.
    CouponUnknown,
    /// Reserved in Redis data that a rebuild has replaced.
    OldEpoch,
    /// Reserved in Redis data that PostgreSQL has not heard of: it was restored from a backup.
    NewerEpoch,
    /// The request id was decided for another member: no issuer-api wrote this event.
    OtherMember,
    /// What it ran into is gone again: to be tried once more.
    Undecided,
}

impl Outcome {
    /// The textual form, for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IssuedNow => "ISSUED_NOW",
            Self::IssuedBefore => "ISSUED_BEFORE",
            Self::CompensatedBefore => "COMPENSATED_BEFORE",
            Self::MemberHoldsOne(_) => "MEMBER_HOLDS_ONE",
            Self::CapReached => "CAP_REACHED",
            Self::CouponUnknown => "COUPON_UNKNOWN",
            Self::OldEpoch => "OLD_EPOCH",
            Self::NewerEpoch => "NEWER_EPOCH",
            Self::OtherMember => "OTHER_MEMBER",
            Self::Undecided => "UNDECIDED",
        }
    }
}

/// What a batch probably holds. Whatever it turns out to hold, it is written right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// Events that have no row yet.
    AllNew,
    /// Some that have one, as after a crash.
    SomeThere,
    /// Some that the database refuses.
    SomeRefused,
    /// Only such.
    AllRefused,
}

impl Expected {
    /// What one event of a batch gives reason to expect of the next.
    pub fn by(outcome: &Result<Outcome, RepoError>) -> Self {
        match outcome {
            Ok(Outcome::IssuedNow) => Self::AllNew,
            Ok(_) => Self::SomeThere,
            Err(_) => Self::SomeRefused,
        }
    }
}

/// Rows that are tried at once where some are refused: with one in a hundred of a thousand, fewer cost more beginnings
/// and more cost more rows that were written in vain. Measured; 16 and 64 are as good within a tenth.
const PART: i32 = 32;

/// A decision as its member may see it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Decided {
    /// The word.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// When an issued coupon expires.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Database {
    /// Writes events of one coupon and one epoch; gives an outcome for each, in the order given, or why the database
    /// refuses it by itself.
    ///
    /// An error means that nothing of the batch was written, or that it is not known what its rows ran into; doing it
    /// again is safe.
    pub async fn issue(
        &self,
        events: Vec<Arc<CouponIssued>>,
        expected: Expected,
    ) -> Result<Vec<Result<Outcome, RepoError>>, RepoError> {
        let Some(batch) = Batch::of(&events) else { return Ok(Vec::new()) };
        let batch = Arc::new(batch);
        let (Missing { missed, refused }, cap_hit) = match self.insert(&batch, expected).await {
            Ok(missing) => (missing, false),
            Err(error) if error.is_cap() => {
                let copy = Arc::clone(&batch);
                self.detached("issue what fits", move |pool| insert_what_fits(pool, copy)).await?;
                (Missing::all(&batch), true)
            }
            Err(error) => return Err(error),
        };
        if missed.is_empty() && refused.is_empty() {
            return Ok(events.iter().map(|_| Ok(Outcome::IssuedNow)).collect());
        }
        if let Some((state, message)) = refused.values().next() {
            // One answers for all: they met the same database.
            let judged = self.judged(RepoError::refused("issue a batch", state, message)).await;
            if matches!(judged, RepoError::Away(_)) {
                return Err(judged);
            }
        }
        let rest: Vec<&CouponIssued> =
            events.iter().map(Arc::as_ref).filter(|event| missed.contains(&key(event))).collect();
        let found = match rest.as_slice() {
            [] => HashMap::new(),
            rest => self.look_up(batch.code(), batch.epoch(), cap_hit, rest).await?,
        };
        let outcome = |event: &Arc<CouponIssued>| {
            let key = key(event);
            match refused.get(&key) {
                Some((state, message)) => Err(RepoError::refused("issue a batch", state, message)),
                None => Ok(found.get(&key).copied().unwrap_or(Outcome::IssuedNow)),
            }
        };
        Ok(events.iter().map(outcome).collect())
    }

    /// An insert that need not look for conflicts costs PostgreSQL a third less, and nearly always every row is new.
    /// Where one is not, or is refused, nothing was written, and it is done again with care.
    async fn insert(&self, batch: &Arc<Batch>, expected: Expected) -> Result<Missing, RepoError> {
        let some_there = Parts { rows: PART, some_there: true };
        let some_refused = |rows| Parts { rows, some_there: false };
        let parts = match expected {
            Expected::AllNew => {
                let copy = Arc::clone(batch);
                match self.detached("issue a batch", move |pool| insert_new(pool, copy)).await {
                    Err(error) if error.is_unique_violation() => some_there,
                    Err(error) if batch.len() > 1 && error.may_be_of_a_record() => some_refused(PART),
                    other => return other,
                }
            }
            Expected::SomeThere => some_there,
            Expected::SomeRefused => some_refused(PART),
            Expected::AllRefused => some_refused(1),
        };
        let copy = Arc::clone(batch);
        self.detached("issue a batch", move |pool| insert_each(pool, copy, parts)).await
    }

    /// Whether nobody holds the coupon's row, which every batch needs.
    pub async fn is_coupon_unlocked(&self, code: &CouponCode) -> Result<bool, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar::<_, i64>(
            "SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE SKIP LOCKED",
        )
        .bind(code.as_str())
        .fetch_optional(&pool);
        Ok(self.bounded("look at a coupon's lock", question).await?.is_some())
    }

    /// The decision on a request, if it is this member's and there is one.
    pub async fn decision(
        &self,
        code: &CouponCode,
        request_id: RequestId,
        member: &MemberId,
    ) -> Result<Option<Decided>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT decision, expires_at FROM coupon_issues JOIN coupons USING (coupon_id)
             WHERE coupon_code = $1 AND request_id = $2 AND member_id = $3",
        )
        .bind(code.as_str())
        .bind(request_id.as_uuid())
        .bind(member.as_str())
        .fetch_optional(&pool);
        self.bounded("read a decision", question).await
    }

    /// Up to `limit` marks of ISSUED rows after `after` in the order of the request ids, for filling Redis.
    pub async fn marks(
        &self,
        code: &CouponCode,
        after: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<(MemberId, RequestId)>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            // One range of the primary key, whatever the plan. With a join, or with `$2 IS NULL OR …`, each page would
            // read the coupon from its beginning. No request id is nil.
            "SELECT member_id, request_id FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
               AND request_id > $2 AND decision = 'ISSUED'
             ORDER BY request_id LIMIT $3",
        )
        .bind(code.as_str())
        .bind(after.map_or_else(Uuid::nil, RequestId::as_uuid))
        .bind(limit)
        .fetch_all(&pool);
        let rows: Vec<(String, Uuid)> = self.bounded("read marks", question).await?;
        Ok(rows.into_iter().filter_map(|(member, id)| Some((member.parse().ok()?, id.into()))).collect())
    }
}

fn key(event: &CouponIssued) -> Key {
    (event.request_id.as_uuid(), event.member_id.as_str().to_owned())
}

/// Does what issuing does, for no row at all: whatever fails here says nothing of a row.
pub(super) async fn rehearse(pool: &Pool) -> Result<(), sqlx::Error> {
    insert::rehearse(pool).await?;
    look_up::rehearse(pool).await
}
