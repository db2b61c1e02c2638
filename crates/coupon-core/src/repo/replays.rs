//! Replays of compensated requests: the table `replays`. Each links a row of the work list to the new request that
//! replays it.
//!
//! The link is committed before Redis is asked, and the answer afterwards. So a process may end anywhere, and Redis is
//! asked again for the same request id.

use uuid::Uuid;

use super::{ReplayRepository, RepoError, replay_jobs::SILENT_AFTER};
use crate::{
    ids::{CouponCode, MemberId, RequestId},
    words::words,
};

mod link;
mod plan;
mod settle;

pub use link::Linked;
pub use plan::{Plan, Refusal, SampledRow};
pub(super) use settle::{close_replay, end_lost_replays, end_unanswered_replays, settle_by_hand};

words! {
    /// Outcome of a replay.
    pub enum ReplayOutcome as "outcome of a replay" {
        /// The member holds a unit by it; the request goes the way of every request.
        Reserved = "RESERVED",
        /// The member holds a unit by another request.
        HoldsOne = "HOLDS_ONE",
        /// No unit is left.
        SoldOut = "SOLD_OUT",
        /// The campaign is closed or its window is over.
        Closed = "CLOSED",
        /// The gate is closed for a rebuild, or the outbox is full.
        NotReady = "NOT_READY",
        /// The coupon is issued.
        Issued = "ISSUED",
        /// The request was compensated like the one before.
        Compensated = "COMPENSATED",
    }
}

/// Decisions on the rows of one step of a job that Redis has reserved units for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StepOutcomes {
    /// Rows that are undecided.
    pub open: i64,
    /// Rows decided COMPENSATED.
    pub compensated: i64,
}

/// A replay that Redis is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Link {
    /// Id of the new request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// Number of the row that it replays.
    pub failed_issue_id: i64,
    /// Campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Member.
    #[sqlx(try_from = "String")]
    pub member_id: MemberId,
    /// Whether the campaign's window is ignored.
    pub after_close: bool,
}

/// A link without an answer whose job has no worker.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Abandoned {
    /// Link.
    #[sqlx(flatten)]
    pub link: Link,
    /// Whether its job can be resumed, and would then ask Redis.
    pub is_resumable: bool,
}

impl ReplayRepository<'_> {
    /// Returns the links of a job that Redis has not answered.
    pub async fn unanswered(self, job_id: i64) -> Result<Vec<Link>, RepoError> {
        let select = sqlx::query_as(UNANSWERED_OF).bind(job_id);
        self.read("list unanswered replays", select.fetch_all(&self.pool())).await
    }

    /// Returns links that Redis has not answered and whose job has had no heartbeat for [`SILENT_AFTER`], whatever its
    /// status; the oldest rows of the work list first.
    pub async fn abandoned(self, limit: i64) -> Result<Vec<Abandoned>, RepoError> {
        let select = sqlx::query_as(ABANDONED).bind(limit).bind(SILENT_AFTER.as_secs_f64());
        self.read("list abandoned replays", select.fetch_all(&self.pool())).await
    }

    /// Counts the decisions on the rows of a job after `after` that Redis has reserved units for. The rows up to
    /// `after` belong to earlier steps.
    pub async fn step_outcomes(self, job_id: i64, after: i64) -> Result<StepOutcomes, RepoError> {
        let select = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')) AS open,
                    count(*) FILTER (WHERE outcome = 'COMPENSATED') AS compensated
             FROM replays WHERE job_id = $1 AND failed_issue_id > $2",
        )
        .bind(job_id)
        .bind(after);
        self.read("count what became of a step", select.fetch_one(&self.pool())).await
    }
}

const UNANSWERED_OF: &str = "
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close
FROM replays r
WHERE r.job_id = $1 AND r.outcome IS NULL ORDER BY r.failed_issue_id";

const ABANDONED: &str = "
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close,
       coalesce(j.status IN ('RUNNING', 'PAUSED', 'STOPPED'), false) AS is_resumable
FROM replays r
LEFT JOIN replay_jobs j ON j.job_id = r.job_id
WHERE r.outcome IS NULL
  AND (j.job_id IS NULL OR coalesce(j.heartbeat_at, j.updated_at) < now() - $2 * interval '1 second')
ORDER BY r.failed_issue_id LIMIT $1";
