//! Give-backs: what compensated requests still change in Redis.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{CouponIssueRepository, RepoError},
};

/// A unit to give back, or a holder entry to hand over.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueGiveBack {
    /// Campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Member.
    #[sqlx(try_from = "String")]
    pub member_id: MemberId,
    /// Compensated request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    superseded_by: Option<Uuid>,
}

impl DueGiveBack {
    /// Returns the request that holds the member's coupon instead.
    pub fn superseded_by(&self) -> Option<RequestId> {
        self.superseded_by.map(RequestId::from)
    }
}

impl CouponIssueRepository<'_> {
    /// Returns the `limit` oldest give-backs that are due, but for those of the coupons in `except`.
    pub async fn due_give_backs(self, limit: i64, except: &[CouponCode]) -> Result<Vec<DueGiveBack>, RepoError> {
        let except: Vec<&str> = except.iter().map(CouponCode::as_str).collect();
        let select = sqlx::query_as(
            "SELECT c.coupon_code, i.member_id, i.request_id, i.superseded_by
             FROM coupon_issues i JOIN coupons c USING (coupon_id)
             WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL AND c.coupon_code <> ALL($2)
             ORDER BY i.decided_at LIMIT $1",
        )
        .bind(limit)
        .bind(except);
        self.read("list give-backs that are due", select.fetch_all(&self.pool())).await
    }

    /// Notes that a give-back is done, with the event `unit_returned` unless the holder entry was handed over. A request that
    /// is given back once more is told of once. `false` when the give-back was noted before.
    pub async fn note_given_back(self, due: DueGiveBack, now: DateTime<Utc>) -> Result<bool, RepoError> {
        self.write("note a give-back", move |pool| async move {
            sqlx::query_scalar(
                "WITH noted AS (
                     UPDATE coupon_issues SET given_back_at = $3
                     FROM coupons
                     WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
                       AND decision = 'COMPENSATED' AND given_back_at IS NULL
                     RETURNING superseded_by
                 ), told AS (
                     INSERT INTO campaign_events (kind, coupon_code, data, once, occurred_at)
                     SELECT 'unit_returned', $1, jsonb_build_object('request_id', $2::text), 'unit_returned/' || $2::text, $3
                     FROM noted WHERE superseded_by IS NULL
                     ON CONFLICT (once) DO NOTHING
                 )
                 SELECT count(*) = 1 FROM noted",
            )
            .bind(due.coupon_code.as_str())
            .bind(due.request_id.as_uuid())
            .bind(now)
            .fetch_one(&pool)
            .await
        })
        .await
    }

    /// Makes the give-back of a compensated request due once more: harmless, and it repairs a Redis that went back in
    /// time and has the holder entry again.
    pub async fn request_give_back(self, code: CouponCode, request_id: RequestId) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE coupon_issues SET given_back_at = NULL
             FROM coupons
             WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
               AND decision = 'COMPENSATED'",
        );
        let update = update.bind(code.as_str()).bind(request_id.as_uuid());
        self.execute("ask for a give-back again", update).await.map(drop)
    }
}
