//! Decisions: who gets a coupon, written in batches. The table `coupon_issues` and the counter beside it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Database, RepoError, pool::Pool};
use crate::{
    event::CouponIssued,
    ids::{CouponCode, MemberId, RequestId},
    words::words,
};

mod insert;
mod look_up;
mod of_member;

pub use insert::{Batch, Columns};
use insert::{Missing, insert_new, insert_parts, insert_what_fits};
pub use of_member::{Decided, Lettered, Requested};

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
pub enum IssueOutcome {
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

impl IssueOutcome {
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

/// All rows of a batch at once.
pub const WHOLE_BATCH: i32 = i32::MAX;

/// Rows that are tried at once after a whole batch was refused: with one in a hundred that is, fewer cost more beginnings
/// and more cost more rows that were written in vain. Measured; 16 and 64 are as good within a tenth.
const PART: i32 = 32;

/// What became of a batch.
#[derive(Debug)]
pub struct Written {
    /// What became of each event, in the order given, or why the database refuses it by itself; `None` of one that was not
    /// tried, because the call had done enough.
    pub outcomes: Vec<Option<Result<IssueOutcome, RepoError>>>,
    /// Rows to be tried at once next: of what was not tried, and of the batch after this one.
    pub next_part: i32,
}

impl Database {
    /// Writes events of one coupon and one epoch by one statement, up to `part` rows of it at once; [`WHOLE_BATCH`] where none is
    /// expected to be refused. With `wait` an event whose row somebody holds for longer than that is refused by itself;
    /// without, that fails the batch.
    ///
    /// An error means that nothing of the batch was written, or that it is not known what its rows ran into; doing it
    /// again is safe.
    pub async fn issue(
        &self,
        events: Vec<Arc<CouponIssued>>,
        part: i32,
        wait: Option<Duration>,
    ) -> Result<Written, RepoError> {
        let Some(batch) = Batch::of(&events) else { return Ok(Written { outcomes: Vec::new(), next_part: part }) };
        let batch = Arc::new(batch);
        let (missing, next_part, cap_hit) = match self.insert(&batch, part, wait).await {
            Ok((missing, next_part)) => (missing, next_part, false),
            Err(error) if error.is_cap() => {
                let copy = Arc::clone(&batch);
                self.detached("issue what fits", move |pool| insert_what_fits(pool, copy)).await?;
                (Missing::all(&batch), part, true)
            }
            Err(error) => return Err(error),
        };
        let Missing { missed, mut refused, untried } = missing;
        // One answers for all: they met the same database.
        let place = refused.iter().find(|(_, refusal)| refusal.may_be_an_outage()).map(|(place, _)| *place);
        if let Some(refusal) = place.and_then(|place| refused.remove(&place).map(|refusal| (place, refusal))) {
            match self.judged(refusal.1).await {
                away @ RepoError::Away(_) => return Err(away),
                judged => drop(refused.insert(refusal.0, judged)),
            }
        }
        let rest: Vec<&CouponIssued> = missed.iter().map(|place| events[*place].as_ref()).collect();
        let found = match rest.as_slice() {
            [] => HashMap::new(),
            rest => self.look_up(batch.code(), batch.epoch(), cap_hit, rest).await?,
        };
        let outcome = |(place, event): (usize, &Arc<CouponIssued>)| {
            if untried.contains(&place) {
                return None;
            }
            Some(match refused.remove(&place) {
                Some(error) => Err(error),
                None if missed.contains(&place) => {
                    let key = (event.request_id.as_uuid(), event.member_id.as_str().to_owned());
                    Ok(found.get(&key).copied().unwrap_or(IssueOutcome::Undecided))
                }
                None => Ok(IssueOutcome::IssuedNow),
            })
        };
        Ok(Written { outcomes: events.iter().enumerate().map(outcome).collect(), next_part })
    }

    /// An insert that need not look for conflicts costs PostgreSQL a third less, and nearly always every row is new.
    /// Where one is not, or is refused, nothing was written, and it is done again by parts.
    async fn insert(&self, batch: &Arc<Batch>, part: i32, wait: Option<Duration>) -> Result<(Missing, i32), RepoError> {
        let rows = batch.rows();
        let part = if part < rows {
            part
        } else if wait.is_some() {
            PART.min(rows / 2).max(1)
        } else {
            let copy = Arc::clone(batch);
            match self.detached("issue a batch", move |pool| insert_new(pool, copy)).await {
                Ok(missing) => return Ok((missing, part)),
                Err(error) if error.is_unique_violation() => part,
                Err(error) if rows == 1 && error.is_of_a_row() => return Ok((Missing::refused(error), part)),
                Err(error) if rows > 1 && error.may_be_of_a_record() => PART.min(rows / 2),
                Err(error) => return Err(error),
            }
        };
        let copy = Arc::clone(batch);
        self.detached("issue a batch", move |pool| insert_parts(pool, copy, part, wait)).await
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

/// Does what issuing does, for no row at all: whatever fails here says nothing of a row.
pub(super) async fn rehearse(pool: &Pool) -> Result<(), sqlx::Error> {
    insert::rehearse(pool).await?;
    look_up::rehearse(pool).await
}
