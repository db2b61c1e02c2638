//! Archiving: the end of a campaign for good.

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        audit::{Actor, append_audit},
        replays::end_unanswered_replays,
    },
};

impl CouponRepository<'_> {
    /// Archives a CLOSED campaign. The epoch is raised, so that no earlier reservation can be issued, and replays that
    /// Redis never answered end as `NOT_READY`. `false` when the campaign is not CLOSED in this epoch, or is archived
    /// already.
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
