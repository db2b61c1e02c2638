//! Dead letters: the table `dlq_events`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Database, RepoError};
use crate::{event::CouponIssued, failure::Failure, words::words};

mod rows;

pub use rows::DlqEvent;

words! {
    /// What became of a record of the DLQ topic.
    pub enum DlqEventStatus as "dead letter status" {
        /// Written after all.
        Recovered = "RECOVERED",
        /// Given up; the unit goes back.
        Compensated = "COMPENSATED",
        /// Was decided before it came.
        Duplicate = "DUPLICATE",
        /// Readable and undecided; an operator decides, or an upgrade.
        Held = "HELD",
        /// Cannot be decided as it is.
        Parked = "PARKED",
        /// Put right by an operator.
        Resolved = "RESOLVED",
        /// Looked at by an operator, nothing to do.
        Ignored = "IGNORED",
    }
}

/// A record of the DLQ topic as the database keeps it.
#[derive(Clone, Debug)]
pub struct NewDlqEvent {
    /// Where it lies in the DLQ topic.
    pub topic: String,
    /// Partition there.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
    /// Its timestamp in ms since 1970; 0 if it has none.
    pub timestamp_ms: i64,
    /// First origin as its headers tell: topic, partition, offset. Never trusted.
    pub origin: (Option<String>, Option<i32>, Option<i64>),
    /// Key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// Value, byte for byte.
    pub payload: Option<Vec<u8>>,
    /// Headers in order: `[{"name": …, "value": base64 or null}]`.
    pub headers: serde_json::Value,
    /// Attempts of this consumer.
    pub attempts: u32,
}

/// What there is to say about a letter when it is put down.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// What became of it.
    pub status: DlqEventStatus,
    /// The event, if the record could be read.
    pub event: Option<&'a CouponIssued>,
    /// Version of the event, also when it is newer than this build reads.
    pub event_version: Option<u64>,
    /// The last failure.
    pub failure: &'a Failure,
    /// The row of the work list, for a compensated one.
    pub failed_issue_id: Option<i64>,
    /// Whether somebody has to be told.
    pub alarm: bool,
    /// When.
    pub now: DateTime<Utc>,
}

impl Database {
    /// Puts a letter down. A record that came before (the same place and time) is left as it was, unless it was still
    /// undecided.
    pub async fn put_down(&self, letter: NewDlqEvent, verdict: Verdict<'_>) -> Result<(), RepoError> {
        let (status, alarm, now) = (verdict.status, verdict.alarm, verdict.now);
        let (event, failure, version) = (verdict.event.cloned(), verdict.failure.clone(), verdict.event_version);
        self.detached("put a dead letter down", move |pool| async move {
            let mut connection = pool.acquire().await?;
            let verdict = Verdict {
                status,
                event: event.as_ref(),
                event_version: version,
                failure: &failure,
                failed_issue_id: None,
                alarm,
                now,
            };
            insert(&mut connection, &letter, &verdict).await
        })
        .await
    }

    /// Moves a letter on. `false` when it is not `from` any more.
    pub async fn move_letter(
        &self,
        id: i64,
        from: DlqEventStatus,
        to: DlqEventStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        self.detached("move a dead letter on", move |pool| async move {
            let moved = sqlx::query("UPDATE dlq_events SET status = $3, updated_at = $4 WHERE id = $1 AND status = $2")
                .bind(id)
                .bind(from.as_str())
                .bind(to.as_str())
                .bind(now)
                .execute(&pool)
                .await?;
            Ok(moved.rows_affected() == 1)
        })
        .await
    }
}

pub(super) async fn insert(
    tx: &mut PgConnection,
    letter: &NewDlqEvent,
    verdict: &Verdict<'_>,
) -> Result<(), sqlx::Error> {
    let event = verdict.event;
    sqlx::query(
        "INSERT INTO dlq_events
             (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, origin_topic, origin_partition, origin_offset,
              original_event_type, original_event_id, coupon_code, member_id, event_version, record_key, payload, headers,
              error_class, error_code, cause, error_message, stack_trace, attempts,
              status, failed_issue_id, alarm_sent, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
                 $25, $25)
         ON CONFLICT (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms) DO UPDATE
         SET status = excluded.status, failed_issue_id = excluded.failed_issue_id, attempts = excluded.attempts,
             error_class = excluded.error_class, error_code = excluded.error_code, cause = excluded.cause,
             error_message = excluded.error_message, stack_trace = excluded.stack_trace,
             alarm_sent = dlq_events.alarm_sent AND excluded.status IN ('HELD', 'PARKED') OR excluded.alarm_sent,
             updated_at = excluded.updated_at
         -- Consumed again before its offset was committed: what was undecided may be decided by now.
         WHERE dlq_events.status IN ('HELD', 'PARKED') AND dlq_events.status <> excluded.status",
    )
    .bind(&letter.topic)
    .bind(letter.partition)
    .bind(letter.offset)
    .bind(letter.timestamp_ms)
    .bind(&letter.origin.0)
    .bind(letter.origin.1)
    .bind(letter.origin.2)
    .bind(if event.is_some() { "COUPON_ISSUED" } else { "UNKNOWN" })
    .bind(event.map(|event| event.request_id.as_uuid()))
    .bind(event.map(|event| event.coupon_code.as_str()))
    .bind(event.map(|event| event.member_id.as_str()))
    .bind(verdict.event_version.map(|version| i64::try_from(version).unwrap_or(i64::MAX)))
    .bind(&letter.key)
    .bind(&letter.payload)
    .bind(&letter.headers)
    .bind(verdict.failure.class.as_str())
    .bind(&verdict.failure.code)
    .bind(verdict.failure.cause())
    .bind(&verdict.failure.message)
    .bind(&verdict.failure.chain)
    .bind(i32::try_from(letter.attempts).unwrap_or(i32::MAX))
    .bind(verdict.status.as_str())
    .bind(verdict.failed_issue_id)
    .bind(!verdict.alarm)
    .bind(verdict.now)
    .execute(tx)
    .await
    .map(drop)
}
