//! The causes of what waits, for people who wait: each step is a look into an index, and every count is bounded.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::AssertSqlSafe;

use crate::{
    repo::{RepoError, WorkListRepository, work_list::List},
    words::words,
};

/// Most causes of one status.
const MAX_CAUSES: i64 = 200;
/// Rows counted of one cause; beyond them a cause has at least so many.
pub const MAX_COUNTED_OF_CAUSE: i64 = 5000;
/// Newest rows of a cause whose campaigns are named.
const ROWS_WITH_CAMPAIGNS: i64 = 200;
/// Newest failures of the last hour that are counted by minute.
const MAX_FAILURES: i64 = 20_000;
/// Minutes of the last hour.
pub const MINUTES: usize = 60;

words! {
    /// Status in which a row waits for somebody.
    pub enum Waiting as "status of what waits" {
        /// An entry of the work list.
        Pending = "PENDING",
        /// A dead letter that is readable and undecided.
        Held = "HELD",
        /// A dead letter that cannot be decided as it is.
        Parked = "PARKED",
    }
}

impl Waiting {
    /// Returns the list that has rows of this status.
    pub fn list(self) -> List {
        match self {
            Self::Pending => List::Requests,
            Self::Held | Self::Parked => List::DlqEvents,
        }
    }
}

/// What waits of one cause in one status.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct WaitingCause {
    /// Error fingerprint.
    pub cause: String,
    /// Rows, up to [`MAX_COUNTED_OF_CAUSE`].
    pub count: i64,
    /// Time of the row with the lowest number.
    pub first_seen: DateTime<Utc>,
    /// Time of the row with the highest number.
    pub last_seen: DateTime<Utc>,
    /// Number of the newest row.
    pub sample_id: i64,
    /// Campaigns of its newest rows.
    pub campaigns: Vec<String>,
}

/// Failures of one cause in one minute.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Minute {
    cause: String,
    minute: i32,
    count: i64,
}

impl WorkListRepository<'_> {
    /// Returns the causes of what waits in this status, in the order of their names; at most 200.
    pub async fn waiting_causes(self, waiting: Waiting) -> Result<Vec<WaitingCause>, RepoError> {
        let (table, status) = (waiting.list(), waiting.as_str());
        let at = failed_at(table);
        // The names are found one by one in the index, so that a million rows of one cause are passed over in one step.
        let select = format!(
            "WITH RECURSIVE causes AS (
                 (SELECT f.cause FROM {table} f WHERE f.status = '{status}' AND f.cause IS NOT NULL ORDER BY f.cause LIMIT 1)
                 UNION ALL
                 SELECT (SELECT f.cause FROM {table} f WHERE f.status = '{status}' AND f.cause > causes.cause
                         ORDER BY f.cause LIMIT 1)
                 FROM causes WHERE causes.cause IS NOT NULL
             )
             SELECT c.cause, counted.count, oldest.{at} AS first_seen, newest.{at} AS last_seen, newest.id AS sample_id,
                    coalesce(named.campaigns, '{{}}') AS campaigns
             FROM (SELECT cause FROM causes WHERE cause IS NOT NULL LIMIT {MAX_CAUSES}) c
             CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT f.id FROM {table} f
                 WHERE f.status = '{status}' AND f.cause = c.cause LIMIT {MAX_COUNTED_OF_CAUSE}) f) counted
             CROSS JOIN LATERAL (SELECT f.{at} FROM {table} f
                 WHERE f.status = '{status}' AND f.cause = c.cause ORDER BY f.id LIMIT 1) oldest
             CROSS JOIN LATERAL (SELECT f.{at}, f.id FROM {table} f
                 WHERE f.status = '{status}' AND f.cause = c.cause ORDER BY f.id DESC LIMIT 1) newest
             CROSS JOIN LATERAL (SELECT array_agg(DISTINCT f.coupon_code) FILTER (WHERE f.coupon_code IS NOT NULL) AS campaigns
                 FROM (SELECT f.coupon_code FROM {table} f WHERE f.status = '{status}' AND f.cause = c.cause
                       ORDER BY f.id DESC LIMIT {ROWS_WITH_CAMPAIGNS}) f) named
             ORDER BY c.cause"
        );
        let select = sqlx::query_as(AssertSqlSafe(select));
        self.read("group what waits by cause", select.fetch_all(&self.pool())).await
    }

    /// Returns the failures of the hour before `now` by cause, oldest minute first, of both lists; at most the newest
    /// 20,000 of each.
    pub async fn failures_by_minute(self, now: DateTime<Utc>) -> Result<Vec<(String, Vec<i64>)>, RepoError> {
        let since = now - TimeDelta::hours(1);
        let of = |list: List| {
            let at = failed_at(list);
            format!(
                "(SELECT f.cause, f.{at} AS at FROM {list} f WHERE f.{at} >= $1 AND f.{at} < $2 AND f.cause IS NOT NULL
                  ORDER BY f.{at} DESC LIMIT {MAX_FAILURES})"
            )
        };
        let select = format!(
            "SELECT cause, floor(extract(epoch FROM at - $1) / 60)::int AS minute, count(*) AS count
             FROM ({} UNION ALL {}) f GROUP BY 1, 2 ORDER BY 1, 2",
            of(List::Requests),
            of(List::DlqEvents)
        );
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(since).bind(now);
        let minutes: Vec<Minute> = self.read("count failures by minute", select.fetch_all(&self.pool())).await?;
        let mut causes: Vec<(String, Vec<i64>)> = Vec::new();
        for Minute { cause, minute, count } in minutes {
            if causes.last().is_none_or(|(last, _)| *last != cause) {
                causes.push((cause, vec![0; MINUTES]));
            }
            if let Some((_, counts)) = causes.last_mut()
                && let Some(counted) = usize::try_from(minute).ok().and_then(|minute| counts.get_mut(minute))
            {
                *counted += count;
            }
        }
        Ok(causes)
    }
}

/// The column with the time of a failure.
fn failed_at(list: List) -> &'static str {
    match list {
        List::Requests => "failed_at",
        List::DlqEvents => "created_at",
    }
}
