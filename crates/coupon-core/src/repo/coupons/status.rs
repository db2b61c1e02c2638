//! The status of a campaign, and the changes of it that operators and services make.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        alarms::{Notice, insert_notice},
        audit::{Actor, append_coupon_audit},
        coupons::{Coupon, lock},
    },
    words::words,
};

words! {
    /// Status of a campaign, as it is stored.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum CouponStatus as "coupon status" {
        /// Created and never opened.
        Draft = "DRAFT",
        /// Its data is being copied to Redis.
        Opening = "OPENING",
        /// Accepts requests inside its window.
        Open = "OPEN",
        /// Accepts nothing.
        Closed = "CLOSED",
        /// Redis and PostgreSQL disagree; accepts nothing until a rebuild.
        Suspect = "SUSPECT",
    }
}

words! {
    /// Status of a campaign as operators see it: the stored one, refined by the window and the time.
    pub enum ShownStatus as "shown coupon status" {
        /// Created and never opened.
        Draft = "DRAFT",
        /// Its data is being copied to Redis.
        Opening = "OPENING",
        /// OPEN, and its window has not begun.
        Scheduled = "SCHEDULED",
        /// Accepts requests.
        Open = "OPEN",
        /// OPEN, and its window has ended.
        Over = "OVER",
        /// Accepts nothing.
        Closed = "CLOSED",
        /// Redis and PostgreSQL disagree; accepts nothing until a rebuild.
        Suspect = "SUSPECT",
        /// Archived.
        Archived = "ARCHIVED",
    }
}

impl ShownStatus {
    /// Returns the shown status of a campaign that is not archived.
    pub fn of(
        status: CouponStatus,
        (opens_at, closes_at): (DateTime<Utc>, Option<DateTime<Utc>>),
        now: DateTime<Utc>,
    ) -> Self {
        match status {
            CouponStatus::Draft => Self::Draft,
            CouponStatus::Opening => Self::Opening,
            CouponStatus::Open if closes_at.is_some_and(|closes_at| closes_at <= now) => Self::Over,
            CouponStatus::Open if opens_at > now => Self::Scheduled,
            CouponStatus::Open => Self::Open,
            CouponStatus::Closed => Self::Closed,
            CouponStatus::Suspect => Self::Suspect,
        }
    }
}

impl CouponRepository<'_> {
    /// Changes DRAFT to OPENING with a new epoch. `None` when the campaign is not a DRAFT.
    pub async fn begin_opening(self, code: CouponCode, actor: Actor) -> Result<Option<Coupon>, RepoError> {
        self.write("begin to open a coupon", move |pool| async move {
            let mut tx = pool.begin().await?;
            let coupon: Option<Coupon> = sqlx::query_as(
                "UPDATE coupons SET status = 'OPENING', epoch = epoch + 1, updated_at = $2
                 WHERE coupon_code = $1 AND status = 'DRAFT'
                 RETURNING *",
            )
            .bind(code.as_str())
            .bind(actor.now)
            .fetch_optional(&mut *tx)
            .await?;
            if coupon.is_some() {
                let change = serde_json::json!({ "from": "DRAFT", "to": "OPENING" });
                append_coupon_audit(&mut tx, &actor, "coupon.open", &code, change).await?;
            }
            tx.commit().await?;
            Ok(coupon)
        })
        .await
    }

    /// Changes the status, and leaves a notice of one that becomes SUSPECT. `None` when the status is none of `from`,
    /// the epoch is another one, or a CLOSED campaign would open of which a member was erased.
    pub async fn set_status(
        self,
        code: CouponCode,
        epoch: i64,
        from: &'static [CouponStatus],
        to: CouponStatus,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("change a coupon's status", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            let reopens = before.status == CouponStatus::Closed && to == CouponStatus::Open;
            if before.epoch != epoch || !from.contains(&before.status) || reopens && before.members_erased_at.is_some()
            {
                return Ok(None);
            }
            let coupon =
                sqlx::query_as("UPDATE coupons SET status = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *")
                    .bind(code.as_str())
                    .bind(to.as_str())
                    .bind(actor.now)
                    .fetch_one(&mut *tx)
                    .await?;
            if before.status != to {
                let change = serde_json::json!({ "from": before.status, "to": to });
                append_coupon_audit(&mut tx, &actor, "coupon.status", &code, change).await?;
                if to == CouponStatus::Suspect {
                    insert_notice(&Notice::suspect(&code, actor.now)).execute(&mut *tx).await?;
                }
            }
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }
}
