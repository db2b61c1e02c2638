//! A worker's hold on a replay: the services' workers claim theirs, a terminal has the one that was begun in it.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use super::Job;
use crate::repo::{
    ReplayJobRepository, RepoError,
    audit::{Actor, Identity, append_audit},
    jobs::{Beat, LOST_AFTER},
};

/// A replay, and the worker that advances it; a replay that has another worker by then is not advanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Number of the replay.
    pub job_id: i64,
    /// Worker of a service; `None`: a terminal.
    pub worker: Option<String>,
}

impl Job {
    /// Returns the hold of the worker that has read this.
    pub fn hold(&self) -> Hold {
        Hold { job_id: self.job_id, worker: self.worker.clone() }
    }
}

impl ReplayJobRepository<'_> {
    /// Claims the oldest RUNNING replay of the services that has no worker, or whose worker has been silent for
    /// [`LOST_AFTER`]. Returns its number.
    pub async fn claim(self, worker: String) -> Result<Option<i64>, RepoError> {
        self.write("claim a replay", move |pool| async move {
            sqlx::query_scalar(
                "UPDATE replay_jobs SET worker = $1, heartbeat_at = now() WHERE job_id = (
                     SELECT job_id FROM replay_jobs
                     WHERE in_service AND status = 'RUNNING'
                       AND (worker IS NULL OR heartbeat_at < now() - $2 * interval '1 second')
                     ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
                 RETURNING job_id",
            )
            .bind(worker)
            .bind(LOST_AFTER.as_secs_f64())
            .fetch_optional(&pool)
            .await
        })
        .await
    }

    /// Records a heartbeat: the worker is at the replay now.
    pub async fn beat(self, Hold { job_id, worker }: Hold) -> Result<Beat, RepoError> {
        self.write("note a heartbeat of a replay", move |pool| async move {
            let status: Option<String> = sqlx::query_scalar(
                "UPDATE replay_jobs SET heartbeat_at = now()
                 WHERE job_id = $1 AND worker IS NOT DISTINCT FROM $2 RETURNING status",
            )
            .bind(job_id)
            .bind(worker)
            .fetch_optional(&pool)
            .await?;
            Ok(match status.as_deref() {
                Some("RUNNING") => Beat::Held,
                Some(_) => Beat::Ended,
                None => Beat::Lost,
            })
        })
        .await
    }

    /// Says who works on a RUNNING replay from now on: the services, or the terminal that asks and is about to. One that the
    /// services work on already stays with its worker. The audit of its rows names `by` then.
    pub async fn hand_over(self, job_id: i64, in_service: bool, by: &Identity) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE replay_jobs SET in_service = $2, worker = CASE WHEN in_service AND $2 THEN worker END,
                                    heartbeat_at = now(), asked_by = $3
             WHERE job_id = $1 AND status = 'RUNNING'",
        );
        self.execute("hand a replay over", update.bind(job_id).bind(in_service).bind(Json(by.clone()))).await.map(drop)
    }

    /// Lets a replay of a worker go, or all of them, so that another worker claims it at once.
    pub async fn release(self, job_id: Option<i64>, worker: String) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE replay_jobs SET worker = NULL WHERE in_service AND worker = $2 AND ($1::bigint IS NULL OR job_id = $1)",
        );
        self.execute("let a replay go", update.bind(job_id).bind(worker)).await.map(drop)
    }

    /// Writes down why a RUNNING replay does not come on; empty: it does.
    pub async fn note(self, job_id: i64, worker: String, note: String) -> Result<(), RepoError> {
        let update =
            sqlx::query("UPDATE replay_jobs SET note = $3 WHERE job_id = $1 AND worker = $2 AND status = 'RUNNING'");
        self.execute("note why a replay waits", update.bind(job_id).bind(worker).bind(note)).await.map(drop)
    }

    /// Changes the rate of a replay that has not ended, with its audit. `false` when it has.
    pub async fn set_rate(self, job_id: i64, per_second: f64, actor: Actor) -> Result<bool, RepoError> {
        self.write("change the rate of a replay", move |pool| async move {
            let mut tx = pool.begin().await?;
            let before: Option<f64> = sqlx::query_scalar(
                "SELECT per_second FROM replay_jobs
                 WHERE job_id = $1 AND status IN ('RUNNING', 'PAUSED', 'STOPPED') FOR NO KEY UPDATE",
            )
            .bind(job_id)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(before) = before else { return Ok(false) };
            sqlx::query("UPDATE replay_jobs SET per_second = $2, updated_at = $3 WHERE job_id = $1")
                .bind(job_id)
                .bind(per_second)
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            let change = serde_json::json!({ "from": { "per_second": before }, "to": { "per_second": per_second } });
            let reason = actor.by.reason.clone();
            append_audit(&mut tx, &actor, "replay", &format!("replay_jobs/{job_id}"), change, &reason).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

/// Advances a replay to a row and counts its refusal. `false` when the replay is not RUNNING, or has another worker.
pub(in crate::repo) async fn advance(
    tx: &mut PgConnection,
    hold: &Hold,
    row: i64,
    refused: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let advanced = sqlx::query(
        "UPDATE replay_jobs
         SET cursor_id = greatest(cursor_id, $2), updated_at = $4, begun = begun + 1,
             refused = CASE WHEN $3::text IS NULL THEN refused
                            ELSE jsonb_set(refused, ARRAY[$3], to_jsonb(coalesce((refused ->> $3)::bigint, 0) + 1)) END
         WHERE job_id = $1 AND status = 'RUNNING' AND worker IS NOT DISTINCT FROM $5",
    )
    .bind(hold.job_id)
    .bind(row)
    .bind(refused)
    .bind(now)
    .bind(&hold.worker)
    .execute(tx)
    .await?;
    Ok(advanced.rows_affected() == 1)
}
