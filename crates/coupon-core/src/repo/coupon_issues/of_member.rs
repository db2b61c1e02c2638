//! Decisions as their member may see them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CouponIssueRepository, Decision, RepoError};
use crate::ids::{CouponCode, MemberId, RequestId};

/// The decision on a request.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Decided {
    /// The request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// The word.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// When an issued coupon expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A request of a member on which there is a decision.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Requested {
    /// The campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// The decision.
    #[sqlx(flatten)]
    pub decided: Decided,
    /// Of a compensated one: the other request by which the member holds a coupon of this campaign, if there is one.
    pub issued_by: Option<Uuid>,
    /// When the coupon of that other one expires.
    pub issued_until: Option<DateTime<Utc>>,
}

impl CouponIssueRepository<'_> {
    /// What is decided of a member in a campaign: the request by which it holds a coupon, if one is issued, and this
    /// request's, if it is this member's and decided. The issued one comes first.
    pub async fn decided_of_member(
        self,
        code: &CouponCode,
        member: &MemberId,
        request_id: Option<RequestId>,
    ) -> Result<Vec<Decided>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            // Two look-ups, each by its index; with an OR the planner may choose to read the campaign.
            "SELECT request_id, decision, expires_at FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
               AND member_id = $2 AND decision = 'ISSUED'
             UNION ALL
             SELECT request_id, decision, expires_at FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
               AND request_id = $3 AND member_id = $2 AND decision = 'COMPENSATED'",
        )
        .bind(code.as_str())
        .bind(member.as_str())
        .bind(request_id.map(RequestId::as_uuid))
        .fetch_all(&pool);
        self.read("read decisions", question).await
    }

    /// Up to `limit` decided requests of a member made before the request `before`, newest first.
    pub async fn list_of_member(
        self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<Requested>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            // The first step by itself, in the order of coupon_issues_by_member: what is joined costs by the page.
            "WITH page AS MATERIALIZED (
                 SELECT coupon_id, request_id, member_id, decision, expires_at FROM coupon_issues
                 WHERE member_id = $1 AND request_id < $2 ORDER BY request_id DESC LIMIT $3)
             SELECT coupon_code, page.request_id, page.decision, page.expires_at,
                    issued.request_id AS issued_by, issued.expires_at AS issued_until
             FROM page JOIN coupons USING (coupon_id)
             LEFT JOIN coupon_issues issued
                    ON page.decision = 'COMPENSATED' AND issued.coupon_id = page.coupon_id
                       AND issued.member_id = page.member_id AND issued.decision = 'ISSUED'
             ORDER BY page.request_id DESC",
        )
        .bind(member.as_str())
        .bind(before.map_or_else(Uuid::max, RequestId::as_uuid))
        .bind(limit)
        .fetch_all(&pool);
        self.read("list the requests of a member", question).await
    }
}
