//! The decisions of one campaign page by page, and what is counted of them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CouponIssueRepository, Decision, RepoError};
use crate::ids::CouponCode;

/// Rows up to which something is counted while somebody waits; one more says "at least so many".
pub const COUNTED_UP_TO: i64 = 100_000;

/// A decision in the list of its campaign. None of these values ever changes.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct DecisionOfCoupon {
    /// Sequence that the event claims; one that a relay has published carries a later one.
    pub seq: i64,
    /// Member.
    pub member_id: String,
    /// Request id.
    pub request_id: Uuid,
    /// Decision.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// Time of the reservation.
    pub reserved_at: DateTime<Utc>,
    /// Time of the decision.
    pub decided_at: DateTime<Utc>,
    /// End of the coupon's validity, if it is ISSUED.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A choice of the decisions of a campaign; an absent field restricts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecisionFilter {
    /// Only this decision.
    pub decision: Option<Decision>,
    /// Decided before this time.
    pub decided_before: Option<DateTime<Utc>>,
}

/// What PostgreSQL counts of a campaign beside its row, up to [`COUNTED_UP_TO`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct CampaignCounts {
    /// Requests decided COMPENSATED that the work list still has.
    pub compensated: i64,
    /// Those of them that are PENDING.
    pub pending: i64,
    /// Compensated requests whose unit still has to be given back.
    pub give_backs_due: i64,
    /// Dead letters that are HELD or PARKED.
    pub held: i64,
    /// Reservation of the last unit: the latest of the ISSUED rows.
    pub last_reserved_at: Option<DateTime<Utc>>,
    /// Sequence of that reservation.
    pub last_seq: Option<i64>,
}

/// The latest reservation of the campaign `c`. Request ids begin with the time at which they were made, which is just before
/// the reservation: the latest is among the last hundred ids, and the primary key finds these.
pub(in crate::repo) const LAST_RESERVATION: &str = "
    SELECT reserved_at, seq FROM (
        SELECT reserved_at, seq FROM coupon_issues i
        WHERE i.coupon_id = c.coupon_id AND i.decision = 'ISSUED' ORDER BY request_id DESC LIMIT 100) newest
    ORDER BY reserved_at DESC LIMIT 1";

impl CouponIssueRepository<'_> {
    /// Returns up to `limit` decisions of a campaign after the request `after`, in the order of the request ids: that of the
    /// requests in time. The sequence is no key, because events that a relay published share one.
    pub async fn list_of_coupon(
        self,
        code: &CouponCode,
        filter: DecisionFilter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<DecisionOfCoupon>, RepoError> {
        let select = sqlx::query_as(
            // One range of the primary key, whatever the plan. No request id is nil.
            "SELECT seq, member_id, request_id, decision, reserved_at, decided_at, expires_at FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND request_id > $2
               AND decided_at < coalesce($3, 'infinity') AND ($4::text IS NULL OR decision = $4)
             ORDER BY request_id LIMIT $5",
        )
        .bind(code.as_str())
        .bind(after.unwrap_or_default())
        .bind(filter.decided_before)
        .bind(filter.decision.map(Decision::as_str))
        .bind(limit);
        self.read("list the decisions of a coupon", select.fetch_all(&self.pool())).await
    }

    /// Counts what waits of a campaign; `None`: there is no such campaign.
    pub async fn counts_of_coupon(self, code: &CouponCode) -> Result<Option<CampaignCounts>, RepoError> {
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT (SELECT count(*) FROM (SELECT FROM failed_coupon_issues WHERE coupon_code = $1 LIMIT $2) f) AS compensated,
                    (SELECT count(*) FROM (SELECT FROM failed_coupon_issues
                     WHERE coupon_code = $1 AND status = 'PENDING' LIMIT $2) f) AS pending,
                    (SELECT count(*) FROM (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id
                     AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL LIMIT $2) i) AS give_backs_due,
                    (SELECT count(*) FROM (SELECT FROM dlq_events
                     WHERE status IN ('HELD', 'PARKED') AND coupon_code = $1 LIMIT $2) d) AS held,
                    last.reserved_at AS last_reserved_at, last.seq AS last_seq
             FROM coupons c LEFT JOIN LATERAL ({LAST_RESERVATION}) last ON true
             WHERE c.coupon_code = $1"
        ));
        let select = sqlx::query_as(select).bind(code.as_str()).bind(COUNTED_UP_TO + 1);
        self.read("count what waits of a coupon", select.fetch_optional(&self.pool())).await
    }
}
