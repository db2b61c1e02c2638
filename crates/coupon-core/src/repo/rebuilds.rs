//! Rebuilds of a campaign's data in Redis: the table `rebuilds`, and the changes of the campaign's row on the way.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{
    RebuildRepository, RepoError,
    audit::{Actor, append_coupon_audit},
    coupons::{Coupon, CouponStatus, lock},
    replays::end_lost_replays,
};
use crate::{ids::CouponCode, words::words};

mod unfinished;

pub use unfinished::Unfinished;

words! {
    /// Step of a rebuild.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum RebuildStep as "step of a rebuild" {
        /// The gate is closed; events under way are waited for.
        Draining = "DRAINING",
        /// The epoch is new; holder entries are copied to Redis.
        Filling = "FILLING",
        /// The rebuild has ended.
        Done = "DONE",
    }
}

/// A rebuild under way.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Rebuild {
    /// Number.
    pub id: i64,
    /// Step.
    #[sqlx(try_from = "String")]
    pub step: RebuildStep,
    /// Status of the campaign after the rebuild.
    #[sqlx(try_from = "String")]
    pub reopen_as: CouponStatus,
    /// Operator who began it.
    pub started_by: String,
    /// Time of its begin.
    pub started_at: DateTime<Utc>,
}

/// State of a campaign in Redis before a rebuild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisGate {
    /// Epoch of the data; 0 when there is none.
    pub epoch: i64,
    /// Whether the gate is CLOSED.
    pub is_closed: bool,
    /// Whether holder entries are being copied.
    pub is_filling: bool,
}

impl RebuildRepository<'_> {
    /// Begins a rebuild, or returns the one under way; the campaign becomes SUSPECT. `None` when the campaign cannot be
    /// rebuilt: never opened, or archived.
    ///
    /// A row behind the epoch of Redis comes from a backup: it takes over that epoch, so that reservations of it are
    /// issued and not parked as `NEWER_EPOCH`. A campaign that is closed in PostgreSQL or in Redis, or that an earlier
    /// rebuild was to leave closed, is not opened at the end.
    pub async fn begin(self, code: CouponCode, redis: RedisGate, actor: Actor) -> Result<Option<Rebuild>, RepoError> {
        self.write("begin a rebuild", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            if before.archived_at.is_some() || before.epoch.max(redis.epoch) == 0 {
                return Ok(None);
            }
            if before.epoch < redis.epoch {
                sqlx::query("UPDATE coupons SET epoch = $2, updated_at = $3 WHERE coupon_code = $1")
                    .bind(code.as_str())
                    .bind(redis.epoch)
                    .bind(actor.now)
                    .execute(&mut *tx)
                    .await?;
                let change = serde_json::json!({ "from": { "epoch": before.epoch }, "to": { "epoch": redis.epoch } });
                append_coupon_audit(&mut tx, &actor, "rebuild.catch_up", &code, change).await?;
            }
            let found = under_way(&mut tx, &code).await?;
            let was_to_stay_closed = before.status != CouponStatus::Open
                && found.as_ref().is_some_and(|it| it.reopen_as == CouponStatus::Closed);
            let is_closed = redis.is_closed || before.status == CouponStatus::Closed || was_to_stay_closed;
            let reopen_as = if is_closed { CouponStatus::Closed } else { CouponStatus::Open };
            if let Some(found) = found
                && (found.step == RebuildStep::Draining
                    || before.status == CouponStatus::Opening && (redis.is_filling || redis.epoch < before.epoch))
            {
                tx.commit().await?;
                return Ok(Some(found));
            }
            // A rebuild that was cut off before its end, or whose data was lost since, begins anew. The earlier one
            // gets no finished_at, so that it does not count as the rebuild that brought the data back.
            sqlx::query("UPDATE rebuilds SET step = 'DONE' WHERE coupon_code = $1 AND step <> 'DONE'")
                .bind(code.as_str())
                .execute(&mut *tx)
                .await?;
            let rebuild = sqlx::query_as(
                "INSERT INTO rebuilds (coupon_code, step, reopen_as, started_by, started_at)
                 VALUES ($1, 'DRAINING', $2, $3, $4) RETURNING id, step, reopen_as, started_by, started_at",
            )
            .bind(code.as_str())
            .bind(reopen_as.as_str())
            .bind(&actor.by.name)
            .bind(actor.now)
            .fetch_one(&mut *tx)
            .await?;
            sqlx::query("UPDATE coupons SET status = 'SUSPECT', updated_at = $2 WHERE coupon_code = $1")
                .bind(code.as_str())
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            let change = serde_json::json!({ "from": before.status, "to": "SUSPECT", "then": reopen_as });
            append_coupon_audit(&mut tx, &actor, "rebuild.begin", &code, change).await?;
            tx.commit().await?;
            Ok(Some(rebuild))
        })
        .await
    }

    /// Returns the rebuild of this campaign that has not ended.
    pub async fn find_under_way(self, code: &CouponCode) -> Result<Option<Rebuild>, RepoError> {
        let select = async { under_way(&mut *self.pool().acquire().await?, code).await };
        self.read("look for a rebuild", select).await
    }

    /// Raises the epoch above every epoch that PostgreSQL or Redis has seen, so that no earlier reservation can be
    /// issued. Returns the row, which is OPENING.
    pub async fn begin_filling(
        self,
        code: CouponCode,
        rebuild: i64,
        redis_epoch: i64,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("move the epoch on", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            let moved = sqlx::query("UPDATE rebuilds SET step = 'FILLING' WHERE id = $1 AND step = 'DRAINING'");
            if moved.bind(rebuild).execute(&mut *tx).await?.rows_affected() != 1 {
                return Ok(None);
            }
            let coupon: Coupon = sqlx::query_as(
                // Sequences are compared within an epoch: those of the old epoch say nothing of the new one.
                "UPDATE coupons SET status = 'OPENING', epoch = greatest(epoch, $2) + 1, high_seq = 0, updated_at = $3
                 WHERE coupon_code = $1 RETURNING *",
            )
            .bind(code.as_str())
            .bind(redis_epoch)
            .bind(actor.now)
            .fetch_one(&mut *tx)
            .await?;
            end_lost_replays(&mut tx, &code, actor.now).await?;
            if before.status == CouponStatus::Closed {
                let closed = sqlx::query("UPDATE rebuilds SET reopen_as = 'CLOSED' WHERE id = $1");
                closed.bind(rebuild).execute(&mut *tx).await?;
            }
            let change = serde_json::json!({ "from": { "epoch": before.epoch }, "to": { "epoch": coupon.epoch } });
            append_coupon_audit(&mut tx, &actor, "rebuild.epoch", &code, change).await?;
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }

    /// Ends a rebuild that is DRAINING and returns the row of the campaign; `None` when it is not DRAINING. A campaign
    /// that was to be closed at the end is CLOSED. With `is_sound` (its data was not suspect when the gate was shut) it
    /// is OPEN again, unless it turned out since that Redis sold too much. Otherwise it is SUSPECT.
    pub async fn abandon(
        self,
        code: CouponCode,
        rebuild: i64,
        is_sound: bool,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("finish a rebuild", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = lock(&mut tx, &code).await? else { return Ok(None) };
            let ended: Option<(String, bool)> = sqlx::query_as(
                "UPDATE rebuilds r SET step = 'DONE', finished_at = $2 FROM rebuilds before
                 WHERE r.id = $1 AND r.step = 'DRAINING' AND before.id = r.id
                 RETURNING r.reopen_as, before.finished_at IS NOT NULL",
            )
            .bind(rebuild)
            .bind(actor.now)
            .fetch_optional(&mut *tx)
            .await?;
            let Some((reopen_as, is_found_unsound)) = ended else { return Ok(None) };
            let is_closed = reopen_as == CouponStatus::Closed.as_str();
            sqlx::query(
                "UPDATE coupons SET status = $2, updated_at = $3
                 WHERE coupon_code = $1 AND status = 'SUSPECT' AND $4",
            )
            .bind(code.as_str())
            .bind(reopen_as)
            .bind(actor.now)
            .bind(is_closed || is_sound && !is_found_unsound)
            .execute(&mut *tx)
            .await?;
            let Some(coupon) = lock(&mut tx, &code).await? else { return Ok(None) };
            let change = serde_json::json!({ "from": before.status, "to": coupon.status });
            append_coupon_audit(&mut tx, &actor, "rebuild.abandon", &code, change).await?;
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }

    /// Ends a rebuild.
    pub async fn finish(self, rebuild: i64, now: DateTime<Utc>) -> Result<(), RepoError> {
        let update =
            sqlx::query("UPDATE rebuilds SET step = 'DONE', finished_at = $2 WHERE id = $1 AND step <> 'DONE'");
        self.execute("finish a rebuild", update.bind(rebuild).bind(now)).await.map(drop)
    }
}

/// Records on a DRAINING rebuild that Redis sold too much: its data is not sound, whatever was found before. A
/// `finished_at` before the end says so; `updated_at` of the campaign cannot, because a new window or total changes it
/// too.
pub(super) async fn note_found_unsound(
    tx: &mut PgConnection,
    code: &CouponCode,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE rebuilds SET finished_at = $2 WHERE coupon_code = $1 AND step = 'DRAINING'")
        .bind(code.as_str())
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
}

async fn under_way(connection: &mut PgConnection, code: &CouponCode) -> Result<Option<Rebuild>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, step, reopen_as, started_by, started_at FROM rebuilds WHERE coupon_code = $1 AND step <> 'DONE'",
    )
    .bind(code.as_str())
    .fetch_optional(connection)
    .await
}
