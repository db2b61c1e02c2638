//! What is left to do of a campaign.

use crate::{
    ids::CouponCode,
    repo::{RebuildRepository, RepoError},
};

/// Work that an archive waits for: requests without a decision, and decisions that are not carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Unfinished {
    /// HELD dead letters.
    pub held: i64,
    /// PARKED dead letters whose event can be read.
    pub parked: i64,
    /// PENDING rows of the work list.
    pub pending: i64,
    /// Compensated requests whose give-back is due.
    pub give_backs: i64,
    /// Replays without an outcome, or without a decision.
    pub replays: i64,
}

impl RebuildRepository<'_> {
    /// Counts the unfinished work of a campaign.
    pub async fn unfinished(self, code: &CouponCode) -> Result<Unfinished, RepoError> {
        let select = sqlx::query_as(
            "SELECT
                 (SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'HELD') AS held,
                 (SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'PARKED'
                     AND original_event_id IS NOT NULL AND error_code <> 'OTHER_MEMBER') AS parked,
                 (SELECT count(*) FROM failed_coupon_issues WHERE coupon_code = $1 AND status = 'PENDING') AS pending,
                 (SELECT count(*) FROM coupon_issues JOIN coupons USING (coupon_id)
                     WHERE coupon_code = $1 AND decision = 'COMPENSATED' AND given_back_at IS NULL) AS give_backs,
                 (SELECT count(*) FROM replays r LEFT JOIN replay_jobs j ON j.job_id = r.job_id WHERE r.coupon_code = $1
                     AND (r.outcome IN ('RESERVED', 'HOLDS_ONE')
                          -- Redis is not asked again for those of a job that was cancelled or stopped.
                          OR r.outcome IS NULL AND coalesce(j.status, '') NOT IN ('CANCELLED', 'STOPPED', 'DONE'))
                 ) AS replays",
        )
        .bind(code.as_str());
        self.read("count what is unfinished", select.fetch_one(&self.pool())).await
    }
}
