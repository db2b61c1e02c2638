//! Inserting a batch, with the counter in the same statement.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{
    postgres::PgArguments,
    query::{Query, QueryAs},
};
use uuid::Uuid;

use crate::{
    clock::from_unix_ms,
    event::CouponIssued,
    ids::CouponCode,
    repo::{RepoError, coupon_decision_batches::number_decisions, coupon_issues::Decision, error, pool::Pool},
};

/// Inserts rows that are all new, or none, and then raises the counter, in one autocommitted statement: the hot row is
/// locked as briefly as possible, and no transaction waits for a client. The numbers of the decisions are those that the same
/// update gives, after it has the lock. The rows are inserted in the order of (member,
/// request id), so that overlapping batches cannot deadlock. If a rebuild raised the epoch before the statement, there
/// is no coupon and no row; if it did so while the statement waited for the counter, nothing may stay. An event that
/// claims a reservation in the future is valid from now on.
const INSERT_NEW: &str = "
WITH coupon AS (
    SELECT coupon_id, valid_days FROM coupons WHERE coupon_code = $1 AND epoch = $2
), inserted AS (
    INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
    SELECT coupon.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, least(r.reserved_at, now()),
           least(r.reserved_at, now()) + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
    RETURNING request_id, seq
), counted_rows AS (
    SELECT count(*) AS rows, max(seq) AS seq, array_agg(request_id) AS request_ids FROM inserted
), raised AS (
    UPDATE coupons SET issued_quantity = issued_quantity + counted_rows.rows, high_seq = greatest(high_seq, counted_rows.seq),
        decision_no = decision_no + counted_rows.rows
    FROM counted_rows
    WHERE coupon_code = $1 AND epoch = $2 AND counted_rows.rows > 0
    RETURNING coupon_id, decision_no
), numbered AS (
    INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
    SELECT coupon_id, decision_no - rows + 1, 'ISSUED', $2, request_ids, now() FROM raised, counted_rows
)
SELECT rows, CASE WHEN rows > 0 AND NOT EXISTS (SELECT FROM raised) THEN coupon_guard_failed('epoch') END FROM counted_rows";

/// Inserts rows of which some exist already or are refused (see the migration of the function).
const INSERT_PARTS: &str = "
SELECT what, place, next_part, state, message, constraint_name, table_name, column_name
FROM coupon_issue_parts($1, $2, $3, $4, $5,
    ARRAY(SELECT least(time, now()) FROM UNNEST($6::timestamptz[]) WITH ORDINALITY AS t (time, place) ORDER BY place), $7, $8, $9)";

/// Inserts no more rows than there are coupons left; the counter is locked by the caller.
const INSERT_WHAT_FITS: &str = "
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT c.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, least(r.reserved_at, now()),
       least(r.reserved_at, now()) + make_interval(days => c.valid_days)
FROM coupons c, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
WHERE c.coupon_code = $1
  AND NOT EXISTS (SELECT FROM coupon_issues own WHERE own.coupon_id = c.coupon_id AND own.request_id = r.request_id)
  AND NOT EXISTS (SELECT FROM coupon_issues held
                  WHERE held.coupon_id = c.coupon_id AND held.member_id = r.member_id AND held.decision = 'ISSUED')
ORDER BY r.member_id COLLATE \"C\", r.request_id
LIMIT $7
ON CONFLICT DO NOTHING
RETURNING request_id, seq";

/// Raises the counter by what was inserted.
const RAISE: &str = "
UPDATE coupons SET issued_quantity = issued_quantity + $2, high_seq = greatest(high_seq, $3)
WHERE coupon_code = $1 RETURNING coupon_id";

/// Events of one coupon and one epoch, in the order of the insert, each with its index in the order given.
pub struct Batch(Vec<(usize, Arc<CouponIssued>)>);

/// A batch as the arrays of UNNEST.
pub struct Columns<'a> {
    ids: Vec<Uuid>,
    members: Vec<&'a str>,
    seqs: Vec<i64>,
    times: Vec<DateTime<Utc>>,
}

/// The events of a batch that were not inserted, by their index in the order given.
#[derive(Default)]
pub(super) struct Missing {
    /// Events that conflict with a row, or that have no coupon of their epoch.
    pub(super) missed: HashSet<usize>,
    /// Events that the database refuses.
    pub(super) refused: HashMap<usize, RepoError>,
    /// Events that were not tried.
    pub(super) untried: HashSet<usize>,
}

impl Missing {
    /// Every event of a batch, none refused.
    pub(super) fn all(batch: &Batch) -> Self {
        Self { missed: batch.0.iter().map(|(given, _)| *given).collect(), ..Self::default() }
    }

    /// The refusal of the only event of a batch.
    pub(super) fn refused(error: RepoError) -> Self {
        Self { refused: HashMap::from([(0, error)]), ..Self::default() }
    }
}

impl Batch {
    /// The batch of these events, all of the coupon and the epoch of the first, in any order; `None` without one.
    pub fn of(events: &[Arc<CouponIssued>]) -> Option<Self> {
        let mut events: Vec<_> = events.iter().cloned().enumerate().collect();
        events.sort_unstable_by(|(_, a), (_, b)| (&a.member_id, a.request_id).cmp(&(&b.member_id, b.request_id)));
        (!events.is_empty()).then_some(Self(events))
    }

    pub(super) fn rows(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    pub(super) fn code(&self) -> &CouponCode {
        &self.0[0].1.coupon_code
    }

    pub(super) fn epoch(&self) -> i64 {
        self.0[0].1.epoch
    }

    /// Returns the columns of the rows to be inserted.
    pub fn columns(&self) -> Columns<'_> {
        Columns {
            ids: self.0.iter().map(|(_, event)| event.request_id.as_uuid()).collect(),
            members: self.0.iter().map(|(_, event)| event.member_id.as_str()).collect(),
            seqs: self.0.iter().map(|(_, event)| event.seq).collect(),
            times: self.0.iter().map(|(_, event)| from_unix_ms(event.reserved_at)).collect(),
        }
    }

    fn bind<'q, R>(
        &'q self,
        query: QueryAs<'q, sqlx::Postgres, R, PgArguments>,
    ) -> QueryAs<'q, sqlx::Postgres, R, PgArguments> {
        let Columns { ids, members, seqs, times } = self.columns();
        query.bind(self.code().as_str()).bind(self.epoch()).bind(ids).bind(members).bind(seqs).bind(times)
    }
}

/// Inserts rows that are all new.
pub(super) async fn insert_new(pool: Pool, batch: Arc<Batch>) -> Result<Missing, sqlx::Error> {
    let (rows, _): (i64, Option<bool>) = batch.bind(sqlx::query_as(INSERT_NEW)).fetch_one(&pool).await?;
    // Without a row there is no such coupon, or not of this epoch.
    Ok(if rows == i64::from(batch.rows()) { Missing::default() } else { Missing::all(&batch) })
}

/// What `INSERT_PARTS` says of a row, or of the end of the call.
#[derive(sqlx::FromRow)]
struct PartRow {
    what: String,
    place: i32,
    next_part: Option<i32>,
    state: Option<String>,
    message: Option<String>,
    constraint_name: Option<String>,
    table_name: Option<String>,
    column_name: Option<String>,
}

/// Inserts the rows that can be inserted. Returns the others, and the number of rows to be tried at once next.
pub(super) async fn insert_parts(
    pool: Pool,
    batch: Arc<Batch>,
    part: i32,
    wait: Option<Duration>,
) -> Result<(Missing, i32), sqlx::Error> {
    let wait_ms = wait.map(|wait| i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
    let query = batch.bind(sqlx::query_as(INSERT_PARTS)).bind(part).bind(wait_ms).bind(error::not_of_a_record());
    let rows: Vec<PartRow> = query.fetch_all(&pool).await?;
    let (mut missing, mut next_part) = (Missing::default(), part);
    for row in rows {
        let place = usize::try_from(row.place).unwrap_or_default();
        if row.what == "TRIED" {
            missing.untried = batch.0.iter().skip(place).map(|(given, _)| *given).collect();
            next_part = row.next_part.unwrap_or(part);
            continue;
        }
        let Some((given, _)) = place.checked_sub(1).and_then(|place| batch.0.get(place)) else { continue };
        if let Some(state) = row.state {
            let named = [row.constraint_name, row.table_name, row.column_name]
                .map(|name| name.filter(|name| !name.is_empty()).map(String::into_boxed_str));
            let [constraint, table, column] = named;
            let message = row.message.unwrap_or_default();
            missing.refused.insert(
                *given,
                RepoError::Refused { doing: "issue a batch", state, message, constraint, table, column },
            );
        } else {
            missing.missed.insert(*given);
        }
    }
    Ok((missing, next_part))
}

/// Inserts what fits below the total, after a batch has exceeded it: locks the counter first. All others lock it last, so that a batch
/// with a request of this one may deadlock with it; whoever is ended by that tries again.
pub(super) async fn insert_what_fits(pool: Pool, batch: Arc<Batch>) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let room: Option<i64> = sqlx::query_scalar(
        "SELECT total_quantity - issued_quantity FROM coupons WHERE coupon_code = $1 AND epoch = $2 FOR NO KEY UPDATE",
    )
    .bind(batch.code().as_str())
    .bind(batch.epoch())
    .fetch_optional(&mut *tx)
    .await?;
    let inserted: Vec<(Uuid, i64)> =
        batch.bind(sqlx::query_as(INSERT_WHAT_FITS)).bind(room.unwrap_or(0)).fetch_all(&mut *tx).await?;
    if let Some(seq) = inserted.iter().map(|(_, seq)| *seq).max() {
        let ids: Vec<Uuid> = inserted.iter().map(|(id, _)| *id).collect();
        let rows = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let raise = sqlx::query_scalar(RAISE).bind(batch.code().as_str()).bind(rows).bind(seq);
        let coupon_id: i64 = raise.fetch_one(&mut *tx).await?;
        number_decisions(&mut tx, coupon_id, (Decision::Issued, batch.epoch()), &ids, None).await?;
    }
    tx.commit().await
}

/// Runs the inserts for no row: a failure says nothing about a row.
pub(super) async fn rehearse(pool: &Pool) -> Result<(), sqlx::Error> {
    // No campaign has this epoch.
    let none = |query: Query<'static, sqlx::Postgres, PgArguments>| {
        query
            .bind(Vec::<Uuid>::new())
            .bind(Vec::<String>::new())
            .bind(Vec::<i64>::new())
            .bind(Vec::<DateTime<Utc>>::new())
    };
    none(sqlx::query(INSERT_NEW).bind("probe").bind(-1_i64)).execute(pool).await?;
    let parts = none(sqlx::query(INSERT_PARTS).bind("probe").bind(-1_i64));
    parts.bind(1_i32).bind(None::<i32>).bind(error::not_of_a_record()).execute(pool).await.map(drop)
}
