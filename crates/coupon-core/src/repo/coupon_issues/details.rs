//! What is known of a request or of a member, and who holds a coupon: what one would otherwise ask with psql.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    ids::{CouponCode, MemberId},
    repo::{CouponIssueRepository, RepoError},
};

/// Most requests of one member that are read.
const MAX_REQUESTS: i64 = 1_000;

/// A decision.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct DecisionDetails {
    /// Campaign.
    pub coupon_code: String,
    /// Member.
    pub member_id: String,
    /// The request.
    pub request_id: Uuid,
    /// ISSUED or COMPENSATED.
    pub decision: String,
    /// When Redis reserved it.
    pub reserved_at: DateTime<Utc>,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// ISSUED: until when the coupon is valid.
    pub expires_at: Option<DateTime<Utc>>,
    /// COMPENSATED: the request that holds the member's coupon instead.
    pub superseded_by: Option<Uuid>,
    /// COMPENSATED: when Redis had been put right.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// Who holds a coupon.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Issued {
    /// Member.
    pub member_id: String,
    /// The request.
    pub request_id: Uuid,
    /// When Redis reserved it.
    pub reserved_at: DateTime<Utc>,
    /// When it was written.
    pub decided_at: DateTime<Utc>,
    /// Until when it is valid.
    pub expires_at: Option<DateTime<Utc>>,
}

const DECISIONS: &str = "
SELECT c.coupon_code, i.member_id, i.request_id, i.decision, i.reserved_at, i.decided_at, i.expires_at, i.superseded_by,
       i.given_back_at
FROM coupons c JOIN coupon_issues i ON i.coupon_id = c.coupon_id";

impl CouponIssueRepository<'_> {
    /// The decisions on this request id: one lookup in each campaign, because keys begin with the campaign. More than one
    /// only if a foreign event has used an id twice.
    pub async fn of_request(self, request_id: Uuid) -> Result<Vec<DecisionDetails>, RepoError> {
        let pool = self.pool();
        let select = [DECISIONS, "WHERE i.request_id = $1 ORDER BY c.coupon_id"].join(" ");
        let question = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(request_id).fetch_all(&pool);
        self.long_read("find a request", question).await
    }

    /// The decisions on a member's requests, newest first, at most 1,000.
    pub async fn of_member(self, member: &MemberId) -> Result<Vec<DecisionDetails>, RepoError> {
        let pool = self.pool();
        let select = [DECISIONS, "WHERE i.member_id = $1 ORDER BY i.reserved_at DESC LIMIT $2"].join(" ");
        let question =
            sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(member.as_str()).bind(MAX_REQUESTS).fetch_all(&pool);
        self.long_read("find a member's requests", question).await
    }

    /// The next holders of a coupon by the order of their ids, after `after`.
    pub async fn list_issued(
        self,
        code: &CouponCode,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Issued>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT member_id, request_id, reserved_at, decided_at, expires_at FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND decision = 'ISSUED'
               AND ($2::text IS NULL OR member_id > $2)
             ORDER BY member_id LIMIT $3",
        )
        .bind(code.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(&pool);
        self.read("list who holds a coupon", question).await
    }
}
