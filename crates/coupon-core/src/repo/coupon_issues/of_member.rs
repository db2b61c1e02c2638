//! Decisions as members see them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CouponIssueRepository, Decision, RepoError};
use crate::ids::{CouponCode, MemberId, RequestId};

/// The decision on a request.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Decided {
    /// Request id.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// Decision.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// End of the validity of an issued coupon.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A decided request of a member.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Requested {
    /// Campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Decision.
    #[sqlx(flatten)]
    pub decided: Decided,
    /// Other request by which the member holds a coupon of this campaign, if this one is compensated.
    pub issued_by: Option<Uuid>,
    /// End of the validity of the coupon of that request.
    pub issued_until: Option<DateTime<Utc>>,
}

impl CouponIssueRepository<'_> {
    /// Returns the decisions on a member in a campaign: the ISSUED one, if there is one, then that on `request_id`, if
    /// it is COMPENSATED and the request of this member.
    pub async fn decided_of_member(
        self,
        code: &CouponCode,
        member: &MemberId,
        request_id: Option<RequestId>,
    ) -> Result<Vec<Decided>, RepoError> {
        let select = sqlx::query_as(
            // Two look-ups, each by its index: with an OR the planner may read the whole campaign.
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
        .bind(request_id.map(RequestId::as_uuid));
        self.read("read decisions", select.fetch_all(&self.pool())).await
    }

    /// Returns up to `limit` decided requests of a member before the request `before`, newest first.
    pub async fn list_of_member(
        self,
        member: &MemberId,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<Requested>, RepoError> {
        let select = sqlx::query_as(
            // The page first, found by coupon_issues_of_member and sorted: the joins then cost by the page.
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
        .bind(limit);
        self.read("list the requests of a member", select.fetch_all(&self.pool())).await
    }
}
