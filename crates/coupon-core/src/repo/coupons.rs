//! Campaigns: the table `coupons`. The counter and the sequence are raised by `coupon_issues`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    CouponRepository, RepoError,
    audit::{Actor, append_coupon_audit},
};
use crate::ids::CouponCode;

mod admission;
mod archive;
mod pages;
mod status;
mod totals;
mod windows;

pub use pages::CouponWithoutRequest;
pub use status::*;
pub use totals::*;
pub use windows::*;

/// A campaign.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Coupon {
    /// Code.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: CouponStatus,
    /// Total: number of units.
    pub total_quantity: i64,
    /// Version of the total.
    pub total_version: i64,
    /// Counter: number of requests decided ISSUED.
    pub issued_quantity: i64,
    /// Version of the window.
    pub window_version: i64,
    /// Begin of the window, inclusive.
    pub opens_at: DateTime<Utc>,
    /// End of the window, exclusive; `None`: open until an operator closes it.
    pub closes_at: Option<DateTime<Utc>>,
    /// Validity of an issued coupon, in days from its reservation.
    pub valid_days: i32,
    /// Epoch of the data in Redis; 0 while the campaign was never opened.
    pub epoch: i64,
    /// Highest sequence that an event of this epoch claims.
    pub high_seq: i64,
    /// Whether a unit is reserved only with a token of a waiting room.
    pub admission_required: bool,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of archiving; `None`: not archived.
    pub archived_at: Option<DateTime<Utc>>,
    /// Time at which the id of one of its members was first replaced by a pseudonym; `None`: never.
    pub members_erased_at: Option<DateTime<Utc>>,
}

impl Coupon {
    /// Whether Redis has, or should have, data of the campaign: it was opened, and it is not archived.
    pub fn is_live(&self) -> bool {
        self.epoch > 0 && self.archived_at.is_none()
    }

    /// Returns the status that operators see at this time.
    pub fn shown(&self, now: DateTime<Utc>) -> ShownStatus {
        match self.archived_at {
            Some(_) => ShownStatus::Archived,
            None => ShownStatus::of(self.status, (self.opens_at, self.closes_at), now),
        }
    }
}

/// A campaign to be created.
#[derive(Clone, Debug)]
pub struct NewCoupon {
    /// Code.
    pub coupon_code: CouponCode,
    /// Total: number of units.
    pub total_quantity: i64,
    /// Begin of the window, inclusive.
    pub opens_at: DateTime<Utc>,
    /// End of the window, exclusive; `None`: open until an operator closes it.
    pub closes_at: Option<DateTime<Utc>>,
    /// Validity of an issued coupon, in days from its reservation.
    pub valid_days: i32,
    /// Whether a unit is reserved only with a token of a waiting room.
    pub admission_required: bool,
}

impl CouponRepository<'_> {
    /// Returns the campaign of this code.
    pub async fn find(self, code: &CouponCode) -> Result<Option<Coupon>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM coupons WHERE coupon_code = $1").bind(code.as_str());
        self.read("read a coupon", select.fetch_optional(&self.pool())).await
    }

    /// Returns all campaigns, newest first.
    pub async fn list(self) -> Result<Vec<Coupon>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM coupons ORDER BY coupon_id DESC");
        self.read("list coupons", select.fetch_all(&self.pool())).await
    }

    /// Creates a campaign as DRAFT. `false` when the code is taken.
    pub async fn create(self, new: NewCoupon, actor: Actor) -> Result<bool, RepoError> {
        self.write("create a coupon", move |pool| async move {
            let mut tx = pool.begin().await?;
            let created = sqlx::query(
                "INSERT INTO coupons
                     (coupon_code, total_quantity, opens_at, closes_at, valid_days, created_at, updated_at, admission_required)
                 VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
                 ON CONFLICT (coupon_code) DO NOTHING",
            )
            .bind(new.coupon_code.as_str())
            .bind(new.total_quantity)
            .bind(new.opens_at)
            .bind(new.closes_at)
            .bind(new.valid_days)
            .bind(actor.now)
            .bind(new.admission_required)
            .execute(&mut *tx)
            .await?
            .rows_affected()
                == 1;
            if created {
                let change = serde_json::json!({ "to": { "status": "DRAFT", "total": new.total_quantity } });
                append_coupon_audit(&mut tx, &actor, "coupon.create", &new.coupon_code, change).await?;
            }
            tx.commit().await?;
            Ok(created)
        })
        .await
    }

    /// Deletes a DRAFT that was never opened and has no decision. `false` when the campaign is no such draft.
    pub async fn delete_draft(self, code: CouponCode, actor: Actor) -> Result<bool, RepoError> {
        self.write("delete a draft", move |pool| async move {
            let mut tx = pool.begin().await?;
            // First the lock: the DELETE has to see a decision that is committed while the lock is waited for.
            // Stronger than the other changes of the row: it also waits for a decision that has not reached the row yet.
            sqlx::query("SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR UPDATE")
                .bind(code.as_str())
                .execute(&mut *tx)
                .await?;
            let total: Option<i64> = sqlx::query_scalar(
                "DELETE FROM coupons c
                 WHERE coupon_code = $1 AND status = 'DRAFT' AND epoch = 0
                   AND NOT EXISTS (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)
                 RETURNING total_quantity",
            )
            .bind(code.as_str())
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(total) = total {
                let change = serde_json::json!({ "from": { "status": "DRAFT", "total": total } });
                append_coupon_audit(&mut tx, &actor, "coupon.delete", &code, change).await?;
            }
            tx.commit().await?;
            Ok(total.is_some())
        })
        .await
    }

    /// Returns the campaigns that Redis has data of, with their epochs and the highest sequences that events claim. A
    /// Redis behind such an epoch has lost data. A claimed sequence is to be checked by
    /// [`vouched_seq`](crate::repo::ReconciliationRepository::vouched_seq).
    pub async fn high_sequences(self) -> Result<Vec<(CouponCode, i64, i64)>, RepoError> {
        let select = sqlx::query_as(
            "SELECT coupon_code, epoch, high_seq FROM coupons
             WHERE status IN ('OPEN', 'SUSPECT', 'CLOSED') AND archived_at IS NULL",
        );
        let rows: Vec<(String, i64, i64)> = self.read("list high sequences", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch, seq)| Some((code.parse().ok()?, epoch, seq))).collect())
    }

    /// Returns the codes of the `limit` campaigns that opened last, or open last, of those that are neither drafts nor closed.
    pub async fn latest_open(self, limit: i64) -> Result<Vec<CouponCode>, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT coupon_code FROM coupons
             WHERE status IN ('OPENING', 'OPEN', 'SUSPECT') AND archived_at IS NULL
             ORDER BY opens_at DESC, coupon_code LIMIT $1",
        )
        .bind(limit);
        let codes: Vec<String> = self.read("list the latest campaigns", select.fetch_all(&self.pool())).await?;
        Ok(codes.iter().filter_map(|code| code.parse().ok()).collect())
    }

    /// Returns the SUSPECT campaigns with their epochs.
    pub async fn suspects(self) -> Result<Vec<(CouponCode, i64)>, RepoError> {
        let select = sqlx::query_as("SELECT coupon_code, epoch FROM coupons WHERE status = 'SUSPECT'");
        let rows: Vec<(String, i64)> = self.read("list suspect coupons", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch)| Some((code.parse().ok()?, epoch))).collect())
    }

    /// Whether the campaign's row, which every batch locks, can be locked now.
    pub async fn is_unlocked(self, code: &CouponCode) -> Result<bool, RepoError> {
        let select = sqlx::query_scalar::<_, i64>(
            "SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE SKIP LOCKED",
        )
        .bind(code.as_str());
        Ok(self.read("look at a coupon's lock", select.fetch_optional(&self.pool())).await?.is_some())
    }

    /// Returns the codes of the `limit` newest campaigns of which Redis has, or should have, data.
    pub async fn live_codes(self, limit: i64) -> Result<Vec<CouponCode>, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT coupon_code FROM coupons WHERE epoch > 0 AND archived_at IS NULL ORDER BY coupon_id DESC LIMIT $1",
        )
        .bind(limit);
        let codes: Vec<String> = self.read("list live campaigns", select.fetch_all(&self.pool())).await?;
        Ok(codes.iter().filter_map(|code| code.parse().ok()).collect())
    }
}

/// Locks the row of a campaign against every other change, decisions included, and returns it.
pub(super) async fn lock(tx: &mut PgConnection, code: &CouponCode) -> Result<Option<Coupon>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE")
        .bind(code.as_str())
        .fetch_optional(tx)
        .await
}
