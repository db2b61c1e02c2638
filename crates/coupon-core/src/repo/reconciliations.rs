//! Reconciliations: the table `reconciliations`, the rows that Redis is compared with, and the counter of a campaign.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{ReconciliationRepository, RepoError, coupon_issues::Decision};
use crate::ids::{CouponCode, RequestId};

/// A decision, as a reconciliation reads it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RequestDecision {
    /// Request id.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// Member.
    pub member_id: String,
    /// Decision.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// Time of the give-back of a compensated request; `None` while it is due.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// Counter and rows of a campaign, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RowCount {
    /// `coupons.issued_quantity`.
    pub counter: i64,
    /// Number of ISSUED rows.
    pub rows: i64,
    /// `coupons.total_quantity`.
    pub total: i64,
}

/// A reconciliation of the history.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct ReconciliationRow {
    /// Number.
    pub id: i64,
    /// Campaign.
    pub coupon_code: String,
    /// Operator or service that ran it.
    pub started_by: String,
    /// Time of its begin.
    pub started_at: DateTime<Utc>,
    /// Time of its end.
    pub finished_at: DateTime<Utc>,
    /// Whether it repaired.
    pub applied: bool,
    /// Number of holder entries read.
    pub marks: i64,
    /// Number of ISSUED rows read.
    pub issued_rows: i64,
    /// Requests in flight, which could not be classified.
    pub in_flight: i64,
    /// Drift by kind: found, repaired, examples.
    pub drift: serde_json::Value,
}

impl ReconciliationRepository<'_> {
    /// Returns the decisions on those of these requests that are decided.
    pub async fn decisions(self, code: &CouponCode, ids: &[Uuid]) -> Result<HashMap<Uuid, RequestDecision>, RepoError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let select = sqlx::query_as(
            "SELECT request_id, member_id, decision, given_back_at
             FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND request_id = ANY($2)",
        )
        .bind(code.as_str())
        .bind(ids);
        let decisions: Vec<RequestDecision> = self.read("look up decisions", select.fetch_all(&self.pool())).await?;
        Ok(decisions.into_iter().map(|decision| (decision.request_id.as_uuid(), decision)).collect())
    }

    /// Returns the requests by which those of these members hold a coupon that do.
    pub async fn holders(self, code: &CouponCode, members: &[String]) -> Result<HashMap<String, RequestId>, RepoError> {
        if members.is_empty() {
            return Ok(HashMap::new());
        }
        let select = sqlx::query_as(
            "SELECT member_id, request_id FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND member_id = ANY($2)
               AND decision = 'ISSUED'",
        )
        .bind(code.as_str())
        .bind(members);
        let rows: Vec<(String, Uuid)> = self.read("look up holders", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().map(|(member, id)| (member, id.into())).collect())
    }

    /// Counts the rows of a campaign in the snapshot that its counter is read in. Reads a whole index: a second for
    /// some millions of rows.
    pub async fn count_rows(self, code: &CouponCode) -> Result<Option<RowCount>, RepoError> {
        let select = async {
            let mut tx = self.pool().begin().await?;
            // A campaign may be large; the bound of a long read still holds.
            sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
            sqlx::query_as(
                "SELECT issued_quantity AS counter, total_quantity AS total,
                        (SELECT count(*) FROM coupon_issues i
                         WHERE i.coupon_id = c.coupon_id AND i.decision = 'ISSUED') AS rows
                 FROM coupons c WHERE coupon_code = $1",
            )
            .bind(code.as_str())
            .fetch_optional(&mut *tx)
            .await
        };
        self.long_read("count the rows of a campaign", select).await
    }

    /// Returns the highest sequence that events of a campaign's epoch claim and that Redis, now at `redis_seq`, can
    /// have given.
    ///
    /// Whoever may write to the topic can claim any sequence. The reservations that Redis has lost are decided, or
    /// under way (at most the total), or restored holders: Redis cannot have been further ahead than twice their
    /// number. Reads the campaign's rows; worth its cost only when [`Coupon::high_seq`](super::coupons::Coupon) is
    /// above `redis_seq`.
    pub async fn vouched_seq(self, code: &CouponCode, redis_seq: i64) -> Result<i64, RepoError> {
        let select = sqlx::query_scalar(
            "WITH bound AS (
                 SELECT c.coupon_id, c.epoch, c.high_seq, $2 + 2 * (c.total_quantity + (SELECT count(*) FROM coupon_issues i
                     WHERE i.coupon_id = c.coupon_id AND i.epoch = c.epoch)) AS seq
                 FROM coupons c WHERE coupon_code = $1)
             SELECT CASE WHEN high_seq <= seq THEN high_seq ELSE coalesce((SELECT max(i.seq) FROM coupon_issues i
                 WHERE i.coupon_id = bound.coupon_id AND i.epoch = bound.epoch AND i.decision = 'ISSUED'
                   AND i.seq <= bound.seq), 0) END FROM bound",
        )
        .bind(code.as_str())
        .bind(redis_seq);
        Ok(self.long_read("look at sequences", select.fetch_optional(&self.pool())).await?.unwrap_or(0))
    }

    /// Corrects a sequence that Redis never gave, unless another event has claimed a higher one since.
    pub async fn correct_high_seq(self, code: CouponCode, claimed: i64, vouched: i64) -> Result<(), RepoError> {
        let update = sqlx::query("UPDATE coupons SET high_seq = $3 WHERE coupon_code = $1 AND high_seq = $2");
        self.execute("mend a sequence", update.bind(code.as_str()).bind(claimed).bind(vouched)).await.map(drop)
    }

    /// Corrects the counter by the difference that [`ReconciliationRepository::count_rows`] found. Counter and rows
    /// change together, so the difference stays the same whatever is issued meanwhile. `false` when there are more rows
    /// than the total, which no counter can express.
    pub async fn correct_counter(self, code: CouponCode, count: RowCount) -> Result<bool, RepoError> {
        let update = sqlx::query(
            "UPDATE coupons SET issued_quantity = issued_quantity + $2
             WHERE coupon_code = $1 AND issued_quantity + $2 BETWEEN 0 AND total_quantity",
        );
        let update = update.bind(code.as_str()).bind(count.rows - count.counter);
        Ok(self.execute("mend a counter", update).await? == 1)
    }

    /// Inserts a reconciliation into the history, with the event `drift_found` if drift is left, and returns its number.
    pub async fn record(self, row: ReconciliationRow) -> Result<i64, RepoError> {
        self.write("record a reconciliation", move |pool| async move {
            sqlx::query_scalar(
                // The examples of drift may name members.
                "WITH recorded AS (
                     INSERT INTO reconciliations
                         (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
                 ), kinds AS (
                     SELECT jsonb_object_agg(kind, count - 'examples') AS drift,
                            bool_or((count->>'found')::bigint > (count->>'repaired')::bigint) AS is_left
                     FROM jsonb_each($9) AS kinds (kind, count)
                 ), told AS (
                     INSERT INTO campaign_events (kind, coupon_code, data, occurred_at)
                     SELECT 'drift_found', $1, jsonb_build_object('reconciliation', id, 'drift', drift), $4
                     FROM recorded, kinds WHERE is_left
                 )
                 SELECT id FROM recorded",
            )
            .bind(row.coupon_code)
            .bind(row.started_by)
            .bind(row.started_at)
            .bind(row.finished_at)
            .bind(row.applied)
            .bind(row.marks)
            .bind(row.issued_rows)
            .bind(row.in_flight)
            .bind(row.drift)
            .fetch_one(&pool)
            .await
        })
        .await
    }

    /// Returns a reconciliation of the history.
    pub async fn find(self, id: i64) -> Result<Option<ReconciliationRow>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM reconciliations WHERE id = $1").bind(id);
        self.read("read a reconciliation", select.fetch_optional(&self.pool())).await
    }

    /// Returns the last reconciliation of each campaign that is not archived, those with drift first; at most 200.
    pub async fn last_of_each(self) -> Result<Vec<ReconciliationRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT r.* FROM (SELECT coupon_code FROM coupons WHERE archived_at IS NULL ORDER BY coupon_id DESC LIMIT 200) c
             CROSS JOIN LATERAL (SELECT * FROM reconciliations WHERE coupon_code = c.coupon_code ORDER BY id DESC LIMIT 1) r
             ORDER BY r.drift <> '{}' DESC, r.id DESC",
        );
        self.read("read the last reconciliations", select.fetch_all(&self.pool())).await
    }

    /// Returns up to `limit` reconciliations of one campaign or of all below the number `before`, newest first.
    pub async fn list(
        self,
        code: Option<&CouponCode>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ReconciliationRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT * FROM reconciliations
             WHERE ($1::text IS NULL OR coupon_code = $1) AND ($2::bigint IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(code.map(CouponCode::as_str))
        .bind(before)
        .bind(limit);
        self.read("list reconciliations", select.fetch_all(&self.pool())).await
    }
}
