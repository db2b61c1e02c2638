//! Jobs that replay many rows: the table `replay_jobs`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use super::{
    ReplayJobRepository, RepoError,
    audit::{Actor, Identity, append_audit},
    work_list::Filter,
};
use crate::words::words;

mod hold;

pub use hold::Hold;
pub(super) use hold::advance;

/// Time after the last heartbeat from which a job counts as without a worker; heartbeats come every few seconds.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

words! {
    /// Rows that a job replays.
    pub enum JobKind as "kind of a replay" {
        /// Compensated requests of the work list, each with a new request id.
        Requests = "REQUESTS",
        /// Dead letters that are HELD or PARKED, each with its own request id.
        DlqEvents = "LETTERS",
    }
}

words! {
    /// Status of a job.
    pub enum JobStatus as "status of a replay" {
        /// A process works on the job, or did; it can be resumed.
        Running = "RUNNING",
        /// An operator has paused the job; it can be resumed.
        Paused = "PAUSED",
        /// An operator has cancelled the job for good.
        Cancelled = "CANCELLED",
        /// Most replays failed; the job can be resumed.
        Stopped = "STOPPED",
        /// Every row was begun.
        Done = "DONE",
    }
}

/// A job, with the outcomes of its replays.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Job {
    /// Number.
    pub job_id: i64,
    /// Rows that it replays.
    #[sqlx(try_from = "String")]
    pub kind: JobKind,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: JobStatus,
    /// Choice of rows.
    pub filter: Json<Filter>,
    /// Highest number of a row that it replays.
    pub up_to_id: i64,
    /// Number up to which every row was begun.
    pub cursor_id: i64,
    /// Rate: most replays begun in a second.
    pub per_second: f64,
    /// Whether the campaign's window is ignored.
    pub after_close: bool,
    /// Rows that could be replayed when the job was created.
    pub eligible: i64,
    /// Rows that the filter chose when the job was created, eligible or not.
    pub chosen: i64,
    /// Rows begun.
    pub begun: i64,
    /// Rows begun and issued.
    pub succeeded: i64,
    /// Rows begun and refused or compensated again.
    pub failed: i64,
    /// Rows begun and undecided.
    pub under_way: i64,
    /// Refusals by reason.
    pub refused: serde_json::Value,
    /// Reason that the operator gave.
    pub reason: String,
    /// Reason of its status.
    pub note: String,
    /// Seconds since the last heartbeat, while it is RUNNING.
    pub idle_seconds: Option<i64>,
    /// Whether the services work on it; else the terminal in which it was begun or resumed does.
    pub in_service: bool,
    /// The process of a service that works on it.
    pub worker: Option<String>,
    /// Who asked for it; `None` in rows of older builds.
    #[serde(skip)]
    pub asked_by: Option<Json<Identity>>,
    /// Operator who created it.
    pub created_by: String,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A job to be created.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Rows that it replays.
    pub kind: JobKind,
    /// Choice of rows.
    pub filter: Filter,
    /// Highest number of a row that it replays.
    pub up_to: i64,
    /// Rate: most replays begun in a second.
    pub per_second: f64,
    /// Whether the campaign's window is ignored.
    pub after_close: bool,
    /// Rows that can be replayed.
    pub eligible: i64,
    /// Rows that the filter chooses, eligible or not.
    pub chosen: i64,
    /// Reason that the operator gave.
    pub reason: String,
    /// Whether the services work on it.
    pub in_service: bool,
}

/// A job and its replays in one row. Refusals before and after the link are counted together. The heartbeat is compared
/// with the clock that wrote it, that of the server.
const SELECT: &str = "
SELECT j.job_id, j.kind, j.status, j.filter, j.up_to_id, j.cursor_id, j.per_second, j.after_close, j.eligible,
       greatest(coalesce(j.chosen, j.eligible), j.begun) AS chosen, j.begun,
       j.succeeded + coalesce(r.issued, 0) AS succeeded,
       coalesce(before.refused, 0)::bigint + coalesce(r.failed, 0) AS failed, coalesce(r.open, 0) AS under_way,
       j.refused || coalesce(r.outcomes, '{}') AS refused, j.reason, j.note,
       CASE WHEN j.status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(j.heartbeat_at, j.updated_at)), 0)::bigint END AS idle_seconds,
       j.in_service, j.worker, j.asked_by, j.created_by, j.created_at, j.updated_at
FROM replay_jobs j
LEFT JOIN LATERAL (SELECT sum(value::bigint) AS refused FROM jsonb_each_text(j.refused)) before ON true
LEFT JOIN LATERAL (
    SELECT sum(n) FILTER (WHERE outcome = 'ISSUED')::bigint AS issued,
           sum(n) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE'))::bigint AS open,
           sum(n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED'))::bigint AS failed,
           jsonb_object_agg(outcome, n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED')) AS outcomes
    FROM (SELECT outcome, count(*) AS n FROM replays WHERE replays.job_id = j.job_id GROUP BY outcome) by_outcome
) r ON true";

impl ReplayJobRepository<'_> {
    /// Creates a RUNNING job, with its audit in the same transaction. Returns its number.
    pub async fn create(self, new: NewJob, actor: Actor) -> Result<i64, RepoError> {
        self.write("create a replay job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let job_id = insert(&mut tx, &new, &actor).await?;
            tx.commit().await?;
            Ok(job_id)
        })
        .await
    }

    /// Returns a job.
    pub async fn find(self, job_id: i64) -> Result<Option<Job>, RepoError> {
        let sql = format!("{SELECT} WHERE j.job_id = $1");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(job_id);
        self.read("read a replay job", select.fetch_optional(&self.pool())).await
    }

    /// Returns up to `limit` jobs below the number `before`, newest first.
    pub async fn list(self, before: Option<i64>, limit: i64) -> Result<Vec<Job>, RepoError> {
        let sql = format!("{SELECT} WHERE ($1::bigint IS NULL OR j.job_id < $1) ORDER BY j.job_id DESC LIMIT $2");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(before).bind(limit);
        self.read("list replay jobs", select.fetch_all(&self.pool())).await
    }

    /// Changes the status of a job, with `note` as the reason and with its audit. A `hold` that is given has to be the
    /// job's. `false` when it is not, or the status is none of `from`.
    pub async fn set_status(
        self,
        job_id: i64,
        hold: Option<Hold>,
        from: &'static [JobStatus],
        to: JobStatus,
        note: String,
        actor: Actor,
    ) -> Result<bool, RepoError> {
        self.write("move a replay job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let from: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
            let before: Option<String> = sqlx::query_scalar(
                "SELECT status FROM replay_jobs
                 WHERE job_id = $1 AND status = ANY($2) AND ($3 OR worker IS NOT DISTINCT FROM $4) FOR NO KEY UPDATE",
            )
            .bind(job_id)
            .bind(&from)
            .bind(hold.is_none())
            .bind(hold.and_then(|hold| hold.worker))
            .fetch_optional(&mut *tx)
            .await?;
            let Some(before) = before else { return Ok(false) };
            sqlx::query("UPDATE replay_jobs SET status = $2, note = $3, updated_at = $4 WHERE job_id = $1")
                .bind(job_id)
                .bind(to.as_str())
                .bind(&note)
                .bind(actor.now)
                .execute(&mut *tx)
                .await?;
            if before != to.as_str() {
                let change = serde_json::json!({ "from": before, "to": to });
                append_audit(&mut tx, &actor, "replay", &format!("replay_jobs/{job_id}"), change, &note).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Advances a job to a dead letter that was refused. `false` when the job is not RUNNING.
    pub async fn note_refused_dlq_event(
        self,
        hold: Hold,
        dlq_event: i64,
        reason: String,
        now: DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        self.write("note a refused letter", move |pool| async move {
            let mut connection = pool.acquire().await?;
            advance(&mut connection, &hold, dlq_event, Some(&reason), now).await
        })
        .await
    }
}

/// Inserts a RUNNING job in the name of the actor, with its audit.
pub(super) async fn insert(tx: &mut PgConnection, new: &NewJob, actor: &Actor) -> Result<i64, sqlx::Error> {
    let job_id: i64 = sqlx::query_scalar(
        "INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by,
                                  created_at, updated_at, chosen, reason, heartbeat_at, in_service, asked_by)
         VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, now(), $11, $12) RETURNING job_id",
    )
    .bind(new.kind.as_str())
    .bind(Json(&new.filter))
    .bind(new.up_to)
    .bind(new.per_second)
    .bind(new.after_close)
    .bind(new.eligible)
    .bind(&actor.by.name)
    .bind(actor.now)
    .bind(new.chosen)
    .bind(&new.reason)
    .bind(new.in_service)
    .bind(Json(&actor.by))
    .fetch_one(&mut *tx)
    .await?;
    let change = serde_json::json!({ "kind": new.kind, "filter": new.filter, "up_to": new.up_to,
        "eligible": new.eligible, "after_close": new.after_close });
    append_audit(tx, actor, "replay", &format!("replay_jobs/{job_id}"), change, &new.reason).await?;
    Ok(job_id)
}

/// Counts a row of a job that has succeeded.
pub(super) async fn count_success(tx: &mut PgConnection, job_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE replay_jobs SET succeeded = succeeded + 1 WHERE job_id = $1")
        .bind(job_id)
        .execute(tx)
        .await
        .map(drop)
}
