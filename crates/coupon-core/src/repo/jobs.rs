//! Jobs that services work on for operators: the table `jobs`. Replays have `replay_jobs`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use super::{
    JobRepository, RepoError,
    audit::{Actor, Identity, append_audit},
};
use crate::words::words;

mod hold;
mod settle;
mod workers;

pub use hold::Beat;
pub use workers::WaitingJobs;

/// Time after the last heartbeat of a job's worker from which another worker goes on with it; heartbeats come every two
/// seconds, so that two of them have to fail.
pub const LOST_AFTER: Duration = Duration::from_secs(6);

words! {
    /// What a job does.
    pub enum ServiceJobKind as "kind of a job" {
        /// Compares Redis with PostgreSQL.
        Reconcile = "RECONCILE",
        /// Fills a campaign's data in Redis anew.
        Rebuild = "REBUILD",
        /// Settles rows of the work list, or dead letters.
        Settle = "SETTLE",
        /// Decides dead letters COMPENSATED.
        Compensate = "COMPENSATE",
        /// Ends a campaign for good.
        Archive = "ARCHIVE",
    }
}

words! {
    /// Status of a job.
    pub enum ServiceJobStatus as "status of a job" {
        /// A service works on it, or is about to.
        Running = "RUNNING",
        /// An operator has cancelled it.
        Cancelled = "CANCELLED",
        /// It cannot be done; its note says why.
        Failed = "FAILED",
        /// It is done.
        Done = "DONE",
    }
}

/// A job.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct JobRow {
    /// Number.
    pub job_id: i64,
    /// Kind.
    #[sqlx(try_from = "String")]
    pub kind: ServiceJobKind,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: ServiceJobStatus,
    /// What it does and to what, as its kind reads it.
    pub parameters: Value,
    /// How far it is, as its kind writes it.
    pub progress: Value,
    /// Why it stands where it stands, or how it ended.
    pub note: String,
    /// Reason that the operator gave.
    pub reason: String,
    /// Who asked for it.
    pub asked_by: Json<Identity>,
    /// Process that works on it.
    pub worker: Option<String>,
    /// Seconds since its last heartbeat, or since it was asked for, while it is RUNNING.
    pub idle_seconds: Option<i64>,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A job to be created.
#[derive(Clone, Debug)]
pub struct NewServiceJob {
    /// Kind.
    pub kind: ServiceJobKind,
    /// What is done, for the audit: the verb of the command.
    pub verb: String,
    /// What it does and to what.
    pub parameters: Value,
    /// Its progress before its first worker.
    pub progress: Value,
    /// Reason that the operator gave.
    pub reason: String,
}

/// The heartbeat is compared with the clock that wrote it, that of the server.
const SELECT: &str = "
SELECT job_id, kind, status, parameters, progress, note, reason, asked_by, worker, created_at, updated_at,
       CASE WHEN status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(heartbeat_at, created_at)), 0)::bigint END AS idle_seconds
FROM jobs";

impl JobRepository<'_> {
    /// Creates a RUNNING job for the services, with its audit in the same transaction. Returns its number.
    pub async fn create(self, new: NewServiceJob, actor: Actor) -> Result<i64, RepoError> {
        self.write("create a job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let job_id = insert(&mut tx, &new, &actor).await?;
            tx.commit().await?;
            Ok(job_id)
        })
        .await
    }

    /// Returns a job.
    pub async fn find(self, job_id: i64) -> Result<Option<JobRow>, RepoError> {
        let select = sqlx::AssertSqlSafe(format!("{SELECT} WHERE job_id = $1"));
        let select = sqlx::query_as(select).bind(job_id);
        self.read("read a job", select.fetch_optional(&self.pool())).await
    }

    /// Returns up to `limit` jobs below the number `before`, newest first.
    pub async fn list(self, before: Option<i64>, limit: i64) -> Result<Vec<JobRow>, RepoError> {
        let select = format!("{SELECT} WHERE ($1::bigint IS NULL OR job_id < $1) ORDER BY job_id DESC LIMIT $2");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(before).bind(limit);
        self.read("list jobs", select.fetch_all(&self.pool())).await
    }

    /// Ends a RUNNING job for good, with its audit. `worker` is who has to hold it; `None`: whoever does. `false` when it
    /// is not RUNNING, or another worker holds it.
    pub async fn end(
        self,
        job_id: i64,
        worker: Option<String>,
        to: ServiceJobStatus,
        note: String,
        actor: Actor,
    ) -> Result<bool, RepoError> {
        self.write("end a job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let ended = sqlx::query(
                "UPDATE jobs SET status = $3, note = $4, updated_at = $5
                 WHERE job_id = $1 AND status = 'RUNNING' AND ($2::text IS NULL OR worker = $2)",
            )
            .bind(job_id)
            .bind(worker)
            .bind(to.as_str())
            .bind(&note)
            .bind(actor.now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if ended == 1 {
                let change = serde_json::json!({ "from": ServiceJobStatus::Running, "to": to });
                append_audit(&mut tx, &actor, "job", &format!("jobs/{job_id}"), change, &note).await?;
            }
            tx.commit().await?;
            Ok(ended == 1)
        })
        .await
    }
}

/// Inserts a RUNNING job in the name of the actor, with its audit.
pub(super) async fn insert(tx: &mut PgConnection, new: &NewServiceJob, actor: &Actor) -> Result<i64, sqlx::Error> {
    let job_id: i64 = sqlx::query_scalar(
        "INSERT INTO jobs (kind, status, parameters, progress, reason, asked_by, created_at, updated_at)
         VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $6) RETURNING job_id",
    )
    .bind(new.kind.as_str())
    .bind(&new.parameters)
    .bind(&new.progress)
    .bind(&new.reason)
    .bind(Json(&actor.by))
    .bind(actor.now)
    .fetch_one(&mut *tx)
    .await?;
    append_audit(tx, actor, &new.verb, &format!("jobs/{job_id}"), new.parameters.clone(), &new.reason).await?;
    Ok(job_id)
}
