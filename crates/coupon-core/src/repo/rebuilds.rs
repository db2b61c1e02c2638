//! Rebuilding a campaign's data in Redis, and ending a campaign for good: the changes of its row on the way.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    RebuildRepository, RepoError,
    coupons::{Actor, Coupon, CouponStatus, audit},
};
use crate::{ids::CouponCode, words::words};

words! {
    /// How far a rebuild has come.
    pub enum RebuildStep as "step of a rebuild" {
        /// The gate is closed; what is under way is waited for.
        Draining = "DRAINING",
        /// The epoch is new; marks are copied.
        Filling = "FILLING",
        /// Over.
        Done = "DONE",
    }
}

/// A rebuild under way.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Rebuild {
    /// Number.
    pub id: i64,
    /// How far it has come.
    #[sqlx(try_from = "String")]
    pub step: RebuildStep,
    /// Status the campaign gets at the end.
    #[sqlx(try_from = "String")]
    pub reopen_as: CouponStatus,
    /// Who began it.
    pub started_by: String,
    /// When.
    pub started_at: DateTime<Utc>,
}

/// What a rebuild finds in Redis when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisGate {
    /// Epoch of the data; 0 when there is none.
    pub epoch: i64,
    /// Whether the gate was closed by somebody.
    pub is_closed: bool,
    /// Whether its marks are being copied.
    pub is_filling: bool,
}

/// Requests of a campaign on which there is no decision yet, or whose decision has not been carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Unfinished {
    /// HELD dead letters.
    pub held: i64,
    /// PARKED dead letters whose event can be read.
    pub parked: i64,
    /// PENDING rows of the work list.
    pub pending: i64,
    /// Units that are to be given back and are not yet.
    pub give_backs: i64,
    /// Replays without an end.
    pub replays: i64,
}

impl RebuildRepository<'_> {
    /// Begins a rebuild, or finds the one that was begun before: the campaign is SUSPECT from here on. `None` when the
    /// campaign cannot be rebuilt (never opened, or ended for good).
    ///
    /// A row that is behind the epoch of Redis has been restored to an earlier moment: it takes over that epoch, so that
    /// what was reserved in it is issued and not put aside as unheard of. A campaign that either side has closed is not
    /// opened at the end, nor is one that an earlier rebuild was to leave closed.
    pub async fn begin(self, code: CouponCode, redis: RedisGate, actor: Actor) -> Result<Option<Rebuild>, RepoError> {
        self.write("begin a rebuild", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = locked(&mut tx, &code).await? else { return Ok(None) };
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
                audit(&mut tx, &actor, "rebuild.catch_up", &code, change).await?;
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
            // One that was cut off when all but its end was done, or whose data was lost since: all of it again, as a new
            // one. Without an end: nobody may take it for the rebuild that brought the data back.
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
            .bind(&actor.name)
            .bind(actor.now)
            .fetch_one(&mut *tx)
            .await?;
            sqlx::query("UPDATE coupons SET status = 'SUSPECT', updated_at = $2 WHERE coupon_code = $1")
                .bind(code.as_str())
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            let change = serde_json::json!({ "from": before.status, "to": "SUSPECT", "then": reopen_as });
            audit(&mut tx, &actor, "rebuild.begin", &code, change).await?;
            tx.commit().await?;
            Ok(Some(rebuild))
        })
        .await
    }

    /// The rebuild of this campaign that has not ended.
    pub async fn find_under_way(self, code: &CouponCode) -> Result<Option<Rebuild>, RepoError> {
        let pool = self.pool();
        let question = async { under_way(&mut *pool.acquire().await?, code).await };
        self.read("look for a rebuild", question).await
    }

    /// Moves the epoch on, above every epoch that either side has seen: whatever was reserved before can no longer be
    /// issued. Gives the row as it is then, OPENING.
    pub async fn begin_filling(
        self,
        code: CouponCode,
        rebuild: i64,
        redis_epoch: i64,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("move the epoch on", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = locked(&mut tx, &code).await? else { return Ok(None) };
            let moved = sqlx::query("UPDATE rebuilds SET step = 'FILLING' WHERE id = $1 AND step = 'DRAINING'");
            if moved.bind(rebuild).execute(&mut *tx).await?.rows_affected() != 1 {
                return Ok(None);
            }
            let coupon: Coupon = sqlx::query_as(
                // Sequences are compared within an epoch: what events of the old one claimed says nothing of the new one.
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
            audit(&mut tx, &actor, "rebuild.epoch", &code, change).await?;
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }

    /// Ends a rebuild that did not get as far as a new epoch, and gives the row as it is then; `None` when it is not
    /// DRAINING any more. A campaign that was to be closed afterwards is CLOSED. With `is_sound` (nobody suspected its
    /// data when the gate was shut) an open one is OPEN again, unless it has been found since that Redis sold too much.
    /// Otherwise it is SUSPECT.
    pub async fn abandon(
        self,
        code: CouponCode,
        rebuild: i64,
        is_sound: bool,
        actor: Actor,
    ) -> Result<Option<Coupon>, RepoError> {
        self.write("finish a rebuild", move |pool| async move {
            let mut tx = pool.begin().await?;
            let Some(before) = locked(&mut tx, &code).await? else { return Ok(None) };
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
            let Some(coupon) = locked(&mut tx, &code).await? else { return Ok(None) };
            let change = serde_json::json!({ "from": before.status, "to": coupon.status });
            audit(&mut tx, &actor, "rebuild.abandon", &code, change).await?;
            tx.commit().await?;
            Ok(Some(coupon))
        })
        .await
    }

    /// Notes that a rebuild is over.
    pub async fn finish(self, rebuild: i64, now: DateTime<Utc>) -> Result<(), RepoError> {
        self.write("finish a rebuild", move |pool| async move {
            sqlx::query("UPDATE rebuilds SET step = 'DONE', finished_at = $2 WHERE id = $1 AND step <> 'DONE'")
                .bind(rebuild)
                .bind(now)
                .execute(&pool)
                .await
                .map(drop)
        })
        .await
    }

    /// What a campaign still has to do before nothing is left of it.
    pub async fn unfinished(self, code: &CouponCode) -> Result<Unfinished, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT
                 (SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'HELD') AS held,
                 (SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'PARKED'
                     AND original_event_id IS NOT NULL AND error_code <> 'OTHER_MEMBER') AS parked,
                 (SELECT count(*) FROM failed_coupon_issues WHERE coupon_code = $1 AND status = 'PENDING') AS pending,
                 (SELECT count(*) FROM coupon_issues JOIN coupons USING (coupon_id)
                     WHERE coupon_code = $1 AND decision = 'COMPENSATED' AND given_back_at IS NULL) AS give_backs,
                 (SELECT count(*) FROM replays r LEFT JOIN replay_jobs j ON j.job_id = r.job_id WHERE r.coupon_code = $1
                     AND (r.outcome IN ('RESERVED', 'HOLDS_ONE')
                          -- Nobody asks Redis again for those of a job that was cancelled or stopped.
                          OR r.outcome IS NULL AND coalesce(j.status, '') NOT IN ('CANCELLED', 'STOPPED', 'DONE'))
                 ) AS replays",
        )
        .bind(code.as_str())
        .fetch_one(&pool);
        self.read("count what is unfinished", question).await
    }
}

/// Notes on a rebuild that drains that Redis sold too much: whatever it found before, the data is not sound. It is the time
/// of its end that says so early. Not that of the campaign's last change, which a new window or total changes too.
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

/// Replays that Redis had reserved and of which nothing is left: neither a mark, nor an event, nor a decision. They are no
/// attempt; a straggler after all is compensated, and settled as one.
async fn end_lost_replays(tx: &mut PgConnection, code: &CouponCode, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH lost AS (
             UPDATE replays r SET outcome = 'NOT_READY', updated_at = $2
             FROM replays before
             WHERE before.request_id = r.request_id AND r.coupon_code = $1 AND r.outcome IN ('RESERVED', 'HOLDS_ONE')
               AND NOT EXISTS (SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                               WHERE c.coupon_code = $1 AND i.request_id = coalesce(r.held_by, r.request_id))
               AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = coalesce(r.held_by, r.request_id)
                               AND d.status IN ('HELD', 'PARKED'))
             RETURNING r.failed_issue_id, before.outcome
         )
         -- Who was told that the member holds one has had the attempt given back before.
         UPDATE failed_coupon_issues f SET replay_count = greatest(f.replay_count - 1, 0)
         FROM lost WHERE f.id = lost.failed_issue_id AND lost.outcome = 'RESERVED'",
    )
    .bind(code.as_str())
    .bind(now)
    .execute(tx)
    .await
    .map(drop)
}

async fn locked(tx: &mut PgConnection, code: &CouponCode) -> Result<Option<Coupon>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE")
        .bind(code.as_str())
        .fetch_optional(tx)
        .await
}

async fn under_way(connection: &mut PgConnection, code: &CouponCode) -> Result<Option<Rebuild>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, step, reopen_as, started_by, started_at FROM rebuilds WHERE coupon_code = $1 AND step <> 'DONE'",
    )
    .bind(code.as_str())
    .fetch_optional(connection)
    .await
}
