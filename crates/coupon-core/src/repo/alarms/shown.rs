//! Alarms as operators look at them: open causes, notices, and what is unsent.

use chrono::{DateTime, Utc};

use crate::repo::{AlarmRepository, RepoError};

/// Most rows of a list.
const MAX_ROWS: i64 = 100;

/// A cause of which an alarm was sent, and whose all-clear is not sent yet.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct OpenAlarm {
    /// Cause as the last alarm showed it, with members masked.
    pub cause: String,
    /// Time of the last alarm.
    pub announced_at: DateTime<Utc>,
    /// Number of dead letters and notices sent until then.
    pub announced_count: i64,
}

/// A notice, sent or not.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct ShownNotice {
    /// Number.
    pub id: i64,
    /// Cause that its alarms are sent by.
    pub cause: String,
    /// Campaign, if the notice is about one.
    pub coupon_code: Option<String>,
    /// What has happened, in one sentence.
    pub message: String,
    /// Command to run.
    pub command: String,
    /// Time of the notice.
    pub created_at: DateTime<Utc>,
    /// Whether its alarm was sent.
    pub alarm_sent: bool,
}

/// The unsent dead letters of one cause.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct UnsentCause {
    /// Error fingerprint.
    pub cause: String,
    /// Number of the dead letters, at most 1,001.
    pub count: i64,
    /// Time at which the first of them was stored.
    pub first_at: DateTime<Utc>,
}

/// Jumps from cause to cause in the index, however many dead letters each has.
const UNSENT: &str = "
WITH RECURSIVE unsent (cause) AS (
    (SELECT cause FROM dlq_events WHERE NOT alarm_sent ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT (SELECT d.cause FROM dlq_events d WHERE NOT d.alarm_sent AND d.cause > unsent.cause ORDER BY d.cause LIMIT 1)
    FROM unsent WHERE unsent.cause IS NOT NULL
)
SELECT cause,
       (SELECT count(*) FROM (SELECT FROM dlq_events d WHERE d.cause = causes.cause AND NOT d.alarm_sent LIMIT 1001) capped)
           AS count, first.created_at AS first_at
FROM (SELECT cause FROM unsent WHERE cause IS NOT NULL LIMIT $1) causes
CROSS JOIN LATERAL (SELECT d.created_at FROM dlq_events d WHERE d.cause = causes.cause AND NOT d.alarm_sent
    ORDER BY d.id LIMIT 1) first";

impl AlarmRepository<'_> {
    /// Returns the open causes, the one alarmed last first; at most 100.
    pub async fn open(self) -> Result<Vec<OpenAlarm>, RepoError> {
        let select = sqlx::query_as(
            "SELECT coalesce(shown, alarm_key) AS cause, announced_at, announced_count FROM alarm_causes
             WHERE all_clear_due ORDER BY announced_at DESC, alarm_key LIMIT $1",
        );
        self.read("list open alarms", select.bind(MAX_ROWS).fetch_all(&self.pool())).await
    }

    /// Returns the newest notices, at most 100.
    pub async fn notices(self) -> Result<Vec<ShownNotice>, RepoError> {
        let select = sqlx::query_as(
            "SELECT id, cause, coupon_code, message, command, created_at, alarm_sent FROM alarm_notices
             ORDER BY id DESC LIMIT $1",
        );
        self.read("list notices", select.bind(MAX_ROWS).fetch_all(&self.pool())).await
    }

    /// Returns the causes that have unsent dead letters; at most 100.
    pub async fn unsent(self) -> Result<Vec<UnsentCause>, RepoError> {
        let select = sqlx::query_as(UNSENT).bind(MAX_ROWS);
        self.read("list what is unsent", select.fetch_all(&self.pool())).await
    }
}
