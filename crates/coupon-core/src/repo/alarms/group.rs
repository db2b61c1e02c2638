//! All that is to be told of one cause, read at once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Claim, NoticeRow};
use crate::repo::{Database, RepoError, dead_letters::DlqEventStatus};

/// Letters told of in one go; what is beyond waits for the next one.
const LETTERS: i64 = 50_000;

/// What is to be told of one cause.
#[derive(Clone, Debug)]
pub struct AlarmGroup {
    /// Its dead letters.
    pub letters: Option<Letters>,
    /// Its notice; there is at most one that is untold.
    pub notice: Option<NoticeRow>,
}

/// Dead letters of one cause that nobody has been told of.
#[derive(Clone, Debug)]
pub struct Letters {
    /// Their numbers, the lowest first.
    pub ids: Vec<i64>,
    /// How many of each status.
    pub by_status: Vec<(DlqEventStatus, usize)>,
    /// How many of each campaign, the most first; `None` for records that cannot be read.
    pub by_coupon: Vec<(Option<String>, usize)>,
    /// When the first was put down.
    pub first_at: DateTime<Utc>,
    /// When the last was.
    pub last_at: DateTime<Utc>,
    /// The first of them.
    pub sample: Sample,
}

/// One dead letter with everything somebody who is called at night needs.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Sample {
    /// Number.
    pub id: i64,
    /// What became of it.
    #[sqlx(try_from = "String")]
    pub status: DlqEventStatus,
    /// First origin: topic.
    pub origin_topic: Option<String>,
    /// First origin: partition.
    pub origin_partition: Option<i32>,
    /// First origin: offset.
    pub origin_offset: Option<i64>,
    /// What was meant to happen.
    pub original_event_type: String,
    /// Request id.
    pub original_event_id: Option<Uuid>,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// Member.
    pub member_id: Option<String>,
    /// Key of the record.
    pub record_key: Option<Vec<u8>>,
    /// Value of the record.
    pub payload: Option<Vec<u8>>,
    /// Class of the last failure.
    pub error_class: String,
    /// Its code.
    pub error_code: String,
    /// Its words.
    pub error_message: String,
    /// The errors below it.
    pub stack_trace: String,
    /// Attempts of dlq-consumer.
    pub attempts: i32,
    /// Row of the work list.
    pub failed_issue_id: Option<i64>,
    /// When it was put down.
    pub created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Part {
    #[sqlx(try_from = "String")]
    status: DlqEventStatus,
    coupon_code: Option<String>,
    ids: Vec<i64>,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl Database {
    /// What is to be told of a claimed cause.
    pub async fn alarm_group(&self, claim: &Claim) -> Result<AlarmGroup, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT status, coupon_code, array_agg(id ORDER BY id) AS ids, min(created_at) AS first_at,
                    max(created_at) AS last_at
             FROM (SELECT id, status, coupon_code, created_at FROM dlq_events
                   WHERE cause = $1 AND NOT alarm_sent ORDER BY id LIMIT $2) letters
             GROUP BY status, coupon_code",
        )
        .bind(&claim.cause)
        .bind(LETTERS)
        .fetch_all(&pool);
        let parts: Vec<Part> = self.bounded("read what is to be told", question).await?;
        let question =
            sqlx::query_as("SELECT * FROM alarm_notices WHERE cause = $1 AND NOT alarm_sent").bind(&claim.cause);
        let notice = self.bounded("read a notice", question.fetch_optional(&pool)).await?;
        let first = parts.iter().filter_map(|part| part.ids.first()).min();
        let sample = match first {
            Some(first) => {
                let question = sqlx::query_as("SELECT * FROM dlq_events WHERE id = $1").bind(first);
                self.bounded("read the first of them", question.fetch_optional(&pool)).await?
            }
            None => None,
        };
        Ok(AlarmGroup { letters: sample.map(|sample| together(parts, sample)), notice })
    }
}

fn together(parts: Vec<Part>, sample: Sample) -> Letters {
    let (mut first_at, mut last_at) = (sample.created_at, sample.created_at);
    let mut ids = Vec::new();
    let mut by_status = BTreeMap::<&str, (DlqEventStatus, usize)>::new();
    let mut by_coupon = BTreeMap::<Option<String>, usize>::new();
    for part in parts {
        (first_at, last_at) = (first_at.min(part.first_at), last_at.max(part.last_at));
        by_status.entry(part.status.as_str()).or_insert((part.status, 0)).1 += part.ids.len();
        *by_coupon.entry(part.coupon_code).or_default() += part.ids.len();
        ids.extend(part.ids);
    }
    ids.sort_unstable();
    let mut by_coupon: Vec<_> = by_coupon.into_iter().collect();
    by_coupon.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Letters { ids, by_status: by_status.into_values().collect(), by_coupon, first_at, last_at, sample }
}
