//! Numbers without a decision: what an operator accepts after rows were changed by hand and cannot be put back.

use std::time::Duration;

use serde_json::json;

use super::later::raise_to_given;
use crate::{
    ids::CouponCode,
    repo::{
        CouponDecisionBatchRepository, RepoError,
        audit::{Actor, append_coupon_audit},
    },
};

/// The numbers of a campaign beside its decisions, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberGaps {
    /// Number of the last decision.
    pub last: i64,
    /// That number less the number of decisions.
    pub difference: i64,
    /// Decisions without a number, less the numbers up to the mark whose batch is gone: above 0, so many decisions at least have
    /// lost their number without having been published or purged.
    pub lost: i64,
    /// Numbers after the mark that have no decision, as PostgreSQL writes them.
    missing: String,
}

/// What is accepted of the numbers of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AcceptedNumbers {
    /// Number of the last decision.
    pub last: i64,
    /// That number less the number of decisions.
    pub difference: i64,
    /// First and last number of each range, not published so far, that has no decision: the relay passes over it.
    pub passed_over: Vec<(i64, i64)>,
}

/// Reads the numbers of a campaign beside its decisions, all of both.
const READ_GAPS: &str = "
WITH campaign AS MATERIALIZED (
    SELECT c.coupon_id, c.decision_no, coalesce(m.relayed_to, 0) AS relayed_to,
           coalesce(m.accepted_numbers, '{}') AS accepted_numbers,
           greatest(c.decision_no, m.relayed_to, (
               SELECT b.first_no + cardinality(b.request_ids) - 1 FROM coupon_decision_batches b
               WHERE b.coupon_id = c.coupon_id ORDER BY b.first_no DESC LIMIT 1)) AS highest
    FROM coupons c LEFT JOIN coupon_decision_marks m USING (coupon_id)
    WHERE c.coupon_code = $1 AND c.archived_at IS NULL
), kept AS MATERIALIZED (
    SELECT b.first_no + r.place - 1 AS number, r.id AS request_id
    FROM campaign JOIN coupon_decision_batches b USING (coupon_id)
    CROSS JOIN LATERAL UNNEST(b.request_ids) WITH ORDINALITY AS r (id, place)
), decided AS MATERIALIZED (
    SELECT kept.number, i.request_id FROM campaign JOIN coupon_issues i USING (coupon_id) JOIN kept USING (request_id)
), gone AS (
    -- Published and purged, or purged unpublished; what nobody published because it does not exist is no decision.
    SELECT int8multirange(int8range(0, relayed_to, '(]')) - accepted_numbers
           - coalesce((SELECT range_agg(int8range(number, number, '[]')) FROM kept), '{}') AS numbers
    FROM campaign
), counted AS (
    SELECT count(*) AS decisions FROM campaign JOIN coupon_issues USING (coupon_id)
)
SELECT decision_no AS last, decision_no - decisions AS difference,
       decisions - (SELECT count(DISTINCT request_id) FROM decided)
           - (SELECT coalesce(sum(upper(n) - lower(n)), 0)::bigint FROM gone CROSS JOIN LATERAL UNNEST(gone.numbers) AS n) AS lost,
       (int8multirange(int8range(relayed_to, highest, '(]')) - coalesce(
           (SELECT range_agg(int8range(number, number, '[]')) FROM decided WHERE number > relayed_to), '{}'))::text AS missing
FROM campaign CROSS JOIN counted";

/// Accepts what was missing when it was read: not what the relay has passed since, nor what was decided since under a number
/// that was lowered by hand.
const ACCEPT: &str = "
UPDATE coupon_decision_marks SET accepted_difference = $3,
    accepted_numbers = accepted_numbers + ($4::text::int8multirange - coalesce((
        SELECT range_agg(int8range(b.first_no, b.first_no + cardinality(b.request_ids))) FROM coupon_decision_batches b
        WHERE b.coupon_id = $1 AND b.first_no > $5 AND b.first_no <= $6), '{}'))
        * int8multirange(int8range($2::bigint, NULL, '()'))
WHERE coupon_id = $1";

impl CouponDecisionBatchRepository<'_> {
    /// Reads what there is to accept. `None`: there is no such campaign, or it is archived. Reads all batches and an index of all
    /// decisions: some seconds for some millions.
    pub async fn gaps(self, code: &CouponCode) -> Result<Option<NumberGaps>, RepoError> {
        let select = async {
            let mut tx = self.pool().begin().await?;
            // A campaign may be large; the bound of a long read still holds.
            sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
            sqlx::query_as(READ_GAPS).bind(code.as_str()).fetch_optional(&mut *tx).await
        };
        self.long_read("find numbers without a decision", select).await
    }

    /// Accepts the numbers of a campaign as they were read, with the audit: the difference stays the same whatever is decided
    /// meanwhile, and numbers after the mark that have no decision are passed over from now on. A `decision_no` below a number that
    /// was given is raised. Under the lock of the campaign's row nothing is read that grows with the campaign. `None`: there is no
    /// such campaign, or it is archived.
    pub async fn accept(
        self,
        code: CouponCode,
        gaps: NumberGaps,
        actor: Actor,
    ) -> Result<Option<AcceptedNumbers>, RepoError> {
        self.write("accept numbers without a decision", move |pool| async move {
            let mut tx = pool.begin().await?;
            let locked: Option<(i64, i64)> = sqlx::query_as(
                "SELECT coupon_id, decision_no FROM coupons
                 WHERE coupon_code = $1 AND archived_at IS NULL FOR NO KEY UPDATE",
            )
            .bind(code.as_str())
            .fetch_optional(&mut *tx)
            .await?;
            let Some((coupon_id, decision_no)) = locked else { return Ok(None) };
            // Under the lock of the row, so that the relay does not move the mark meanwhile.
            let relayed_to: i64 = sqlx::query_scalar(
                "INSERT INTO coupon_decision_marks AS m (coupon_id) VALUES ($1)
                 ON CONFLICT (coupon_id) DO UPDATE SET relayed_to = m.relayed_to RETURNING relayed_to",
            )
            .bind(coupon_id)
            .fetch_one(&mut *tx)
            .await?;
            let last = raise_to_given(&mut tx, coupon_id).await?;
            let difference = gaps.difference + last - decision_no;
            sqlx::query(ACCEPT)
                .bind(coupon_id)
                .bind(relayed_to)
                .bind(difference)
                .bind(&gaps.missing)
                .bind(gaps.last)
                .bind(decision_no)
                .execute(&mut *tx)
                .await?;
            let passed_over: Vec<(i64, i64)> = sqlx::query_as(
                "SELECT lower(numbers), upper(numbers) - 1
                 FROM coupon_decision_marks CROSS JOIN LATERAL UNNEST(accepted_numbers) AS numbers
                 WHERE coupon_id = $1 AND upper(numbers) > $2 + 1 ORDER BY 1",
            )
            .bind(coupon_id)
            .bind(relayed_to)
            .fetch_all(&mut *tx)
            .await?;
            let accepted = AcceptedNumbers { last, difference, passed_over };
            append_coupon_audit(&mut tx, &actor, "decisions.accept-missing", &code, json!({ "to": accepted })).await?;
            tx.commit().await?;
            Ok(Some(accepted))
        })
        .await
    }

    /// Moves the mark of a campaign from the number before `missing` over the accepted numbers that begin there, and prolongs the
    /// lease. Returns the new mark; `None` when nobody has accepted that the number has no decision, or another process has the
    /// lease.
    pub async fn pass_over(
        self,
        coupon_id: i64,
        owner: String,
        missing: i64,
        lease: Duration,
    ) -> Result<Option<i64>, RepoError> {
        self.write("pass over accepted numbers", move |pool| async move {
            sqlx::query_scalar(
                "UPDATE coupon_decision_marks
                 SET relayed_to = (SELECT upper(numbers) - 1 FROM UNNEST(accepted_numbers) AS numbers WHERE numbers @> $3::bigint),
                     owned_until = clock_timestamp() + $4 * interval '1 second'
                 WHERE coupon_id = $1 AND owner = $2 AND relayed_to = $3 - 1 AND accepted_numbers @> $3::bigint
                 RETURNING relayed_to",
            )
            .bind(coupon_id)
            .bind(owner)
            .bind(missing)
            .bind(lease.as_secs_f64())
            .fetch_optional(&pool)
            .await
        })
        .await
    }
}
