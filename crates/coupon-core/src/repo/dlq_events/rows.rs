//! Dead letters as operators look at them.

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
    #[serde(flatten, serialize_with = "work_list::letter")]
    pub id: i64,
    /// What became of it.
    #[sqlx(try_from = "String")]
    pub status: DlqEventStatus,
    /// Place in the DLQ topic.
    pub dlq_topic: String,
    /// Partition there.
    pub dlq_partition: i32,
    /// Offset there.
    pub dlq_offset: i64,
    /// First origin: topic.
    pub origin_topic: Option<String>,
    /// First origin: partition.
    pub origin_partition: Option<i32>,
    /// First origin: offset.
    pub origin_offset: Option<i64>,
    /// What was meant to happen: `COUPON_ISSUED` or `UNKNOWN`.
    pub original_event_type: String,
    /// Request id.
    pub original_event_id: Option<Uuid>,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// Member.
    pub member_id: Option<String>,
    /// Format of the event.
    pub event_version: Option<i64>,
    /// Class of the last failure.
    pub error_class: String,
    /// Its code.
    pub error_code: String,
    /// What it is counted under.
    pub cause: String,
    /// Its words.
    pub error_message: String,
    /// The errors below it.
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
    /// Work list row.
    pub failed_issue_id: Option<i64>,
    /// Whether somebody has been told.
    pub alarm_sent: bool,
    /// When it was put down.
    pub created_at: DateTime<Utc>,
    /// When its status last changed.
    pub updated_at: DateTime<Utc>,
}

/// A request with a dead letter that is an operator's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorState {
    /// HELD or PARKED: an operator decides it.
    Waits,
    /// RESOLVED or IGNORED: an operator has settled it. Builds before this one let them do so without a decision.
    Settled,
}

/// A request of a member that a dead letter holds, without a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetteredRequest {
    /// The campaign.
    pub coupon_code: CouponCode,
    /// The request.
    pub request_id: RequestId,
}

impl DlqEventRepository<'_> {
    /// Dead letters of this choice, newest first, below `before`.
    pub async fn list(self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<DlqEvent>, RepoError> {
        let select = format!(
            "SELECT f.* FROM dlq_events f WHERE {DLQ_EVENT_FILTER} AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11"
        );
        let pool = self.pool();
        self.read("list dead letters", async {
            let question = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?);
            question.bind(before).bind(limit).fetch_all(&pool).await
        })
        .await
    }

    /// One dead letter.
    pub async fn find(self, id: i64) -> Result<Option<DlqEvent>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM dlq_events WHERE id = $1").bind(id).fetch_optional(&pool);
        self.read("read a dead letter", question).await
    }

    /// The dead letters of one request, oldest first, at most 100.
    pub async fn of_request(self, request_id: Uuid) -> Result<Vec<DlqEvent>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM dlq_events WHERE original_event_id = $1 ORDER BY id LIMIT 100")
            .bind(request_id)
            .fetch_all(&pool);
        self.read("list the dead letters of a request", question).await
    }

    /// Which of these requests have a dead letter that waits for an operator, or that one has settled by a word.
    pub async fn by_operators(self, ids: &[Uuid]) -> Result<HashMap<Uuid, OperatorState>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT original_event_id, bool_or(status IN ('HELD', 'PARKED')) FROM dlq_events
             WHERE original_event_id = ANY($1) AND status IN ('HELD', 'PARKED', 'RESOLVED', 'IGNORED')
             GROUP BY original_event_id",
        )
        .bind(ids)
        .fetch_all(&pool);
        let found: Vec<(Uuid, bool)> = self.read("look up what is held", question).await?;
        let aside = |waits| if waits { OperatorState::Waits } else { OperatorState::Settled };
        Ok(found.into_iter().map(|(id, waits)| (id, aside(waits))).collect())
    }

    /// Up to `limit` requests of a member that dead letters hold and nobody has decided, newest first: of one campaign or of
    /// all, made before the request `before`. One that is decided meanwhile is in neither of two looks, unless the letters
    /// are asked for first.
    pub async fn undecided_of_member(
        self,
        member: &MemberId,
        code: Option<&CouponCode>,
        before: Option<RequestId>,
        limit: i64,
    ) -> Result<Vec<DeadLetteredRequest>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            // No issuer-api has written an event whose request is another member's. A record may lie in the topic twice, and one
            // letter be held while the other is decided.
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
        .bind(limit)
        .fetch_all(&pool);
        let rows: Vec<(String, Uuid)> = self.read("list the letters of a member", question).await?;
        let own = rows.into_iter().filter_map(|(code, id)| {
            Some(DeadLetteredRequest { coupon_code: code.parse().ok()?, request_id: id.into() })
        });
        Ok(own.collect())
    }
}
