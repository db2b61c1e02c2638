//! Dead letters as operators and members see them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::DlqEventStatus;
use crate::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{
        DlqEventRepository, RepoError,
        work_list::{self, DLQ_EVENT_FILTER, Filter},
    },
};

/// A dead letter as operators see it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct DlqEvent {
    /// Number.
    #[serde(flatten, serialize_with = "work_list::serialize_dlq_event_id")]
    pub id: i64,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: DlqEventStatus,
    /// DLQ topic.
    pub dlq_topic: String,
    /// Partition there.
    pub dlq_partition: i32,
    /// Offset there.
    pub dlq_offset: i64,
    /// Timestamp of the record in ms since 1970; 0 without one.
    #[serde(skip)]
    pub dlq_timestamp_ms: i64,
    /// First origin: topic.
    pub origin_topic: Option<String>,
    /// First origin: partition.
    pub origin_partition: Option<i32>,
    /// First origin: offset.
    pub origin_offset: Option<i64>,
    /// Type of the event: `COUPON_ISSUED`, or `UNKNOWN` of a record that cannot be read.
    pub original_event_type: String,
    /// Request id.
    pub original_event_id: Option<Uuid>,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// Member.
    pub member_id: Option<String>,
    /// Version of the event.
    pub event_version: Option<i64>,
    /// Class of the last failure.
    pub error_class: String,
    /// Code of the last failure.
    pub error_code: String,
    /// Error fingerprint.
    pub cause: String,
    /// Message of the last failure.
    pub error_message: String,
    /// Chain of the errors below it.
    pub stack_trace: String,
    /// Attempts of dlq-consumer.
    pub attempts: i32,
    /// Key of the record.
    #[serde(skip)]
    pub record_key: Option<Vec<u8>>,
    /// Value of the record.
    #[serde(skip)]
    pub payload: Option<Vec<u8>>,
    /// Headers of the record: `[{"name": …, "value": base64 or null}]`.
    #[serde(skip)]
    pub headers: serde_json::Value,
    /// Row of the work list.
    pub failed_issue_id: Option<i64>,
    /// Whether an alarm was sent, or none was due.
    pub alarm_sent: bool,
    /// Time of the insert.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the status.
    pub updated_at: DateTime<Utc>,
}

/// State of a request whose dead letter is left to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorState {
    /// HELD or PARKED: an operator decides.
    Waits,
    /// RESOLVED or IGNORED: an operator has settled it. Earlier builds allowed that without a decision.
    Settled,
}

/// A request of a member that a dead letter holds and that is undecided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetteredRequest {
    /// Campaign.
    pub coupon_code: CouponCode,
    /// Request id.
    pub request_id: RequestId,
}

impl DlqEventRepository<'_> {
    /// Returns up to `limit` dead letters of a filter below the number `before`, newest first.
    pub async fn list(self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<DlqEvent>, RepoError> {
        let select = AssertSqlSafe(format!(
            "SELECT f.* FROM dlq_events f WHERE {DLQ_EVENT_FILTER} AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11"
        ));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(before).bind(limit);
        self.read("list dead letters", select.fetch_all(&self.pool())).await
    }

    /// Returns a dead letter.
    pub async fn find(self, id: i64) -> Result<Option<DlqEvent>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM dlq_events WHERE id = $1").bind(id);
        self.read("read a dead letter", select.fetch_optional(&self.pool())).await
    }

    /// Returns the dead letters of a request, oldest first, at most 100.
    pub async fn of_request(self, request_id: Uuid) -> Result<Vec<DlqEvent>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM dlq_events WHERE original_event_id = $1 ORDER BY id LIMIT 100")
            .bind(request_id);
        self.read("list the dead letters of a request", select.fetch_all(&self.pool())).await
    }

    /// Returns the state of those of these requests that have a dead letter which waits for an operator or was settled
    /// by one.
    pub async fn by_operators(self, ids: &[Uuid]) -> Result<HashMap<Uuid, OperatorState>, RepoError> {
        let select = sqlx::query_as(
            "SELECT original_event_id, bool_or(status IN ('HELD', 'PARKED')) FROM dlq_events
             WHERE original_event_id = ANY($1) AND status IN ('HELD', 'PARKED', 'RESOLVED', 'IGNORED')
             GROUP BY original_event_id",
        )
        .bind(ids);
        let found: Vec<(Uuid, bool)> = self.read("look up what is held", select.fetch_all(&self.pool())).await?;
        let state = |waits| if waits { OperatorState::Waits } else { OperatorState::Settled };
        Ok(found.into_iter().map(|(id, waits)| (id, state(waits))).collect())
    }

    /// Returns up to `limit` undecided requests of a member that dead letters hold, newest first: of one campaign or of
    /// all, made before the request `before`. A caller who also reads decisions has to read these first: otherwise a
    /// request that is decided in between is in neither answer.
    pub async fn undecided_of_member(
        self,
        member: &MemberId,
        code: Option<&CouponCode>,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<DeadLetteredRequest>, RepoError> {
        let select = sqlx::query_as(
            // An event whose request is another member's comes from no issuer-api. A record may be in the topic twice:
            // one dead letter is HELD, and the request is decided.
            "SELECT DISTINCT coupon_code, original_event_id FROM dlq_events
             WHERE member_id = $1 AND status IN ('HELD', 'PARKED') AND error_code <> 'OTHER_MEMBER'
               AND coupon_code IS NOT NULL AND ($2::text IS NULL OR coupon_code = $2) AND original_event_id < $3
               AND NOT EXISTS (SELECT FROM coupon_issues JOIN coupons USING (coupon_id)
                               WHERE coupons.coupon_code = dlq_events.coupon_code AND request_id = original_event_id)
             ORDER BY original_event_id DESC LIMIT $4",
        )
        .bind(member.as_str())
        .bind(code.map(CouponCode::as_str))
        .bind(before.map_or_else(Uuid::max, RequestId::as_uuid))
        .bind(limit);
        let rows: Vec<(String, Uuid)> =
            self.read("list the dead letters of a member", select.fetch_all(&self.pool())).await?;
        let own = rows.into_iter().filter_map(|(code, id)| {
            Some(DeadLetteredRequest { coupon_code: code.parse().ok()?, request_id: id.into() })
        });
        Ok(own.collect())
    }
}
