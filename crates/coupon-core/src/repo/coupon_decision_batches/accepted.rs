//! Numbers without a decision: what an operator accepts after rows were changed by hand and cannot be put back.

use std::time::Duration;

use serde_json::json;

use crate::{
    ids::CouponCode,
    repo::{
        CouponDecisionBatchRepository, RepoError,
        audit::{Actor, append_coupon_audit},
    },
};

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

impl CouponDecisionBatchRepository<'_> {
    /// Accepts the numbers of a campaign as they are, with the audit: `difference` is that of [`count`](Self::count), which stays the
    /// same whatever is decided meanwhile, and numbers after the mark that have no decision are passed over from now on. A
    /// `decision_no` below a number that was given is raised. `None`: there is no such campaign, or it is archived.
    pub async fn accept(
        self,
        code: CouponCode,
        difference: i64,
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
            let last: i64 = sqlx::query_scalar(
                "UPDATE coupons SET decision_no = greatest(decision_no, $2, (
                     SELECT first_no + cardinality(request_ids) - 1 FROM coupon_decision_batches
                     WHERE coupon_id = $1 ORDER BY first_no DESC LIMIT 1))
                 WHERE coupon_id = $1 RETURNING decision_no",
            )
            .bind(coupon_id)
            .bind(relayed_to)
            .fetch_one(&mut *tx)
            .await?;
            let difference = difference + last - decision_no;
            sqlx::query(
                "WITH decided AS (
                     SELECT b.first_no + r.place - 1 AS number
                     FROM coupon_decision_batches b CROSS JOIN LATERAL UNNEST(b.request_ids) WITH ORDINALITY AS r (id, place)
                     JOIN coupon_issues i ON i.coupon_id = b.coupon_id AND i.request_id = r.id
                     WHERE b.coupon_id = $1 AND b.first_no + cardinality(b.request_ids) > $2
                 )
                 UPDATE coupon_decision_marks SET accepted_difference = $4,
                     accepted_numbers = accepted_numbers + int8multirange(int8range($2::bigint, $3::bigint, '(]'))
                         - coalesce((SELECT range_agg(int8range(number, number, '[]')) FROM decided), '{}')
                 WHERE coupon_id = $1",
            )
            .bind(coupon_id)
            .bind(relayed_to)
            .bind(last)
            .bind(difference)
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
