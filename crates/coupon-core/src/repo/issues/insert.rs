//! Inserting a batch, with the counter in the same statement.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{clock::from_unix_ms, event::CouponIssued, ids::CouponCode};

/// Inserts what is new and raises the counter by it, last, in one autocommitted statement: the hot row is locked as
/// briefly as can be, and no transaction waits for a client. Rows are inserted in the order of (member, request id)
/// so that overlapping batches wait for each other in one direction only.
const INSERT: &str = "
WITH coupon AS (
    SELECT coupon_id, valid_days FROM coupons WHERE coupon_code = $1 AND epoch = $2
), inserted AS (
    INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
    SELECT coupon.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, r.reserved_at,
           r.reserved_at + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
    ORDER BY r.member_id, r.request_id
    ON CONFLICT DO NOTHING
    RETURNING request_id, member_id, seq
), tally AS (
    SELECT count(*) AS rows, max(seq) AS seq FROM inserted
), counted AS (
    UPDATE coupons SET issued_quantity = issued_quantity + tally.rows, high_seq = greatest(high_seq, tally.seq)
    FROM tally
    WHERE coupon_code = $1 AND epoch = $2 AND tally.rows > 0
    RETURNING coupon_id
)
-- A rebuild may have moved the epoch while this statement waited for the counter: then nothing may stay.
SELECT request_id, member_id, CASE WHEN NOT EXISTS (SELECT FROM counted) THEN coupon_guard_failed('epoch') END AS guard
FROM inserted";

/// Inserts no more rows than there are coupons left; the counter is locked by the caller.
const INSERT_WHAT_FITS: &str = "
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT c.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, r.reserved_at, r.reserved_at + make_interval(days => c.valid_days)
FROM coupons c, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
WHERE c.coupon_code = $1
  AND NOT EXISTS (SELECT FROM coupon_issues own WHERE own.coupon_id = c.coupon_id AND own.request_id = r.request_id)
  AND NOT EXISTS (SELECT FROM coupon_issues held
                  WHERE held.coupon_id = c.coupon_id AND held.member_id = r.member_id AND held.decision = 'ISSUED')
ORDER BY r.member_id, r.request_id
LIMIT $7
ON CONFLICT DO NOTHING
RETURNING seq";

/// A batch of one coupon and one epoch as the arrays that UNNEST takes.
#[derive(Clone)]
pub struct Columns {
    code: String,
    epoch: i64,
    ids: Vec<Uuid>,
    members: Vec<String>,
    seqs: Vec<i64>,
    times: Vec<DateTime<Utc>>,
}

impl Columns {
    /// The events column by column, in the order given.
    pub fn of(code: &CouponCode, epoch: i64, events: &[CouponIssued]) -> Self {
        Self {
            code: code.as_str().to_owned(),
            epoch,
            ids: events.iter().map(|event| event.request_id.as_uuid()).collect(),
            members: events.iter().map(|event| event.member_id.as_str().to_owned()).collect(),
            seqs: events.iter().map(|event| event.seq).collect(),
            times: events.iter().map(|event| from_unix_ms(event.reserved_at)).collect(),
        }
    }
}

pub(super) async fn insert(pool: PgPool, batch: Columns) -> Result<HashSet<(Uuid, String)>, sqlx::Error> {
    let rows: Vec<(Uuid, String, Option<bool>)> = sqlx::query_as(INSERT)
        .bind(&batch.code)
        .bind(batch.epoch)
        .bind(&batch.ids)
        .bind(&batch.members)
        .bind(&batch.seqs)
        .bind(&batch.times)
        .fetch_all(&pool)
        .await?;
    Ok(rows.into_iter().map(|(id, member, _)| (id, member)).collect())
}

/// The one retry after the cap was hit: locks the counter first, so that it knows what fits.
pub(super) async fn insert_what_fits(pool: PgPool, batch: Columns) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let room: Option<i64> = sqlx::query_scalar(
        "SELECT total_quantity - issued_quantity FROM coupons WHERE coupon_code = $1 AND epoch = $2 FOR NO KEY UPDATE",
    )
    .bind(&batch.code)
    .bind(batch.epoch)
    .fetch_optional(&mut *tx)
    .await?;
    let seqs: Vec<i64> = sqlx::query_scalar(INSERT_WHAT_FITS)
        .bind(&batch.code)
        .bind(batch.epoch)
        .bind(&batch.ids)
        .bind(&batch.members)
        .bind(&batch.seqs)
        .bind(&batch.times)
        .bind(room.unwrap_or(0))
        .fetch_all(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE coupons SET issued_quantity = issued_quantity + $2, high_seq = greatest(high_seq, $3) WHERE coupon_code = $1",
    )
    .bind(&batch.code)
    .bind(i64::try_from(seqs.len()).unwrap_or(i64::MAX))
    .bind(seqs.iter().max())
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
