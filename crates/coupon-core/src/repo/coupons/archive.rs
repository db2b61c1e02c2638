//! The end of a campaign for good.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        coupons::{Actor, append_audit},
    },
};

impl CouponRepository<'_> {
    /// Ends a CLOSED campaign for good. The epoch moves on, so that nothing that was reserved before can be issued any
    /// more; replays that Redis never answered come to nothing with it. `false` when it is not CLOSED in this epoch, or was ended before.
    pub async fn archive(self, code: CouponCode, epoch: i64, actor: Actor, reason: String) -> Result<bool, RepoError> {
        self.write("archive a campaign", move |pool| async move {
            let mut tx = pool.begin().await?;
            let archived = sqlx::query(
                "UPDATE coupons SET archived_at = $3, epoch = epoch + 1, updated_at = $3
                 WHERE coupon_code = $1 AND epoch = $2 AND status = 'CLOSED' AND archived_at IS NULL",
            )
            .bind(code.as_str())
            .bind(epoch)
            .bind(actor.now)
            .execute(&mut *tx)
            .await?;
            if archived.rows_affected() == 1 {
                end_unanswered_replays(&mut tx, &code, actor.now).await?;
                let change = serde_json::json!({ "from": { "epoch": epoch }, "to": { "archived_at": actor.now } });
                let subject = format!("coupons/{code}");
                append_audit(&mut tx, &actor, "campaign.archive", &subject, change, &reason).await?;
            }
            tx.commit().await?;
            Ok(archived.rows_affected() == 1)
        })
        .await
    }
}

/// Replays of which nobody knows whether Redis reserved anything, and of which there is no decision: both sides agree
/// without them, and the epoch they would have been reserved in is over.
async fn end_unanswered_replays(
    tx: &mut PgConnection,
    code: &CouponCode,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE replays SET outcome = 'NOT_READY', updated_at = $2 WHERE coupon_code = $1 AND outcome IS NULL")
        .bind(code.as_str())
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
}
