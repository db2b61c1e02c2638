//! Whether a campaign requires admission: a unit is reserved only with a token of a waiting room.

use serde_json::json;

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        audit::{Actor, append_coupon_audit},
        coupons::{Coupon, lock},
    },
};

impl CouponRepository<'_> {
    /// Returns the campaigns that require admission, and with `all` every other one too, each with whether it does. Archived
    /// ones are left out.
    pub async fn admissions(self, all: bool) -> Result<Vec<(CouponCode, bool)>, RepoError> {
        let select = sqlx::query_as(
            "SELECT coupon_code, admission_required FROM coupons
             WHERE archived_at IS NULL AND (admission_required OR $1)",
        )
        .bind(all);
        let rows: Vec<(String, bool)> = self.read("list admissions", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().filter_map(|(code, is_required)| Some((code.parse().ok()?, is_required))).collect())
    }

    /// Sets whether a campaign requires admission, with its audit. `None`: there is no such campaign, or it is archived.
    pub async fn set_admission(
        self,
        code: CouponCode,
        is_required: bool,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("set the admission", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await?.filter(|coupon| coupon.archived_at.is_none()) else {
                return Ok(None);
            };
            let coupon = sqlx::query_as(
                "UPDATE coupons SET admission_required = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *",
            )
            .bind(code.as_str())
            .bind(is_required)
            .bind(actor.now)
            .fetch_one(&mut *tx)
            .await?;
            let of = |is_required: bool| json!({ "admission_required": is_required });
            let change = json!({ "from": of(before.admission_required), "to": of(is_required) });
            append_coupon_audit(&mut tx, &actor, "coupon.set-admission", &code, change).await?;
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }
}
