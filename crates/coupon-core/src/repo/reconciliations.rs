//! What PostgreSQL has to say when Redis is compared with it, the counter beside the rows, and the history of it all.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Database, RepoError, issues::Decision};
use crate::ids::{CouponCode, RequestId};

/// A decision, as a comparison needs it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RequestDecision {
    /// The request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// Whose it was.
    pub member_id: String,
    /// The word.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// Whether Redis has been put right, for a compensated one.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// A request with a dead letter that is an operator's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// HELD or PARKED: an operator decides it.
    Waits,
    /// RESOLVED or IGNORED: an operator has settled it. Builds before this one let them do so without a decision.
    Settled,
}

/// The counter of a campaign, and what it should be, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RowCount {
    /// `coupons.issued_quantity`.
    pub counter: i64,
    /// ISSUED rows.
    pub rows: i64,
    /// `coupons.total_quantity`.
    pub total: i64,
}

/// A reconciliation, for the history.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct ReconciliationRow {
    /// Number.
    pub id: i64,
    /// Campaign.
    pub coupon_code: String,
    /// Who had it run.
    pub started_by: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Whether it was to repair.
    pub applied: bool,
    /// Marks seen.
    pub marks: i64,
    /// ISSUED rows seen.
    pub issued_rows: i64,
    /// Requests that could not be judged.
    pub in_flight: i64,
    /// Drift by kind: found, repaired, examples.
    pub drift: serde_json::Value,
}

impl Database {
    /// The decisions on these requests, where there are any.
    pub async fn words(&self, code: &CouponCode, ids: &[Uuid]) -> Result<HashMap<Uuid, RequestDecision>, RepoError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT request_id, member_id, decision, given_back_at
             FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND request_id = ANY($2)",
        )
        .bind(code.as_str())
        .bind(ids)
        .fetch_all(&pool);
        let words: Vec<RequestDecision> = self.bounded("look up decisions", question).await?;
        Ok(words.into_iter().map(|word| (word.request_id.as_uuid(), word)).collect())
    }

    /// Which of these members hold a coupon, and by which request.
    pub async fn holders(
        &self,
        code: &CouponCode,
        members: &[String],
    ) -> Result<HashMap<String, RequestId>, RepoError> {
        if members.is_empty() {
            return Ok(HashMap::new());
        }
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT member_id, request_id FROM coupon_issues
             WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND member_id = ANY($2)
               AND decision = 'ISSUED'",
        )
        .bind(code.as_str())
        .bind(members)
        .fetch_all(&pool);
        let rows: Vec<(String, Uuid)> = self.bounded("look up holders", question).await?;
        Ok(rows.into_iter().map(|(member, id)| (member, id.into())).collect())
    }

    /// Which of these requests have a dead letter that waits for an operator, or that one has settled by a word.
    pub async fn set_aside(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Aside>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT original_event_id, bool_or(status IN ('HELD', 'PARKED')) FROM dlq_events
             WHERE original_event_id = ANY($1) AND status IN ('HELD', 'PARKED', 'RESOLVED', 'IGNORED')
             GROUP BY original_event_id",
        )
        .bind(ids)
        .fetch_all(&pool);
        let found: Vec<(Uuid, bool)> = self.bounded("look up what is held", question).await?;
        let aside = |waits| if waits { Aside::Waits } else { Aside::Settled };
        Ok(found.into_iter().map(|(id, waits)| (id, aside(waits))).collect())
    }

    /// Counter and rows of a campaign, both of one moment. Reads every row of an index: a second for some millions.
    pub async fn count(&self, code: &CouponCode) -> Result<Option<RowCount>, RepoError> {
        let pool = self.pool();
        let question = async {
            let mut tx = pool.begin().await?;
            // Only reads, and a campaign may be large; the bound around it still holds.
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
        self.patient("count the rows of a campaign", question).await
    }

    /// The highest sequence of a campaign's epoch that events claim and that a Redis at `redis_seq` can have given.
    ///
    /// Anybody who may write to the topic can claim any sequence. What Redis gave and has lost are reservations that were
    /// decided, or that are under way, of which there are at most as many as coupons in all, or holders that were
    /// restored: it cannot have been further ahead than twice that. Reads the campaign's rows; to be asked only when
    /// [`Coupon::high_seq`](super::coupons::Coupon) is above `redis_seq`.
    pub async fn vouched_seq(&self, code: &CouponCode, redis_seq: i64) -> Result<i64, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "WITH bound AS (
                 SELECT c.coupon_id, c.epoch, c.high_seq, $2 + 2 * (c.total_quantity + (SELECT count(*) FROM coupon_issues i
                     WHERE i.coupon_id = c.coupon_id AND i.epoch = c.epoch)) AS seq
                 FROM coupons c WHERE coupon_code = $1)
             SELECT CASE WHEN high_seq <= seq THEN high_seq ELSE coalesce((SELECT max(i.seq) FROM coupon_issues i
                 WHERE i.coupon_id = bound.coupon_id AND i.epoch = bound.epoch AND i.decision = 'ISSUED'
                   AND i.seq <= bound.seq), 0) END FROM bound",
        )
        .bind(code.as_str())
        .bind(redis_seq)
        .fetch_optional(&pool);
        Ok(self.patient("look at sequences", question).await?.unwrap_or(0))
    }

    /// Corrects a sequence that no Redis gave, unless another event has claimed a higher one since.
    pub async fn mend_high_seq(&self, code: CouponCode, claimed: i64, vouched: i64) -> Result<(), RepoError> {
        self.detached("mend a sequence", move |pool| async move {
            sqlx::query("UPDATE coupons SET high_seq = $3 WHERE coupon_code = $1 AND high_seq = $2")
                .bind(code.as_str())
                .bind(claimed)
                .bind(vouched)
                .execute(&pool)
                .await
                .map(drop)
        })
        .await
    }

    /// Corrects the counter by what [`Database::count`] found it to differ. It and the rows change together, so the
    /// difference stays what it was whatever is issued meanwhile, and nothing is counted while the row is locked. `false`
    /// when there are more rows than coupons in all, which no counter can mend.
    pub async fn mend_counter(&self, code: CouponCode, count: RowCount) -> Result<bool, RepoError> {
        self.detached("mend a counter", move |pool| async move {
            let mended = sqlx::query(
                "UPDATE coupons SET issued_quantity = issued_quantity + $2
                 WHERE coupon_code = $1 AND issued_quantity + $2 BETWEEN 0 AND total_quantity",
            );
            let mended = mended.bind(code.as_str()).bind(count.rows - count.counter).execute(&pool).await?;
            Ok(mended.rows_affected() == 1)
        })
        .await
    }

    /// Puts a reconciliation into the history; gives its number.
    pub async fn record_reconciliation(&self, row: ReconciliationRow) -> Result<i64, RepoError> {
        self.detached("record a reconciliation", move |pool| async move {
            sqlx::query_scalar(
                "INSERT INTO reconciliations
                     (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
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

    /// The history, newest first: of one campaign or of all.
    pub async fn reconciliations(
        &self,
        code: Option<&CouponCode>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ReconciliationRow>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT * FROM reconciliations
             WHERE ($1::text IS NULL OR coupon_code = $1) AND ($2::bigint IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(code.map(CouponCode::as_str))
        .bind(before)
        .bind(limit)
        .fetch_all(&pool);
        self.bounded("list reconciliations", question).await
    }
}
