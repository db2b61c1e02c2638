//! The marks up to which decisions are published, and the leases of those who publish them.

use std::time::Duration;

use crate::{
    ids::CouponCode,
    repo::{CouponDecisionBatchRepository, RepoError},
};

/// A campaign of which decisions have not been published.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Behind {
    /// Key of the campaign.
    pub coupon_id: i64,
    /// Campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Number of its last decision.
    pub decision_no: i64,
    /// Number up to which Kafka has acknowledged every decision, but for those that were purged unpublished or passed over.
    pub relayed_to: i64,
    /// Age of the first decision after that, in seconds.
    pub oldest_seconds: f64,
    /// Whether no other process has the lease.
    pub is_free: bool,
}

impl CouponDecisionBatchRepository<'_> {
    /// Returns the campaigns of which decisions have not been published, for the process `owner`.
    pub async fn behind(self, owner: &str) -> Result<Vec<Behind>, RepoError> {
        let select = sqlx::query_as(
            "SELECT c.coupon_id, c.coupon_code, c.decision_no, coalesce(m.relayed_to, 0) AS relayed_to,
                    greatest(coalesce(extract(epoch FROM clock_timestamp() - first.decided_at)::float8, 0), 0) AS oldest_seconds,
                    coalesce(m.owner = $1 OR m.owned_until < clock_timestamp(), true) AS is_free
             FROM coupons c LEFT JOIN coupon_decision_marks m USING (coupon_id)
             LEFT JOIN LATERAL (
                 SELECT decided_at FROM coupon_decision_batches b
                 WHERE b.coupon_id = c.coupon_id AND b.first_no <= coalesce(m.relayed_to, 0) + 1
                 ORDER BY b.first_no DESC LIMIT 1) first ON true
             WHERE c.decision_no > coalesce(m.relayed_to, 0)
             ORDER BY c.coupon_id",
        )
        .bind(owner);
        self.read("list decisions to be published", select.fetch_all(&self.pool())).await
    }

    /// Takes the lease of a campaign, or prolongs it. Returns the mark; `None` while another process has the lease.
    pub async fn lease(self, coupon_id: i64, owner: String, lease: Duration) -> Result<Option<i64>, RepoError> {
        self.write("take the lease of decisions", move |pool| async move {
            sqlx::query_scalar(
                "INSERT INTO coupon_decision_marks AS m (coupon_id, owner, owned_until)
                 VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
                 ON CONFLICT (coupon_id) DO UPDATE SET owner = excluded.owner, owned_until = excluded.owned_until
                 WHERE coalesce(m.owner = excluded.owner OR m.owned_until < clock_timestamp(), true)
                 RETURNING relayed_to",
            )
            .bind(coupon_id)
            .bind(owner)
            .bind(lease.as_secs_f64())
            .fetch_optional(&pool)
            .await
        })
        .await
    }

    /// Moves the mark of a campaign from one number to a higher one, and prolongs the lease. `false` when another process has
    /// moved the mark or taken the lease: nothing was changed.
    pub async fn move_mark(
        self,
        coupon_id: i64,
        owner: String,
        (from, to): (i64, i64),
        lease: Duration,
    ) -> Result<bool, RepoError> {
        let update = sqlx::query(
            "UPDATE coupon_decision_marks
             SET relayed_to = $4, relayed_at = clock_timestamp(), owned_until = clock_timestamp() + $5 * interval '1 second'
             WHERE coupon_id = $1 AND owner = $2 AND relayed_to = $3 AND $4 > $3",
        );
        let update = update.bind(coupon_id).bind(owner).bind(from).bind(to).bind(lease.as_secs_f64());
        Ok(self.execute("move the mark of decisions", update).await? == 1)
    }

    /// Releases all leases of a process.
    pub async fn release_leases(self, owner: String) -> Result<(), RepoError> {
        let update = sqlx::query("UPDATE coupon_decision_marks SET owner = NULL, owned_until = NULL WHERE owner = $1")
            .bind(owner);
        self.execute("release the leases of decisions", update).await.map(drop)
    }
}
