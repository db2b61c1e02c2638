//! Campaigns: the table `coupons`, all but its counters.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::{
    Database, RepoError,
    alarms::{Notice, insert_notice},
};
use crate::{ids::CouponCode, words::words};

words! {
    /// Where a campaign stands.
    pub enum CouponStatus as "coupon status" {
        /// Created, never opened.
        Draft = "DRAFT",
        /// Redis is being filled.
        Opening = "OPENING",
        /// Accepts requests inside its window.
        Open = "OPEN",
        /// Accepts nothing.
        Closed = "CLOSED",
        /// Redis and PostgreSQL disagree; accepts nothing until a rebuild.
        Suspect = "SUSPECT",
    }
}

/// A campaign.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Coupon {
    /// Public name.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub status: CouponStatus,
    /// Coupons in all.
    pub total_quantity: i64,
    /// Version of the total.
    pub total_version: i64,
    /// ISSUED rows.
    pub issued_quantity: i64,
    /// First moment requests are accepted.
    pub opens_at: DateTime<Utc>,
    /// First moment they are no longer; `None`: until closed by hand.
    pub closes_at: Option<DateTime<Utc>>,
    /// How long an issued coupon is valid, in days from its reservation.
    pub valid_days: i32,
    /// Generation of the Redis data; 0 when it was never filled.
    pub epoch: i64,
    /// Highest sequence seen in an event.
    pub high_seq: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was ended for good; `None` while it is not.
    pub archived_at: Option<DateTime<Utc>>,
}

impl Coupon {
    /// Whether Redis has, or should have, data of it: it was opened once and has not ended for good.
    pub fn is_live(&self) -> bool {
        self.epoch > 0 && self.archived_at.is_none()
    }
}

/// What a campaign is created with.
#[derive(Clone, Debug)]
pub struct NewCoupon {
    /// Public name.
    pub coupon_code: CouponCode,
    /// Coupons in all.
    pub total_quantity: i64,
    /// First moment requests are accepted.
    pub opens_at: DateTime<Utc>,
    /// First moment they are no longer.
    pub closes_at: Option<DateTime<Utc>>,
    /// Days an issued coupon is valid.
    pub valid_days: i32,
}

/// Who changes something by hand, and when.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Name for the audit.
    pub name: String,
    /// When.
    pub now: DateTime<Utc>,
}

impl Database {
    /// The campaign of this code.
    pub async fn coupon(&self, code: &CouponCode) -> Result<Option<Coupon>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as("SELECT * FROM coupons WHERE coupon_code = $1").bind(code.as_str()).fetch_optional(&pool);
        self.bounded("read a coupon", question).await
    }

    /// All campaigns, newest first.
    pub async fn coupons(&self) -> Result<Vec<Coupon>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM coupons ORDER BY coupon_id DESC").fetch_all(&pool);
        self.bounded("list coupons", question).await
    }

    /// Creates a campaign as DRAFT; `false` when the code is taken.
    pub async fn create_coupon(&self, new: NewCoupon, actor: Actor) -> Result<bool, RepoError> {
        self.detached("create a coupon", move |pool| async move {
            let mut tx = pool.begin().await?;
            let created = sqlx::query(
                "INSERT INTO coupons (coupon_code, total_quantity, opens_at, closes_at, valid_days, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $6)
                 ON CONFLICT (coupon_code) DO NOTHING",
            )
            .bind(new.coupon_code.as_str())
            .bind(new.total_quantity)
            .bind(new.opens_at)
            .bind(new.closes_at)
            .bind(new.valid_days)
            .bind(actor.now)
            .execute(&mut *tx)
            .await?
            .rows_affected()
                == 1;
            if created {
                let change = serde_json::json!({ "to": { "status": "DRAFT", "total": new.total_quantity } });
                audit(&mut tx, &actor, "coupon.create", &new.coupon_code, change).await?;
            }
            tx.commit().await?;
            Ok(created)
        })
        .await
    }

    /// DRAFT to OPENING with a new epoch, under the row lock. `None` when it is not a DRAFT (any more).
    pub async fn begin_opening(&self, code: CouponCode, actor: Actor) -> Result<Option<Coupon>, RepoError> {
        self.detached("begin to open a coupon", move |pool| async move {
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
                audit(&mut tx, &actor, "coupon.open", &code, change).await?;
            }
            tx.commit().await?;
            Ok(coupon)
        })
        .await
    }

    /// Changes the status if it is one of `from` and the epoch has not moved. `None` when it could not.
    pub async fn set_coupon_status(
        &self,
        code: CouponCode,
        epoch: i64,
        from: &'static [CouponStatus],
        to: CouponStatus,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.detached("change a coupon's status", move |pool| async move {
            let mut tx = pool.begin().await?;
            let words: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
            let before: Option<String> = sqlx::query(
                "SELECT status FROM coupons WHERE coupon_code = $1 AND epoch = $2 AND status = ANY($3) FOR UPDATE",
            )
            .bind(code.as_str())
            .bind(epoch)
            .bind(&words)
            .fetch_optional(&mut *tx)
            .await?
            .map(|row| row.get(0));
            let Some(before) = before else { return Ok(None) };
            let coupon =
                sqlx::query_as("UPDATE coupons SET status = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *")
                    .bind(code.as_str())
                    .bind(to.as_str())
                    .bind(actor.now)
                    .fetch_one(&mut *tx)
                    .await?;
            if before != to.as_str() {
                let change = serde_json::json!({ "from": before, "to": to });
                audit(&mut tx, &actor, "coupon.status", &code, change).await?;
                if to == CouponStatus::Suspect {
                    insert_notice(&mut tx, &Notice::suspect(&code, actor.now)).await?;
                }
            }
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }

    /// Takes the next version of the total. With `raise` the total itself is set too, if it is higher; a lower one
    /// waits for [`Database::settle_total`], so that the total here is never below the one in Redis.
    pub async fn claim_total(&self, code: CouponCode, total: i64, actor: Actor) -> Result<Option<Coupon>, RepoError> {
        self.detached("claim a version of the total", move |pool| async move {
            let mut tx = pool.begin().await?;
            let coupon: Option<Coupon> = sqlx::query_as(
                "UPDATE coupons
                 SET total_quantity = greatest(total_quantity, $2), total_version = total_version + 1, updated_at = $3
                 WHERE coupon_code = $1
                 RETURNING *",
            )
            .bind(code.as_str())
            .bind(total)
            .bind(actor.now)
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(coupon) = &coupon {
                let change = serde_json::json!({ "to": { "total": total, "version": coupon.total_version } });
                audit(&mut tx, &actor, "coupon.set-total", &code, change).await?;
            }
            tx.commit().await?;
            Ok(coupon)
        })
        .await
    }

    /// Sets the total that Redis has taken over under `version`; with `only_draft` only while nothing was ever
    /// filled. `false` when a newer version was claimed, or the draft is one no longer.
    pub async fn settle_total(
        &self,
        code: CouponCode,
        total: i64,
        version: i64,
        only_draft: bool,
    ) -> Result<bool, RepoError> {
        self.detached("settle the total", move |pool| async move {
            let settled = sqlx::query(
                "UPDATE coupons SET total_quantity = $2
                 WHERE coupon_code = $1 AND total_version = $3 AND (NOT $4 OR status = 'DRAFT')",
            )
            .bind(code.as_str())
            .bind(total)
            .bind(version)
            .bind(only_draft)
            .execute(&pool)
            .await?;
            Ok(settled.rows_affected() == 1)
        })
        .await
    }

    /// The campaigns that Redis has data of, with their epochs and the highest sequences that events claimed. A Redis
    /// behind such an epoch has lost data; of a sequence [`Database::vouched_seq`] says what it is worth.
    pub async fn high_sequences(&self) -> Result<Vec<(CouponCode, i64, i64)>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT coupon_code, epoch, high_seq FROM coupons
             WHERE status IN ('OPEN', 'SUSPECT', 'CLOSED') AND archived_at IS NULL",
        )
        .fetch_all(&pool);
        let rows: Vec<(String, i64, i64)> = self.bounded("list high sequences", question).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch, seq)| Some((code.parse().ok()?, epoch, seq))).collect())
    }

    /// The campaigns whose data in Redis is not to be trusted, with their epochs.
    pub async fn suspects(&self) -> Result<Vec<(CouponCode, i64)>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as("SELECT coupon_code, epoch FROM coupons WHERE status = 'SUSPECT'").fetch_all(&pool);
        let rows: Vec<(String, i64)> = self.bounded("list suspect coupons", question).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch)| Some((code.parse().ok()?, epoch))).collect())
    }
}

/// Appends to the audit, in the transaction of the change.
pub(super) async fn audit(
    tx: &mut PgConnection,
    actor: &Actor,
    verb: &str,
    code: &CouponCode,
    change: serde_json::Value,
) -> Result<(), sqlx::Error> {
    append_audit(tx, actor, verb, &format!("coupons/{code}"), change, "").await
}

/// Appends to the audit, in the transaction of the change.
pub(super) async fn append_audit(
    tx: &mut PgConnection,
    actor: &Actor,
    verb: &str,
    subject: &str,
    change: serde_json::Value,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO operator_audit (at, actor, verb, subject, change, reason) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(actor.now)
        .bind(&actor.name)
        .bind(verb)
        .bind(subject)
        .bind(change)
        .bind(reason)
        .execute(tx)
        .await
        .map(drop)
}
