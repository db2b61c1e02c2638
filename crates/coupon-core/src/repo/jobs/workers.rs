//! The processes that work on jobs: the table `job_workers`.

use std::time::Duration;

use super::LOST_AFTER;
use crate::repo::{JobRepository, RepoError};

/// Time after which a process that has said nothing counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Whether something waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WaitingJobs {
    /// A replay.
    pub replays: bool,
    /// Another job.
    pub jobs: bool,
}

impl JobRepository<'_> {
    /// Returns whether a RUNNING replay of the services, and another RUNNING job, has no worker, or one that has been silent for
    /// [`LOST_AFTER`]. Changes nothing.
    pub async fn waiting(self) -> Result<WaitingJobs, RepoError> {
        let select = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM replay_jobs WHERE in_service AND status = 'RUNNING'
                            AND (worker IS NULL OR heartbeat_at < now() - $1 * interval '1 second')) AS replays,
                    EXISTS (SELECT FROM jobs WHERE status = 'RUNNING'
                            AND (worker IS NULL OR heartbeat_at < now() - $1 * interval '1 second')) AS jobs",
        );
        let select = select.bind(LOST_AFTER.as_secs_f64());
        self.read("look for jobs that wait", select.fetch_one(&self.pool())).await
    }

    /// Records that a process works on jobs, and forgets those that have said nothing for an hour.
    pub async fn note_worker(self, worker: String) -> Result<(), RepoError> {
        let note = sqlx::query(
            "WITH gone AS (DELETE FROM job_workers WHERE seen_at < now() - interval '1 hour' AND worker <> $1)
             INSERT INTO job_workers (worker, seen_at) VALUES ($1, now())
             ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at",
        );
        self.execute("note a worker", note.bind(worker)).await.map(drop)
    }

    /// Forgets a process that stops.
    pub async fn forget_worker(self, worker: String) -> Result<(), RepoError> {
        let delete = sqlx::query("DELETE FROM job_workers WHERE worker = $1");
        self.execute("forget a worker", delete.bind(worker)).await.map(drop)
    }

    /// Whether any process works on jobs now.
    pub async fn has_workers(self) -> Result<bool, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM job_workers WHERE seen_at > now() - $1 * interval '1 second')",
        );
        let select = select.bind(GONE_AFTER.as_secs_f64());
        self.read("look for workers", select.fetch_one(&self.pool())).await
    }
}
