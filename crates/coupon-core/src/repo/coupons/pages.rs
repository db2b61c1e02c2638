//! Campaigns page by page, and those that a member has asked nothing of.

use chrono::{DateTime, Utc};

use super::Coupon;
use crate::{
    ids::{CouponCode, MemberId},
    repo::{CouponRepository, RepoError, coupon_issues::LAST_RESERVATION},
};

/// A campaign that has no decision on a request of a member, and what may be the reason.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CouponWithoutRequest {
    /// The campaign.
    #[sqlx(flatten)]
    pub coupon: Coupon,
    /// Reservation of the last unit, where all units are issued.
    pub sold_out_at: Option<DateTime<Utc>>,
    /// Sequence of that reservation.
    pub last_seq: Option<i64>,
    /// Time at which an operator closed it last, where it is CLOSED.
    pub closed_at: Option<DateTime<Utc>>,
}

impl CouponRepository<'_> {
    /// Returns up to `limit` campaigns that were created before the campaign `before`, newest first. A `before` that is gone
    /// restricts nothing.
    pub async fn page(self, before: Option<&CouponCode>, limit: i64) -> Result<Vec<Coupon>, RepoError> {
        let select = sqlx::query_as(
            "SELECT * FROM coupons
             WHERE coupon_id < coalesce((SELECT coupon_id FROM coupons WHERE coupon_code = $1), 9223372036854775807)
             ORDER BY coupon_id DESC LIMIT $2",
        )
        .bind(before.map(CouponCode::as_str))
        .bind(limit);
        self.read("list coupons", select.fetch_all(&self.pool())).await
    }

    /// Returns up to `limit` campaigns without a decision on a request of this member, newest first.
    pub async fn without_request_of(
        self,
        member: &MemberId,
        limit: i64,
    ) -> Result<Vec<CouponWithoutRequest>, RepoError> {
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT c.*, last.reserved_at AS sold_out_at, last.seq AS last_seq, closed.at AS closed_at
             FROM (SELECT * FROM coupons c
                   WHERE NOT EXISTS (SELECT FROM coupon_issues i WHERE i.member_id = $1 AND i.coupon_id = c.coupon_id)
                   ORDER BY coupon_id DESC LIMIT $2) c
             LEFT JOIN LATERAL ({LAST_RESERVATION}) last ON c.issued_quantity >= c.total_quantity
             LEFT JOIN LATERAL (
                 SELECT at FROM operator_audit
                 WHERE subject = 'coupons/' || c.coupon_code AND verb = 'coupon.status' AND change ->> 'to' = 'CLOSED'
                 ORDER BY id DESC LIMIT 1) closed ON c.status = 'CLOSED'
             ORDER BY c.coupon_id DESC"
        ));
        let select = sqlx::query_as(select).bind(member.as_str()).bind(limit);
        self.read("list coupons without a request of a member", select.fetch_all(&self.pool())).await
    }
}
