//! The link between a row of the work list and the new request that replays it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    ids::RequestId,
    repo::{
        ReplayRepository, RepoError,
        replay_jobs::{Hold, advance},
        replays::{
            Link,
            plan::{Refusal, classify},
        },
        work_list::Filter,
    },
};

/// Outcome of one row of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// The link is committed: ask Redis.
    Link(Link),
    /// The row cannot be replayed.
    Refused(Refusal),
    /// The job is not RUNNING.
    Stopped,
}

/// Takes over the link of a row that Redis has not answered: with the same request id, so that the row cannot get two
/// coupons.
const LINK_AGAIN: &str = "
UPDATE replays SET job_id = $2, after_close = $3, updated_at = $4
WHERE failed_issue_id = $1 AND outcome IS NULL
RETURNING request_id, failed_issue_id, coupon_code, member_id, after_close";

const LINK: &str = "
INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, after_close, created_at, updated_at)
SELECT $1, id, coupon_code, member_id, $3, $4, $5, $5 FROM failed_coupon_issues WHERE id = $2
RETURNING request_id, failed_issue_id, coupon_code, member_id, after_close";

impl ReplayRepository<'_> {
    /// Links a row to `request_id`, or to the request id of an earlier link without an answer, and advances the job to
    /// the row in the same transaction. A job that `halts` is not advanced to a row that is `NOT_READY`.
    pub async fn link(
        self,
        (hold, halts): (Hold, bool),
        row: i64,
        request_id: RequestId,
        after_close: bool,
        now: DateTime<Utc>,
    ) -> Result<Linked, RepoError> {
        let chosen = Filter { ids: vec![row], ..Filter::default() }.arguments()?;
        self.write("link a replay", move |pool| async move {
            let mut tx = pool.begin().await?;
            let refusal = classify(&mut tx, row, chosen, after_close, now).await?;
            let stays = halts && refusal == Some(Refusal::NotReady);
            if !stays && !advance(&mut tx, &hold, row, refusal.map(Refusal::as_str), now).await? {
                return Ok(Linked::Stopped);
            }
            let linked = match refusal {
                Some(refusal) => Linked::Refused(refusal),
                None => Linked::Link(link(&mut tx, (hold.job_id, row), request_id, after_close, now).await?),
            };
            tx.commit().await?;
            Ok(linked)
        })
        .await
    }
}

async fn link(
    tx: &mut PgConnection,
    (job_id, row): (i64, i64),
    request_id: RequestId,
    after_close: bool,
    now: DateTime<Utc>,
) -> Result<Link, sqlx::Error> {
    let again = sqlx::query_as(LINK_AGAIN).bind(row).bind(job_id).bind(after_close).bind(now);
    if let Some(link) = again.fetch_optional(&mut *tx).await? {
        return Ok(link);
    }
    sqlx::query("UPDATE failed_coupon_issues SET replay_count = replay_count + 1 WHERE id = $1")
        .bind(row)
        .execute(&mut *tx)
        .await?;
    let new = sqlx::query_as(LINK).bind(request_id.as_uuid()).bind(row).bind(job_id).bind(after_close).bind(now);
    new.fetch_one(tx).await
}
