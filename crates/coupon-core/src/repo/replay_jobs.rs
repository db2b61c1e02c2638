//! Replays by the many: the table `replay_jobs`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    ReplayJobRepository, RepoError,
    coupons::{Actor, append_audit},
    replays::advance,
    work_list::Filter,
};
use crate::words::words;

/// How long after its last heartbeat a job counts as one that nobody works on. A worker says so every few seconds.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

words! {
    /// What a job replays.
    pub enum JobKind as "kind of a replay" {
        /// Compensated requests of the work list, each with a new request id.
        Requests = "REQUESTS",
        /// Dead letters that are held or parked, as they are.
        Letters = "LETTERS",
    }
}

words! {
    /// Where a job stands.
    pub enum JobStatus as "status of a replay" {
        /// Some process is at it, or was: it can be resumed.
        Running = "RUNNING",
        /// By an operator; it can be resumed.
        Paused = "PAUSED",
        /// By an operator, for good.
        Cancelled = "CANCELLED",
        /// Most replays failed; it can be resumed.
        Stopped = "STOPPED",
        /// Everything was begun.
        Done = "DONE",
    }
}

/// A job, with what became of its replays.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Job {
    /// Number.
    pub job_id: i64,
    /// What it replays.
    #[sqlx(try_from = "String")]
    pub kind: JobKind,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub status: JobStatus,
    /// Which rows.
    pub filter: sqlx::types::Json<Filter>,
    /// No row with a higher number.
    pub up_to_id: i64,
    /// Everything up to this number was begun.
    pub cursor_id: i64,
    /// Most replays begun in a second.
    pub per_second: f64,
    /// Whether the campaign's window counts for nothing.
    pub after_close: bool,
    /// Rows that could be replayed when it was made.
    pub eligible: i64,
    /// Rows that the filter chose when it was made, eligible or not.
    pub chosen: i64,
    /// Rows begun.
    pub begun: i64,
    /// Of these, issued.
    pub succeeded: i64,
    /// Of these, refused or given up again.
    pub failed: i64,
    /// Of these, not decided yet.
    pub under_way: i64,
    /// Refusals by reason.
    pub refused: serde_json::Value,
    /// Why it was asked for, in the operator's words.
    pub reason: String,
    /// Why it stands where it stands.
    pub note: String,
    /// While it is RUNNING: seconds since a process that works on it last said so.
    pub idle_seconds: Option<i64>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it last came on.
    pub updated_at: DateTime<Utc>,
}

/// What a job is made with.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What it replays.
    pub kind: JobKind,
    /// Which rows.
    pub filter: Filter,
    /// No row with a higher number.
    pub up_to: i64,
    /// Most replays begun in a second.
    pub per_second: f64,
    /// Whether the campaign's window counts for nothing.
    pub after_close: bool,
    /// Rows that can be replayed now.
    pub eligible: i64,
    /// Rows that the filter means, whether they can be replayed or not.
    pub chosen: i64,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A job and its replays in one row. Refusals before and after the link are counted together. The heartbeat is compared
/// with the clock that wrote it, the server's.
const SELECT: &str = "
SELECT j.job_id, j.kind, j.status, j.filter, j.up_to_id, j.cursor_id, j.per_second, j.after_close, j.eligible,
       greatest(coalesce(j.chosen, j.eligible), j.begun) AS chosen, j.begun,
       j.succeeded + coalesce(r.issued, 0) AS succeeded,
       coalesce(before.refused, 0)::bigint + coalesce(r.failed, 0) AS failed, coalesce(r.open, 0) AS under_way,
       j.refused || coalesce(r.words, '{}') AS refused, j.reason, j.note,
       CASE WHEN j.status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(j.heartbeat_at, j.updated_at)), 0)::bigint END AS idle_seconds,
       j.created_by, j.created_at, j.updated_at
FROM replay_jobs j
LEFT JOIN LATERAL (SELECT sum(value::bigint) AS refused FROM jsonb_each_text(j.refused)) before ON true
LEFT JOIN LATERAL (
    SELECT sum(n) FILTER (WHERE outcome = 'ISSUED')::bigint AS issued,
           sum(n) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE'))::bigint AS open,
           sum(n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED'))::bigint AS failed,
           jsonb_object_agg(outcome, n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED')) AS words
    FROM (SELECT outcome, count(*) AS n FROM replays WHERE replays.job_id = j.job_id GROUP BY outcome) by_outcome
) r ON true";

impl ReplayJobRepository<'_> {
    /// Makes a job, RUNNING, with the audit in the same transaction; gives its number.
    pub async fn create(self, new: NewJob, actor: Actor) -> Result<i64, RepoError> {
        self.write("create a replay job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let job_id: i64 = sqlx::query_scalar(
                "INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by,
                                          created_at, updated_at, chosen, reason, heartbeat_at)
                 VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, now()) RETURNING job_id",
            )
            .bind(new.kind.as_str())
            .bind(sqlx::types::Json(&new.filter))
            .bind(new.up_to)
            .bind(new.per_second)
            .bind(new.after_close)
            .bind(new.eligible)
            .bind(&actor.name)
            .bind(actor.now)
            .bind(new.chosen)
            .bind(&new.reason)
            .fetch_one(&mut *tx)
            .await?;
            let change = serde_json::json!({ "kind": new.kind, "filter": new.filter, "up_to": new.up_to,
                "eligible": new.eligible, "after_close": new.after_close });
            append_audit(&mut tx, &actor, "replay", &format!("replay_jobs/{job_id}"), change, &new.reason).await?;
            tx.commit().await?;
            Ok(job_id)
        })
        .await
    }

    /// One job.
    pub async fn find(self, job_id: i64) -> Result<Option<Job>, RepoError> {
        let pool = self.pool();
        let sql = format!("{SELECT} WHERE j.job_id = $1");
        let question = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(job_id).fetch_optional(&pool);
        self.read("read a replay job", question).await
    }

    /// Jobs, newest first.
    pub async fn list(self, before: Option<i64>, limit: i64) -> Result<Vec<Job>, RepoError> {
        let pool = self.pool();
        let sql = format!("{SELECT} WHERE ($1::bigint IS NULL OR j.job_id < $1) ORDER BY j.job_id DESC LIMIT $2");
        let question = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(before).bind(limit).fetch_all(&pool);
        self.read("list replay jobs", question).await
    }

    /// Notes that a process works on a job now.
    pub async fn note_heartbeat(self, job_id: i64) -> Result<(), RepoError> {
        self.write("note a heartbeat of a replay", move |pool| async move {
            let beat = sqlx::query("UPDATE replay_jobs SET heartbeat_at = now() WHERE job_id = $1").bind(job_id);
            beat.execute(&pool).await.map(drop)
        })
        .await
    }

    /// Moves a job if it stands at one of `from`, with `note` as the reason; by an operator (then with an audit row) or
    /// by its worker. `false` when it stands elsewhere.
    pub async fn set_status(
        self,
        job_id: i64,
        from: &'static [JobStatus],
        to: JobStatus,
        note: String,
        actor: Actor,
    ) -> Result<bool, RepoError> {
        self.write("move a replay job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let words: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
            let before: Option<String> = sqlx::query_scalar(
                "SELECT status FROM replay_jobs WHERE job_id = $1 AND status = ANY($2) FOR NO KEY UPDATE",
            )
            .bind(job_id)
            .bind(&words)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(before) = before else { return Ok(false) };
            // Whoever lets it run again is about to work on it.
            let moved = "UPDATE replay_jobs SET status = $2, note = $3, updated_at = $4,
                             heartbeat_at = CASE WHEN $2 = 'RUNNING' THEN now() ELSE heartbeat_at END WHERE job_id = $1";
            sqlx::query(moved)
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

    /// Notes that a job of letters has come to this letter, which was refused; `false` when it does not run any more.
    pub async fn note_refused_letter(
        self,
        job_id: i64,
        letter: i64,
        reason: String,
        now: DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        self.write("note a refused letter", move |pool| async move {
            let mut connection = pool.acquire().await?;
            advance(&mut connection, job_id, letter, Some(&reason), now).await
        })
        .await
    }
}
