//! Decisions as operators look them up: by request, by member, and the holders of a coupon.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    ids::{CouponCode, MemberId},
    repo::{CouponIssueRepository, RepoError},
};

/// Most decisions that are read of one member.
const MAX_OF_MEMBER: i64 = 1_000;

/// A decision.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct DecisionDetails {
    /// Campaign.
    pub coupon_code: String,
    /// Member.
    pub member_id: String,
    /// Request id.
    pub request_id: Uuid,
    /// ISSUED or COMPENSATED.
    pub decision: String,
    /// Time of the reservation.
    pub reserved_at: DateTime<Utc>,
    /// Time of the decision.
    pub decided_at: DateTime<Utc>,
    /// End of the coupon's validity, if it is ISSUED.
    pub expires_at: Option<DateTime<Utc>>,
    /// Request that holds the member's coupon instead, if it is COMPENSATED.
    pub superseded_by: Option<Uuid>,
    /// Time of the give-back, if it is COMPENSATED; `None` while it is due.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// A holder of a coupon.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Issued {
    /// Member.
    pub member_id: String,
    /// Request id.
    pub request_id: Uuid,
    /// Time of the reservation.
    pub reserved_at: DateTime<Utc>,
    /// Time of the decision.
    pub decided_at: DateTime<Utc>,
    /// End of the coupon's validity.
    pub expires_at: Option<DateTime<Utc>>,
}

const DECISIONS: &str = "
SELECT c.coupon_code, i.member_id, i.request_id, i.decision, i.reserved_at, i.decided_at, i.expires_at, i.superseded_by,
       i.given_back_at
FROM coupons c JOIN coupon_issues i ON i.coupon_id = c.coupon_id";

impl CouponIssueRepository<'_> {
    /// Returns the decisions on a request: one lookup in each campaign, because keys begin with the campaign. More than
    /// one only if a foreign event has used a request id twice.
    pub async fn of_request(self, request_id: Uuid) -> Result<Vec<DecisionDetails>, RepoError> {
        let select = [DECISIONS, "WHERE i.request_id = $1 ORDER BY c.coupon_id"].join(" ");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(request_id);
        self.long_read("find a request", select.fetch_all(&self.pool())).await
    }

    /// Returns the decisions on a member's requests, newest first, at most 1,000.
    pub async fn of_member(self, member: &MemberId) -> Result<Vec<DecisionDetails>, RepoError> {
        let select = [DECISIONS, "WHERE i.member_id = $1 ORDER BY i.reserved_at DESC LIMIT $2"].join(" ");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(member.as_str()).bind(MAX_OF_MEMBER);
        self.long_read("find a member's requests", select.fetch_all(&self.pool())).await
    }

    /// Returns up to `limit` holders of a coupon after the member `after`, in the order of the member ids.
    pub async fn list_issued(
        self,
        code: &CouponCode,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Issued>, RepoError> {
        let select = sqlx::query_as(
            "SELECT member_id, request_id, reserved_at, decided_at, expires_at FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND decision = 'ISSUED'
               AND ($2::text IS NULL OR member_id > $2)
             ORDER BY member_id LIMIT $3",
        )
        .bind(code.as_str())
        .bind(after)
        .bind(limit);
        self.read("list the holders of a coupon", select.fetch_all(&self.pool())).await
    }
}
