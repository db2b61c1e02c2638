//! A worker's hold on a job: claimed, kept by heartbeats, let go.

use serde_json::Value;

use super::{JobRow, LOST_AFTER, SELECT};
use crate::repo::{JobRepository, RepoError};

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The worker holds the job.
    Held,
    /// The job is not RUNNING any more.
    Ended,
    /// Another worker has claimed the job.
    Lost,
}

impl JobRepository<'_> {
    /// Claims the oldest RUNNING job that has no worker, or whose worker has been silent for [`LOST_AFTER`].
    pub async fn claim(self, worker: String) -> Result<Option<JobRow>, RepoError> {
        self.write("claim a job", move |pool| async move {
            let mut tx = pool.begin().await?;
            let claimed: Option<i64> = sqlx::query_scalar(
                "UPDATE jobs SET worker = $1, heartbeat_at = now() WHERE job_id = (
                     SELECT job_id FROM jobs
                     WHERE status = 'RUNNING' AND (worker IS NULL OR heartbeat_at < now() - $2 * interval '1 second')
                     ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
                 RETURNING job_id",
            )
            .bind(worker)
            .bind(LOST_AFTER.as_secs_f64())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(job_id) = claimed else { return Ok(None) };
            let select = sqlx::AssertSqlSafe(format!("{SELECT} WHERE job_id = $1"));
            let job = sqlx::query_as(select).bind(job_id).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(job))
        })
        .await
    }

    /// Records that a worker is at a job, with its progress if that has changed.
    pub async fn beat(self, job_id: i64, worker: String, progress: Option<Value>) -> Result<Beat, RepoError> {
        self.write("note a heartbeat of a job", move |pool| async move {
            let status: Option<String> = sqlx::query_scalar(
                "UPDATE jobs SET heartbeat_at = now(), progress = coalesce($3, progress),
                                 updated_at = CASE WHEN $3::jsonb IS NULL THEN updated_at ELSE now() END
                 WHERE job_id = $1 AND worker = $2 RETURNING status",
            )
            .bind(job_id)
            .bind(worker)
            .bind(progress)
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

    /// Writes down why a job does not come on; empty: it does.
    pub async fn note(self, job_id: i64, worker: String, note: String) -> Result<(), RepoError> {
        let update = sqlx::query("UPDATE jobs SET note = $3 WHERE job_id = $1 AND worker = $2 AND status = 'RUNNING'");
        self.execute("note why a job waits", update.bind(job_id).bind(worker).bind(note)).await.map(drop)
    }

    /// Lets every RUNNING job of a worker go, so that another worker claims it at once.
    pub async fn release(self, worker: String) -> Result<(), RepoError> {
        let update = sqlx::query("UPDATE jobs SET worker = NULL WHERE worker = $1 AND status = 'RUNNING'");
        self.execute("let jobs go", update.bind(worker)).await.map(drop)
    }
}
