//! Numbers of decisions that were made without one: before migration 0010, or by a build from before it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::number_decisions;
use crate::{
    ids::CouponCode,
    repo::{CouponDecisionBatchRepository, RepoError, coupon_issues::Decision},
};

/// Decisions that get their numbers in one transaction, under the lock of the campaign's row.
const NUMBERED_AT_ONCE: i64 = 10_000;
/// Most decisions of one batch.
const BATCH: usize = 500;

/// Numbers and decisions of a campaign, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberCount {
    /// Number of the last decision.
    pub last: i64,
    /// Number of decisions.
    pub decisions: i64,
    /// Difference of the two that an operator has accepted.
    pub accepted: i64,
}

impl NumberCount {
    /// Returns by how much the number of the last decision is too high; below 0 decisions have no number yet.
    pub fn difference(self) -> i64 {
        self.last - self.decisions - self.accepted
    }
}

/// A decision without a number.
#[derive(sqlx::FromRow)]
struct Unnumbered {
    decision_no: i64,
    request_id: Uuid,
    #[sqlx(try_from = "String")]
    decision: Decision,
    epoch: i64,
}

impl CouponDecisionBatchRepository<'_> {
    /// Counts the decisions of a campaign in the snapshot that the number of the last one is read in. Reads a whole index: a
    /// second for some millions of decisions.
    pub async fn count(self, code: &CouponCode) -> Result<Option<NumberCount>, RepoError> {
        let select = async {
            let mut tx = self.pool().begin().await?;
            // A campaign may be large; the bound of a long read still holds.
            sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
            sqlx::query_as(
                "SELECT decision_no AS last, coalesce(accepted_difference, 0) AS accepted,
                        (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id) AS decisions
                 FROM coupons c LEFT JOIN coupon_decision_marks USING (coupon_id) WHERE coupon_code = $1",
            )
            .bind(code.as_str())
            .fetch_optional(&mut *tx)
            .await
        };
        self.long_read("count the decisions of a campaign", select).await
    }

    /// Notes that every decision made before this time has its number, so that old batches may be purged.
    pub async fn note_complete(self, code: &CouponCode, before: DateTime<Utc>) -> Result<(), RepoError> {
        let insert = sqlx::query(
            "INSERT INTO coupon_decision_marks AS m (coupon_id, complete_before)
             SELECT coupon_id, $2 FROM coupons WHERE coupon_code = $1
             ON CONFLICT (coupon_id) DO UPDATE SET complete_before = greatest(m.complete_before, excluded.complete_before)",
        );
        let insert = insert.bind(code.as_str().to_owned()).bind(before);
        self.execute("note that decisions are numbered", insert).await.map(drop)
    }

    /// Numbers decisions that have no number, oldest first, some thousands at most. Returns how many; 0: every decision has
    /// one. The caller holds the lock of the campaign's data.
    pub async fn number_some(self, code: &CouponCode) -> Result<usize, RepoError> {
        self.number_found_by(code, false).await
    }

    /// The same after rows were deleted by hand: also decisions that had a number before. Only those of a time of which
    /// retention has purged batches are left, because published ones are among them.
    pub async fn number_lost(self, code: &CouponCode) -> Result<usize, RepoError> {
        self.number_found_by(code, true).await
    }

    async fn number_found_by(self, code: &CouponCode, lost: bool) -> Result<usize, RepoError> {
        let unnumbered = self.long_read("find decisions without a number", self.find_unnumbered(code, lost)).await?;
        let code = code.clone();
        self.write("number decisions", move |pool| async move {
            let mut tx = pool.begin().await?;
            let numbered = number_found(&mut tx, &code, &unnumbered).await?;
            tx.commit().await?;
            Ok(numbered)
        })
        .await
    }

    async fn find_unnumbered(self, code: &CouponCode, lost: bool) -> Result<Vec<Unnumbered>, sqlx::Error> {
        let mut tx = self.pool().begin().await?;
        sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
        sqlx::query_as(
            // Of what was decided before `complete_before` batches may be purged, and none is younger than the bound of its purge.
            "WITH purged AS (
                 SELECT coalesce(max((change->>'older_than')::timestamptz), '-infinity') AS before FROM operator_audit
                 WHERE subject = 'coupon_decision_batches' AND verb = 'purge'
             ), campaign AS (
                 SELECT coupon_id, decision_no,
                        least(coalesce(complete_before, '-infinity'), CASE WHEN $3 THEN purged.before END) AS since
                 FROM coupons LEFT JOIN coupon_decision_marks USING (coupon_id) CROSS JOIN purged WHERE coupon_code = $1
             ), numbered AS (
                 SELECT UNNEST(request_ids) AS request_id FROM coupon_decision_batches JOIN campaign USING (coupon_id)
             )
             SELECT campaign.decision_no, i.request_id, i.decision, i.epoch
             FROM campaign JOIN coupon_issues i USING (coupon_id)
             WHERE i.decided_at >= campaign.since
               AND NOT EXISTS (SELECT FROM numbered WHERE numbered.request_id = i.request_id)
             ORDER BY i.decided_at, i.decision, i.epoch, i.request_id LIMIT $2",
        )
        .bind(code.as_str())
        .bind(NUMBERED_AT_ONCE)
        .bind(lost)
        .fetch_all(&mut *tx)
        .await
    }
}

/// Numbers the decisions, under the lock of the campaign's row, unless somebody else has done so since they were found.
async fn number_found(tx: &mut PgConnection, code: &CouponCode, found: &[Unnumbered]) -> Result<usize, sqlx::Error> {
    let Some(first) = found.first() else { return Ok(0) };
    let locked: Option<i64> =
        sqlx::query_scalar("SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE")
            .bind(code.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(coupon_id) = locked else { return Ok(0) };
    let ids: Vec<Uuid> = found.iter().map(|row| row.request_id).collect();
    let is_numbered: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM coupon_decision_batches WHERE coupon_id = $1 AND first_no > $2 AND request_ids && $3)",
    )
    .bind(coupon_id)
    .bind(first.decision_no)
    .bind(&ids)
    .fetch_one(&mut *tx)
    .await?;
    if is_numbered {
        return Ok(0);
    }
    let mut number = raise_to_given(tx, coupon_id).await?;
    let is_alike = |a: &Unnumbered, b: &Unnumbered| (a.decision, a.epoch) == (b.decision, b.epoch);
    for batch in found.chunk_by(is_alike).flat_map(|alike| alike.chunks(BATCH)) {
        let ids: Vec<Uuid> = batch.iter().map(|row| row.request_id).collect();
        number = number_decisions(tx, coupon_id, (batch[0].decision, batch[0].epoch), &ids, None).await?;
    }
    tracing::info!(coupon = %code, number, "{} decisions of {code} had no number and have one now, up to {number}", found.len());
    Ok(found.len())
}

/// Raises the number of the campaign to the highest that was given, below which somebody has put it by hand: no number is given twice, and
/// none that the relay has passed. Returns it. The caller holds the lock of the row.
pub(super) async fn raise_to_given(tx: &mut PgConnection, coupon_id: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE coupons SET decision_no = greatest(decision_no,
             (SELECT relayed_to FROM coupon_decision_marks WHERE coupon_id = $1),
             (SELECT first_no + cardinality(request_ids) - 1 FROM coupon_decision_batches
              WHERE coupon_id = $1 ORDER BY first_no DESC LIMIT 1))
         WHERE coupon_id = $1 RETURNING decision_no",
    )
    .bind(coupon_id)
    .fetch_one(tx)
    .await
}
