//! Settling as a job: each batch and the job's progress in one transaction.

use crate::repo::{
    JobRepository, RepoError,
    audit::Actor,
    work_list::{Filter, Settling, settle_batch},
};

impl JobRepository<'_> {
    /// Settles up to `limit` rows of a filter after the number `after`, each with its audit, and adds them to the job's
    /// progress (`done`, `cursor`, `rate` in rows a second), all in one transaction. Returns their numbers, ascending; none:
    /// no row is left. `None` when the job is not RUNNING, or another worker holds it.
    pub async fn settle(
        self,
        (job_id, worker): (i64, String),
        settling: Settling,
        filter: Filter,
        (after, limit): (i64, i64),
        actor: Actor,
    ) -> Result<Option<Vec<i64>>, RepoError> {
        let arguments = (filter.arguments()?, filter.arguments()?);
        self.write("settle entries", move |pool| async move {
            let mut tx = pool.begin().await?;
            let now = actor.now;
            let settled = settle_batch(&mut tx, settling, arguments, (after, limit), actor).await?;
            let cursor = settled.last().copied().unwrap_or(after);
            let held = sqlx::query(
                "UPDATE jobs SET updated_at = $5, progress = progress || jsonb_build_object(
                     'done', coalesce((progress ->> 'done')::bigint, 0) + $4, 'cursor', $3::bigint,
                     'rate', round((coalesce((progress ->> 'done')::bigint, 0) + $4)
                                   / greatest(extract(epoch FROM $5 - created_at), 0.001)::numeric, 1))
                 WHERE job_id = $1 AND status = 'RUNNING' AND worker = $2",
            )
            .bind(job_id)
            .bind(worker)
            .bind(cursor)
            .bind(i64::try_from(settled.len()).unwrap_or(i64::MAX))
            .bind(now)
            .execute(&mut *tx)
            .await?;
            if held.rows_affected() == 0 {
                // Dropped, the transaction is rolled back.
                return Ok(None);
            }
            tx.commit().await?;
            Ok(Some(settled))
        })
        .await
    }
}
