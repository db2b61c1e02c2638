//! Dead letters: the table `dlq_events`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use sqlx::{Postgres, postgres::PgArguments, query::Query};

use super::{DlqEventRepository, RepoError};
use crate::{event::CouponIssued, failure::Failure, words::words};

mod held;
mod rows;

pub use held::UndecidedDlqEvent;
pub use rows::{DeadLetteredRequest, DlqEvent, OperatorState};

words! {
    /// Status of a record of the DLQ topic.
    pub enum DlqEventStatus as "dead letter status" {
        /// Issued by dlq-consumer.
        Recovered = "RECOVERED",
        /// Compensated; the unit is given back.
        Compensated = "COMPENSATED",
        /// Decided before the dead letter came.
        Duplicate = "DUPLICATE",
        /// Readable and undecided; an operator or a newer version decides.
        Held = "HELD",
        /// Cannot be decided as it is.
        Parked = "PARKED",
        /// Resolved by an operator.
        Resolved = "RESOLVED",
        /// Ignored by an operator: there is nothing to do.
        Ignored = "IGNORED",
    }
}

/// A record of the DLQ topic as the database keeps it.
#[derive(Clone, Debug)]
pub struct NewDlqEvent {
    /// DLQ topic.
    pub topic: String,
    /// Partition there.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
    /// Timestamp of the record in ms since 1970; 0 without one.
    pub timestamp_ms: i64,
    /// First origin by its headers, which are never trusted: topic, partition, offset.
    pub origin: (Option<String>, Option<i32>, Option<i64>),
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub payload: Option<Vec<u8>>,
    /// Headers in order: `[{"name": …, "value": base64 or null}]`.
    pub headers: serde_json::Value,
    /// Attempts of dlq-consumer.
    pub attempts: u32,
}

/// What dlq-consumer has found out about a dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Classification<'a> {
    /// Status.
    pub status: DlqEventStatus,
    /// Event, if the record can be read.
    pub event: Option<&'a CouponIssued>,
    /// Version of the event, also when it is newer than this build reads.
    pub event_version: Option<u64>,
    /// Last failure.
    pub failure: &'a Failure,
    /// Row of the work list, for a compensated one.
    pub failed_issue_id: Option<i64>,
    /// Whether an alarm has to be sent.
    pub alarm: bool,
    /// Time of the classification.
    pub now: DateTime<Utc>,
}

impl NewDlqEvent {
    /// Returns the value of the last header of this name, as of the record that it came from.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let header = self.headers.as_array()?.iter().rev().find(|header| header["name"] == name)?;
        STANDARD.decode(header["value"].as_str()?).ok()
    }
}

impl DlqEventRepository<'_> {
    /// Keeps a dead letter. A record that came before (the same place and time) is left as it is, unless it is
    /// undecided.
    pub async fn record(self, record: NewDlqEvent, classification: Classification<'_>) -> Result<(), RepoError> {
        self.execute("put a dead letter down", insert(&record, &classification)).await.map(drop)
    }

    /// Changes the status of a dead letter. `false` when it is not `from`.
    pub async fn set_status(
        self,
        id: i64,
        from: DlqEventStatus,
        to: DlqEventStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, RepoError> {
        let update = sqlx::query("UPDATE dlq_events SET status = $3, updated_at = $4 WHERE id = $1 AND status = $2")
            .bind(id)
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(now);
        Ok(self.execute("move a dead letter on", update).await? == 1)
    }
}

/// The statement that keeps a dead record.
pub(super) fn insert(
    record: &NewDlqEvent,
    classification: &Classification<'_>,
) -> Query<'static, Postgres, PgArguments> {
    let event = classification.event;
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
    .bind(&record.topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(record.timestamp_ms)
    .bind(&record.origin.0)
    .bind(record.origin.1)
    .bind(record.origin.2)
    .bind(if event.is_some() { "COUPON_ISSUED" } else { "UNKNOWN" })
    .bind(event.map(|event| event.request_id.as_uuid()))
    .bind(event.map(|event| event.coupon_code.as_str()))
    .bind(event.map(|event| event.member_id.as_str()))
    .bind(classification.event_version.map(|version| i64::try_from(version).unwrap_or(i64::MAX)))
    .bind(&record.key)
    .bind(&record.payload)
    .bind(&record.headers)
    .bind(classification.failure.class.as_str())
    .bind(&classification.failure.code)
    .bind(match event {
        Some(event) => classification.failure.cause_of(event.member_id.as_str()),
        None => classification.failure.cause(),
    })
    .bind(&classification.failure.message)
    .bind(&classification.failure.chain)
    .bind(i32::try_from(record.attempts).unwrap_or(i32::MAX))
    .bind(classification.status.as_str())
    .bind(classification.failed_issue_id)
    .bind(!classification.alarm)
    .bind(classification.now)
}
