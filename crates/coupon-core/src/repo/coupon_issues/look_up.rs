//! Outcomes of the events of a batch that were not inserted.

use std::collections::HashMap;

use uuid::Uuid;

use super::{CouponIssueRepository, IssueOutcome, Pool, RepoError};
use crate::{event::CouponIssued, ids::CouponCode};

/// Reads the decisions and holders that the rows conflict with.
const LOOK_UP: &str = "
SELECT r.request_id, r.member_id, c.epoch, own.decision, own.member_id AS decided_for, holder.request_id AS held_by
FROM UNNEST($2::uuid[], $3::text[]) AS r (request_id, member_id)
LEFT JOIN coupons c ON c.coupon_code = $1
LEFT JOIN coupon_issues own ON own.coupon_id = c.coupon_id AND own.request_id = r.request_id
LEFT JOIN coupon_issues holder
       ON holder.coupon_id = c.coupon_id AND holder.member_id = r.member_id AND holder.decision = 'ISSUED'";

impl CouponIssueRepository<'_> {
    pub(super) async fn look_up(
        self,
        code: &CouponCode,
        epoch: i64,
        cap_hit: bool,
        events: &[&CouponIssued],
    ) -> Result<HashMap<(Uuid, String), IssueOutcome>, RepoError> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.request_id.as_uuid()).collect();
        let members: Vec<&str> = events.iter().map(|event| event.member_id.as_str()).collect();
        let select = sqlx::query_as(LOOK_UP).bind(code.as_str()).bind(&ids).bind(&members);
        let rows: Vec<Found> = self.read("look up decisions", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().map(|row| ((row.request_id, row.member_id.clone()), row.outcome(epoch, cap_hit))).collect())
    }
}

/// Runs the look-up for no event.
pub(super) async fn rehearse(pool: &Pool) -> Result<(), sqlx::Error> {
    let nothing = sqlx::query(LOOK_UP).bind("probe").bind(Vec::<Uuid>::new()).bind(Vec::<String>::new());
    nothing.execute(pool).await.map(drop)
}

#[derive(sqlx::FromRow)]
struct Found {
    request_id: Uuid,
    member_id: String,
    epoch: Option<i64>,
    decision: Option<String>,
    decided_for: Option<String>,
    held_by: Option<Uuid>,
}

impl Found {
    /// Returns the outcome: a decision counts first, an epoch only without one.
    fn outcome(&self, epoch: i64, cap_hit: bool) -> IssueOutcome {
        let Some(current) = self.epoch else { return IssueOutcome::CouponUnknown };
        match (self.decision.as_deref(), self.held_by) {
            (Some(_), _) if self.decided_for.as_deref() != Some(self.member_id.as_str()) => IssueOutcome::OtherMember,
            (Some("COMPENSATED"), _) => IssueOutcome::CompensatedBefore,
            (Some(_), _) => IssueOutcome::IssuedBefore,
            (None, Some(holder)) => IssueOutcome::MemberHoldsOne(holder.into()),
            (None, None) if epoch < current => IssueOutcome::OldEpoch,
            (None, None) if epoch > current => IssueOutcome::NewerEpoch,
            (None, None) if cap_hit => IssueOutcome::CapReached,
            (None, None) => IssueOutcome::Undecided,
        }
    }
}
