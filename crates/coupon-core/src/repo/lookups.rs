//! What is known of a request or of a member, and who holds a coupon: what one would otherwise ask with psql.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Database, RepoError, dead_letters::DlqEvent, failed_issues::FailedCouponIssue, filter::Filter};
use crate::ids::{CouponCode, MemberId};

/// Most rows of each kind that are found.
const MOST: i64 = 1_000;

/// A decision.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Decision {
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

impl Database {
    /// The decisions on this request id: one lookup in each campaign, because keys begin with the campaign. More than one
    /// only if a foreign event has used an id twice.
    pub async fn decisions_on(&self, request_id: Uuid) -> Result<Vec<Decision>, RepoError> {
        let pool = self.pool();
        let select = [DECISIONS, "WHERE i.request_id = $1 ORDER BY c.coupon_id"].join(" ");
        let question = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(request_id).fetch_all(&pool);
        self.patient("find a request", question).await
    }

    /// The decisions on a member's requests, newest first, at most 1,000.
    pub async fn decisions_of(&self, member: &MemberId) -> Result<Vec<Decision>, RepoError> {
        let pool = self.pool();
        let select = [DECISIONS, "WHERE i.member_id = $1 ORDER BY i.reserved_at DESC LIMIT $2"].join(" ");
        let question = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(member.as_str()).bind(MOST).fetch_all(&pool);
        self.patient("find a member's requests", question).await
    }

    /// The entries of the work list that are this request's, or that it replays.
    pub async fn entries_on(&self, request_id: Uuid) -> Result<Vec<FailedCouponIssue>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "SELECT f.id FROM coupons c JOIN failed_coupon_issues f USING (coupon_code) WHERE f.request_id = $1
             UNION SELECT failed_issue_id FROM replays WHERE request_id = $1",
        )
        .bind(request_id)
        .fetch_all(&pool);
        let ids: Vec<i64> = self.patient("find the entries of a request", question).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.failed_issues(&Filter { ids, ..Filter::default() }, None, MOST).await
    }

    /// All that waits or waited for somebody of this member, newest first, at most 1,000 of each.
    pub async fn failures_of(&self, member: &MemberId) -> Result<(Vec<FailedCouponIssue>, Vec<DlqEvent>), RepoError> {
        let filter = Filter { member: Some(member.clone()), ..Filter::default() };
        Ok((self.failed_issues(&filter, None, MOST).await?, self.letters(&filter, None, MOST).await?))
    }

    /// The next holders of a coupon by the order of their ids, after `after`.
    pub async fn issued(&self, code: &CouponCode, after: Option<&str>, limit: i64) -> Result<Vec<Issued>, RepoError> {
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
        self.bounded("list who holds a coupon", question).await
    }
}
