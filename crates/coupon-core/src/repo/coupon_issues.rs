//! Decisions: the table `coupon_issues`, written in batches, and the counter of its campaign.

use std::{collections::HashMap, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{CouponIssueRepository, RepoError, pool::Pool};
use crate::{
    event::CouponIssued,
    ids::{CouponCode, MemberId, RequestId},
    words::words,
};

mod compensate;
mod compensation;
mod details;
mod give_backs;
mod insert;
mod look_up;
mod of_coupon;
mod of_member;
mod traces;

pub use compensation::*;
pub use details::{DecisionDetails, Issued};
pub use give_backs::DueGiveBack;
pub use insert::{Batch, Columns};
use insert::{Missing, insert_new, insert_parts, insert_what_fits};
pub(in crate::repo) use of_coupon::LAST_RESERVATION;
pub use of_coupon::{COUNTED_UP_TO, CampaignCounts, DecisionFilter, DecisionOfCoupon};
pub use of_member::{Decided, Requested};

words! {
    /// Decision on a request, made once.
    pub enum Decision as "decision" {
        /// The member has the coupon.
        Issued = "ISSUED",
        /// The member does not have it; the unit is given back.
        Compensated = "COMPENSATED",
    }
}

/// Outcome of one event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueOutcome {
    /// Decided ISSUED by this batch.
    IssuedNow,
    /// The request was decided ISSUED before.
    IssuedBefore,
    /// The request was decided COMPENSATED before.
    CompensatedBefore,
    /// The member holds a coupon by this other request.
    MemberHoldsOne(RequestId),
    /// The total is issued: Redis and PostgreSQL disagree.
    CapReached,
    /// PostgreSQL has no such coupon.
    CouponUnknown,
    /// Reserved in Redis data that a rebuild has replaced.
    OldEpoch,
    /// Reserved in Redis data that PostgreSQL does not know: it was restored from a backup.
    NewerEpoch,
    /// The request id was decided for another member: no issuer-api wrote this event.
    OtherMember,
    /// The conflict is gone: to be tried once more.
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

/// Rows tried at once after a whole batch was refused. With one refused row in a hundred, fewer rows cost more
/// savepoints and more rows cost more wasted inserts. Measured; 16 and 64 are as good within a tenth.
const ROWS_PER_PART: i32 = 32;

/// Outcome of a batch.
#[derive(Debug)]
pub struct Written {
    /// Outcome of each event, in the order given, or the refusal of the event by itself; `None` of one that was not
    /// tried, because the call had reached its limit.
    pub outcomes: Vec<Option<Result<IssueOutcome, RepoError>>>,
    /// Number of rows to be tried at once next: of the untried events, and of the batch after this one.
    pub next_part: i32,
}

impl CouponIssueRepository<'_> {
    /// Writes events of one coupon and one epoch by one statement, up to `part` rows at once: [`WHOLE_BATCH`] where no
    /// refusal is expected. With `wait`, an event whose row is locked for longer is refused by itself; without, it
    /// fails the batch.
    ///
    /// An error means that nothing of the batch was written, or that the outcomes are unknown; writing it again is
    /// safe.
    pub async fn issue(
        self,
        events: Vec<Arc<CouponIssued>>,
        part: i32,
        wait: Option<Duration>,
    ) -> Result<Written, RepoError> {
        let Some(batch) = Batch::of(&events) else { return Ok(Written { outcomes: Vec::new(), next_part: part }) };
        self.keep_traces(&events).await?;
        let batch = Arc::new(batch);
        let (missing, next_part, cap_hit) = match self.insert(&batch, part, wait).await {
            Ok((missing, next_part)) => (missing, next_part, false),
            Err(error) if error.is_cap() => {
                let copy = Arc::clone(&batch);
                self.write("issue what fits", move |pool| insert_what_fits(pool, copy)).await?;
                (Missing::all(&batch), part, true)
            }
            Err(error) => return Err(error),
        };
        let Missing { missed, mut refused, untried } = missing;
        // One probe answers for all refusals: they come from the same database.
        let place = refused.iter().find(|(_, refusal)| refusal.may_be_an_outage()).map(|(place, _)| *place);
        if let Some(refusal) = place.and_then(|place| refused.remove(&place).map(|refusal| (place, refusal))) {
            match self.confirmed(refusal.1).await {
                away @ RepoError::Away(_) => return Err(away),
                confirmed => drop(refused.insert(refusal.0, confirmed)),
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

    /// Inserts all rows without looking for conflicts, which costs PostgreSQL a third less; nearly always every row is
    /// new. If one is not, or is refused, nothing was written, and the rows are inserted again by parts.
    async fn insert(self, batch: &Arc<Batch>, part: i32, wait: Option<Duration>) -> Result<(Missing, i32), RepoError> {
        let rows = batch.rows();
        let part = if part < rows {
            part
        } else if wait.is_some() {
            ROWS_PER_PART.min(rows / 2).max(1)
        } else {
            let copy = Arc::clone(batch);
            match self.write("issue a batch", move |pool| insert_new(pool, copy)).await {
                Ok(missing) => return Ok((missing, part)),
                Err(error) if error.is_unique_violation() => part,
                Err(error) if rows == 1 && error.is_of_a_row() => return Ok((Missing::refused(error), part)),
                Err(error) if rows > 1 && error.may_be_of_a_record() => ROWS_PER_PART.min(rows / 2),
                Err(error) => return Err(error),
            }
        };
        let copy = Arc::clone(batch);
        self.write("issue a batch", move |pool| insert_parts(pool, copy, part, wait)).await
    }

    /// Returns up to `limit` holder entries of ISSUED rows after the request `after`, in the order of the request ids.
    pub async fn holder_entries(
        self,
        code: &CouponCode,
        after: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<(MemberId, RequestId)>, RepoError> {
        let select = sqlx::query_as(
            // One range of the primary key, whatever the plan: with a join, or with `$2 IS NULL OR …`, each page would
            // read the coupon from its beginning. No request id is nil.
            "SELECT member_id, request_id FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
               AND request_id > $2 AND decision = 'ISSUED'
             ORDER BY request_id LIMIT $3",
        )
        .bind(code.as_str())
        .bind(after.map_or_else(Uuid::nil, RequestId::as_uuid))
        .bind(limit);
        let rows: Vec<(String, Uuid)> = self.read("read holder entries", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().filter_map(|(member, id)| Some((member.parse().ok()?, id.into()))).collect())
    }
}

/// Runs the statements of issuing for no row: a failure says nothing about a row.
pub(super) async fn rehearse(pool: &Pool) -> Result<(), sqlx::Error> {
    insert::rehearse(pool).await?;
    look_up::rehearse(pool).await
}
