//! What was decided COMPENSATED and is not yet put right in Redis.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{CouponIssueRepository, RepoError},
};

/// A unit to give back, or a mark to hand over.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueGiveBack {
    /// The campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Whose request it was.
    #[sqlx(try_from = "String")]
    pub member_id: MemberId,
    /// The compensated request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    superseded_by: Option<Uuid>,
}

impl DueGiveBack {
    /// The request that holds the member's coupon instead.
    pub fn superseded_by(&self) -> Option<RequestId> {
        self.superseded_by.map(RequestId::from)
    }
}

impl CouponIssueRepository<'_> {
    /// The oldest give-backs that are due, but for those of the coupons in `except`.
    pub async fn due_give_backs(self, limit: i64, except: &[CouponCode]) -> Result<Vec<DueGiveBack>, RepoError> {
        let except: Vec<&str> = except.iter().map(CouponCode::as_str).collect();
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT c.coupon_code, i.member_id, i.request_id, i.superseded_by
             FROM coupon_issues i JOIN coupons c USING (coupon_id)
             WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL AND c.coupon_code <> ALL($2)
             ORDER BY i.decided_at LIMIT $1",
        )
        .bind(limit)
        .bind(except)
        .fetch_all(&pool);
        self.read("list give-backs that are due", question).await
    }

    /// Notes that Redis has been put right. `false` when it was noted before.
    pub async fn note_given_back(self, due: DueGiveBack, now: DateTime<Utc>) -> Result<bool, RepoError> {
        self.write("note a give-back", move |pool| async move {
            let noted = sqlx::query(
                "UPDATE coupon_issues SET given_back_at = $3
                 FROM coupons
                 WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
                   AND decision = 'COMPENSATED' AND given_back_at IS NULL",
            )
            .bind(due.coupon_code.as_str())
            .bind(due.request_id.as_uuid())
            .bind(now)
            .execute(&pool)
            .await?;
            Ok(noted.rows_affected() == 1)
        })
        .await
    }

    /// Has the give-back of a compensated request run once more: harmless, and it repairs a Redis that went back in
    /// time and carries the mark again.
    pub async fn request_give_back(self, code: CouponCode, request_id: RequestId) -> Result<(), RepoError> {
        self.write("ask for a give-back again", move |pool| async move {
            sqlx::query(
                "UPDATE coupon_issues SET given_back_at = NULL
                 FROM coupons
                 WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
                   AND decision = 'COMPENSATED'",
            )
            .bind(code.as_str())
            .bind(request_id.as_uuid())
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }
}
