//! The total of a campaign: an absolute number with a version.

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        audit::{Actor, append_coupon_audit},
        coupons::{Coupon, lock},
    },
};

/// A version of the total that was claimed.
#[derive(Clone, Debug)]
pub struct ClaimedTotal {
    /// The row after the claim.
    pub coupon: Coupon,
    /// Whether the claim itself has raised the total.
    pub is_raised: bool,
}

/// Answer of Redis to a claimed total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalInRedis {
    /// Redis has this total.
    Set,
    /// Redis has no data of the campaign, as it should be of one that was never opened.
    Nothing,
    /// Redis refuses the total, for this reason.
    Refused(&'static str),
}

/// The change and its audit are one statement, and so one transaction. A total that changes nothing is not audited
/// again.
const SETTLE: &str = "
WITH before AS (
    SELECT coupon_id, total_quantity FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE
), settled AS (
    UPDATE coupons c SET total_quantity = $2 FROM before b
    WHERE c.coupon_id = b.coupon_id AND c.total_version = $3 AND (NOT $4 OR c.status = 'DRAFT') AND $5::text IS NULL
    RETURNING b.total_quantity AS was
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $6, $7, 'coupon.set-total', 'coupons/' || $1,
           CASE WHEN EXISTS (SELECT FROM settled)
                THEN jsonb_build_object('from', jsonb_build_object('total', b.total_quantity),
                                        'to', jsonb_build_object('total', $2, 'version', $3))
                ELSE jsonb_build_object('asked', jsonb_build_object('total', $2, 'version', $3),
                                        'refused', coalesce($5, 'SUPERSEDED')) END, $8, $9
    FROM before b WHERE NOT EXISTS (SELECT FROM settled WHERE was = $2)
)
SELECT EXISTS (SELECT FROM settled)";

impl CouponRepository<'_> {
    /// Claims the next version of the total. A higher total is set in PostgreSQL at once; a lower one is set by
    /// [`CouponRepository::settle_total`], so that the total of PostgreSQL is never below that of Redis.
    ///
    /// The audit records a change as `to` and a claim, which may still be refused, as `asked`.
    pub async fn claim_total(
        self,
        code: CouponCode,
        total: i64,
        actor: Actor,
    ) -> Result<Option<ClaimedTotal>, RepoError> {
        self.write("claim a version of the total", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            let coupon: Coupon = sqlx::query_as(
                "UPDATE coupons
                 SET total_quantity = greatest(total_quantity, $2), total_version = total_version + 1, updated_at = $3
                 WHERE coupon_code = $1
                 RETURNING *",
            )
            .bind(code.as_str())
            .bind(total)
            .bind(actor.now)
            .fetch_one(&mut *tx)
            .await?;
            let wish = serde_json::json!({ "total": total, "version": coupon.total_version });
            let is_raised = coupon.total_quantity > before.total_quantity;
            let change = if is_raised {
                serde_json::json!({ "from": { "total": before.total_quantity }, "to": wish })
            } else {
                serde_json::json!({ "asked": wish })
            };
            append_coupon_audit(&mut tx, &actor, "coupon.set-total", &code, change).await?;
            tx.commit().await?;
            Ok(Some(ClaimedTotal { coupon, is_raised }))
        })
        .await
    }

    /// Sets the total that was claimed under `version` to that of Redis. `false` when Redis refuses it, a newer version
    /// was claimed, or the campaign is no DRAFT any more. The audit records a refusal.
    pub async fn settle_total(
        self,
        code: CouponCode,
        total: i64,
        version: i64,
        in_redis: TotalInRedis,
        actor: Actor,
    ) -> Result<bool, RepoError> {
        self.write("settle the total", move |pool| async move {
            let refused = match in_redis {
                TotalInRedis::Refused(why) => Some(why),
                TotalInRedis::Set | TotalInRedis::Nothing => None,
            };
            sqlx::query_scalar(SETTLE)
                .bind(code.as_str())
                .bind(total)
                .bind(version)
                .bind(in_redis == TotalInRedis::Nothing)
                .bind(refused)
                .bind(actor.now)
                .bind(&actor.by.name)
                .bind(&actor.by.reason)
                .bind(actor.by.provenance())
                .fetch_one(&pool)
                .await
        })
        .await
    }
}
