//! Campaigns: the table `coupons`, all but its counters.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::{
    CouponRepository, RepoError,
    alarms::{Notice, insert_notice},
};
use crate::{ids::CouponCode, words::words};

mod archive;
mod totals;
mod windows;

pub use totals::*;
pub use windows::*;

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

words! {
    /// Where a campaign stands for those who look at it: what is stored, and what time makes of it.
    pub enum ShownStatus as "shown coupon status" {
        /// Created, never opened.
        Draft = "DRAFT",
        /// Redis is being filled.
        Opening = "OPENING",
        /// Open, and its window has not begun.
        Scheduled = "SCHEDULED",
        /// Accepts requests.
        Open = "OPEN",
        /// Open, and its window has ended.
        Over = "OVER",
        /// Accepts nothing.
        Closed = "CLOSED",
        /// Redis and PostgreSQL disagree; accepts nothing until a rebuild.
        Suspect = "SUSPECT",
        /// Ended for good.
        Archived = "ARCHIVED",
    }
}

impl ShownStatus {
    /// What is shown of a campaign that has not ended for good, at this moment.
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
    /// Version of the window.
    pub window_version: i64,
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

    /// Where it stands for those who look at it at this moment.
    pub fn shown(&self, now: DateTime<Utc>) -> ShownStatus {
        match self.archived_at {
            Some(_) => ShownStatus::Archived,
            None => ShownStatus::of(self.status, (self.opens_at, self.closes_at), now),
        }
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

impl CouponRepository<'_> {
    /// The campaign of this code.
    pub async fn find(self, code: &CouponCode) -> Result<Option<Coupon>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as("SELECT * FROM coupons WHERE coupon_code = $1").bind(code.as_str()).fetch_optional(&pool);
        self.read("read a coupon", question).await
    }

    /// All campaigns, newest first.
    pub async fn list(self) -> Result<Vec<Coupon>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM coupons ORDER BY coupon_id DESC").fetch_all(&pool);
        self.read("list coupons", question).await
    }

    /// Creates a campaign as DRAFT; `false` when the code is taken.
    pub async fn create(self, new: NewCoupon, actor: Actor) -> Result<bool, RepoError> {
        self.write("create a coupon", move |pool| async move {
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

    /// Deletes a campaign that was never opened and of which nothing was decided. `false` when it is not such a one.
    pub async fn delete_draft(self, code: CouponCode, actor: Actor) -> Result<bool, RepoError> {
        self.write("delete a draft", move |pool| async move {
            let mut tx = pool.begin().await?;
            // First the lock: a decision that is committed while it is waited for must be seen by the next statement.
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
                audit(&mut tx, &actor, "coupon.delete", &code, change).await?;
            }
            tx.commit().await?;
            Ok(total.is_some())
        })
        .await
    }

    /// DRAFT to OPENING with a new epoch, under the row lock. `None` when it is not a DRAFT (any more).
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
                audit(&mut tx, &actor, "coupon.open", &code, change).await?;
            }
            tx.commit().await?;
            Ok(coupon)
        })
        .await
    }

    /// Changes the status if it is one of `from` and the epoch has not moved. `None` when it could not.
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

    /// The campaigns that Redis has data of, with their epochs and the highest sequences that events claimed. A Redis
    /// behind such an epoch has lost data; of a sequence [`ReconciliationRepository::vouched_seq`] says what it is worth.
    pub async fn high_sequences(self) -> Result<Vec<(CouponCode, i64, i64)>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT coupon_code, epoch, high_seq FROM coupons
             WHERE status IN ('OPEN', 'SUSPECT', 'CLOSED') AND archived_at IS NULL",
        )
        .fetch_all(&pool);
        let rows: Vec<(String, i64, i64)> = self.read("list high sequences", question).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch, seq)| Some((code.parse().ok()?, epoch, seq))).collect())
    }

    /// The campaigns whose data in Redis is not to be trusted, with their epochs.
    pub async fn suspects(self) -> Result<Vec<(CouponCode, i64)>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as("SELECT coupon_code, epoch FROM coupons WHERE status = 'SUSPECT'").fetch_all(&pool);
        let rows: Vec<(String, i64)> = self.read("list suspect coupons", question).await?;
        Ok(rows.into_iter().filter_map(|(code, epoch)| Some((code.parse().ok()?, epoch))).collect())
    }

    /// Whether nobody holds the coupon's row, which every batch needs.
    pub async fn is_unlocked(self, code: &CouponCode) -> Result<bool, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar::<_, i64>(
            "SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE SKIP LOCKED",
        )
        .bind(code.as_str())
        .fetch_optional(&pool);
        Ok(self.read("look at a coupon's lock", question).await?.is_some())
    }

    /// Codes of up to `limit` campaigns of which Redis has, or should have, data; the newest ones.
    pub async fn live_codes(self, limit: i64) -> Result<Vec<CouponCode>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "SELECT coupon_code FROM coupons WHERE epoch > 0 AND archived_at IS NULL ORDER BY coupon_id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&pool);
        let codes: Vec<String> = self.read("list live campaigns", question).await?;
        Ok(codes.iter().filter_map(|code| code.parse().ok()).collect())
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
