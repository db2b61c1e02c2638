//! The window of a campaign, in which it accepts requests, and the validity of its coupons.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    ids::CouponCode,
    repo::{
        CouponRepository, RepoError,
        audit::{Actor, append_coupon_audit},
        coupons::{Coupon, CouponStatus, lock},
    },
    words::words,
};

/// A change of the window; an absent field stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewWindow {
    /// Begin of the window, inclusive.
    pub opens_at: Option<DateTime<Utc>>,
    /// End of the window, exclusive; `Some(None)`: open until an operator closes it.
    pub closes_at: Option<Option<DateTime<Utc>>>,
    /// Validity of coupons issued from now on, in days from the reservation.
    pub valid_days: Option<i32>,
}

words! {
    /// Reason why a campaign cannot have a window.
    pub enum WindowRefusal as "reason against a window" {
        /// The campaign is archived.
        Archived = "ARCHIVED",
        /// The campaign is being opened or rebuilt: its window is being copied to Redis.
        Opening = "OPENING",
        /// The window would end before it begins.
        Backwards = "BACKWARDS",
    }
}

/// Outcome of a change of the window.
#[derive(Clone, Debug)]
pub enum WindowSet {
    /// The row has the window; Redis gets it under `window_version`.
    Set(Coupon),
    /// Nothing was changed; the row as it would be with the window.
    Refused(WindowRefusal, Coupon),
}

impl CouponRepository<'_> {
    /// Changes the window under its next version; the audit records a refusal. `None`: there is no such campaign.
    pub async fn set_window(
        self,
        code: CouponCode,
        new: NewWindow,
        actor: Actor,
    ) -> Result<Option<WindowSet>, RepoError> {
        self.write("set the window", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            let mut wanted = before.clone();
            wanted.opens_at = new.opens_at.unwrap_or(before.opens_at);
            wanted.closes_at = new.closes_at.unwrap_or(before.closes_at);
            wanted.valid_days = new.valid_days.unwrap_or(before.valid_days);
            let (wish, refused) = (window(&wanted), refusal(&wanted));
            let change = match refused {
                Some(why) => json!({ "asked": wish, "refused": why }),
                None => json!({ "from": window(&before), "to": wish }),
            };
            append_coupon_audit(&mut tx, &actor, "coupon.set-window", &code, change).await?;
            let set = match refused {
                Some(why) => WindowSet::Refused(why, wanted),
                None => WindowSet::Set(
                    sqlx::query_as(
                        "UPDATE coupons
                         SET opens_at = $2, closes_at = $3, valid_days = $4, window_version = window_version + 1, updated_at = $5
                         WHERE coupon_code = $1 RETURNING *",
                    )
                    .bind(code.as_str())
                    .bind(wanted.opens_at)
                    .bind(wanted.closes_at)
                    .bind(wanted.valid_days)
                    .bind(actor.now)
                    .fetch_one(&mut *tx)
                    .await?,
                ),
            };
            tx.commit().await?;
            Ok(Some(set))
        })
        .await
    }
}

fn refusal(wanted: &Coupon) -> Option<WindowRefusal> {
    let is_backwards = wanted.closes_at.is_some_and(|closes_at| closes_at <= wanted.opens_at);
    match wanted.status {
        _ if wanted.archived_at.is_some() => Some(WindowRefusal::Archived),
        CouponStatus::Opening => Some(WindowRefusal::Opening),
        _ => is_backwards.then_some(WindowRefusal::Backwards),
    }
}

fn window(coupon: &Coupon) -> Value {
    json!({ "opens_at": coupon.opens_at, "closes_at": coupon.closes_at, "valid_days": coupon.valid_days })
}
