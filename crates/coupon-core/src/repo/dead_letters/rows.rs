//! Dead letters as operators look at them.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::DlqEventStatus;
use crate::repo::{
    Database, RepoError,
    filter::{DLQ_EVENT_FILTER, Filter},
    numbers,
};

/// A dead letter as operators see it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct DlqEvent {
    /// Number.
    #[serde(flatten, serialize_with = "numbers::letter")]
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

impl Database {
    /// Dead letters of this choice, newest first, below `before`.
    pub async fn letters(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<DlqEvent>, RepoError> {
        let select = format!(
            "SELECT f.* FROM dlq_events f WHERE {DLQ_EVENT_FILTER} AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11"
        );
        let pool = self.pool();
        self.bounded("list dead letters", async {
            let question = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?);
            question.bind(before).bind(limit).fetch_all(&pool).await
        })
        .await
    }

    /// One dead letter.
    pub async fn letter(&self, id: i64) -> Result<Option<DlqEvent>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM dlq_events WHERE id = $1").bind(id).fetch_optional(&pool);
        self.bounded("read a dead letter", question).await
    }

    /// The dead letters of one request, oldest first, at most 100.
    pub async fn letters_of(&self, request_id: Uuid) -> Result<Vec<DlqEvent>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM dlq_events WHERE original_event_id = $1 ORDER BY id LIMIT 100")
            .bind(request_id)
            .fetch_all(&pool);
        self.bounded("list the dead letters of a request", question).await
    }
}
