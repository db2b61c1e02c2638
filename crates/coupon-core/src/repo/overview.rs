//! What the console's overview shows, over several tables.
//!
//! Nobody waits for a count of a whole table: each count ends at a bound, above which it means "at least".

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{OverviewRepository, RepoError, coupons::Coupon};

/// Where counts end. A count of one more means "at least".
pub const MAX_COUNT: i64 = 100_000;
/// Newest dead letters among which the failures of the last hour are looked for.
const NEWEST_DEAD_LETTERS: i64 = 20_000;
/// Rows of a list on the overview.
const MAX_ROWS: i64 = 50;

/// Rows that wait for an operator or for a give-back. Each number is at most [`MAX_COUNT`] + 1.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Waiting {
    /// Entries of the work list that are PENDING.
    pub pending: i64,
    /// Time at which the oldest of them was compensated.
    pub oldest_pending_at: Option<DateTime<Utc>>,
    /// Dead letters that are HELD: accepted requests without a decision.
    pub held: i64,
    /// Time at which the oldest of them was stored.
    pub oldest_held_at: Option<DateTime<Utc>>,
    /// Dead letters that are PARKED: they cannot be decided as they are.
    pub parked: i64,
    /// Time at which the oldest of them was stored.
    pub oldest_parked_at: Option<DateTime<Utc>>,
    /// Compensated requests whose give-back is due.
    pub not_given_back: i64,
    /// Time at which the oldest of them was decided.
    pub oldest_give_back_at: Option<DateTime<Utc>>,
}

/// Dead letters of one cause in one minute of the last hour.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CauseMinute {
    /// Error fingerprint.
    pub cause: String,
    /// Minute of the hour, from 0; 60 is the one that runs.
    pub minute: i64,
    /// Dead letters of this minute.
    pub count: i64,
    /// Those of them that are HELD or PARKED.
    pub undecided: i64,
}

/// A replay or a job of the service that is not at its end.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct UnderWay {
    /// Whether it is a replay; they have numbers of their own.
    pub is_replay: bool,
    /// Number.
    pub id: i64,
    /// Kind.
    pub kind: String,
    /// Status.
    pub status: String,
    /// Who asked for it.
    pub asked_by: String,
    /// Time at which it was asked for.
    pub created_at: DateTime<Utc>,
    /// Rows begun; `None`: it is not counted in rows.
    pub begun: Option<i64>,
    /// Rows in all.
    pub chosen: Option<i64>,
    /// Seconds since its worker's last heartbeat.
    pub idle_seconds: Option<i64>,
}

/// The decisions of the last time, as the objective `written` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct RecentDecisions {
    /// Requests decided, at most [`MAX_COUNT`] + 1.
    pub decided: i64,
    /// Those of them that were compensated.
    pub compensated: i64,
    /// Those that were issued more than 10 s after their reservation.
    pub late: i64,
}

const WAITING: &str = "
SELECT (SELECT count(*) FROM (SELECT FROM failed_coupon_issues WHERE status = 'PENDING' LIMIT $1) capped) AS pending,
       (SELECT min(failed_at) FROM failed_coupon_issues WHERE status = 'PENDING') AS oldest_pending_at,
       (SELECT count(*) FROM (SELECT FROM dlq_events WHERE status = 'HELD' LIMIT $1) capped) AS held,
       (SELECT created_at FROM dlq_events WHERE status = 'HELD' ORDER BY id LIMIT 1) AS oldest_held_at,
       (SELECT count(*) FROM (SELECT FROM dlq_events WHERE status = 'PARKED' LIMIT $1) capped) AS parked,
       (SELECT created_at FROM dlq_events WHERE status = 'PARKED' ORDER BY id LIMIT 1) AS oldest_parked_at,
       (SELECT count(*) FROM (SELECT FROM coupon_issues
            WHERE decision = 'COMPENSATED' AND given_back_at IS NULL LIMIT $1) capped) AS not_given_back,
       (SELECT min(decided_at) FROM coupon_issues
            WHERE decision = 'COMPENSATED' AND given_back_at IS NULL) AS oldest_give_back_at";

/// Reads the newest rows by their number, and no more of them however many there are.
const CAUSE_MINUTES: &str = "
SELECT cause, floor(extract(epoch FROM created_at - $1) / 60)::bigint AS minute, count(*) AS count,
       count(*) FILTER (WHERE status IN ('HELD', 'PARKED')) AS undecided
FROM (SELECT cause, status, created_at FROM dlq_events ORDER BY id DESC LIMIT $2) newest
WHERE created_at >= $1 GROUP BY 1, 2 ORDER BY 2, 1 LIMIT 6000";

const UNDER_WAY: &str = "
SELECT true AS is_replay, job_id AS id, kind, status, created_by AS asked_by, created_at, begun,
       greatest(coalesce(chosen, eligible), begun) AS chosen,
       greatest(extract(epoch FROM now() - coalesce(heartbeat_at, updated_at)), 0)::bigint AS idle_seconds
FROM replay_jobs WHERE status = 'RUNNING' OR status IN ('PAUSED', 'STOPPED') AND updated_at > $1
UNION ALL
SELECT false, job_id, kind, status, coalesce(asked_by ->> 'name', ''), created_at, NULL, NULL,
       greatest(extract(epoch FROM now() - coalesce(heartbeat_at, created_at)), 0)::bigint
FROM jobs WHERE status = 'RUNNING'
ORDER BY created_at DESC LIMIT $2";

/// Request ids sort by the time they were made, so the primary key finds those of the last time. The order makes it the one
/// index that fits.
const DECIDED: &str = "
SELECT count(*) AS decided, count(*) FILTER (WHERE decision = 'COMPENSATED') AS compensated,
       count(*) FILTER (WHERE decision = 'ISSUED' AND decided_at > reserved_at + interval '10 s') AS late
FROM (SELECT i.* FROM (SELECT coupon_id FROM coupons WHERE archived_at IS NULL ORDER BY coupon_id DESC LIMIT 200) c
      CROSS JOIN LATERAL (SELECT decision, decided_at, reserved_at FROM coupon_issues
          WHERE coupon_id = c.coupon_id AND request_id >= $1 ORDER BY request_id DESC LIMIT $2) i
      LIMIT $2) recent";

impl OverviewRepository<'_> {
    /// Counts the rows that wait.
    pub async fn waiting(self) -> Result<Waiting, RepoError> {
        let select = sqlx::query_as(WAITING).bind(MAX_COUNT + 1);
        self.read("count what waits", select.fetch_one(&self.pool())).await
    }

    /// Counts the dead letters of the hour that began at `since` by cause and minute, among the newest 20,000.
    pub async fn cause_minutes(self, since: DateTime<Utc>) -> Result<Vec<CauseMinute>, RepoError> {
        let select = sqlx::query_as(CAUSE_MINUTES).bind(since).bind(NEWEST_DEAD_LETTERS);
        self.read("group the failures of the last hour", select.fetch_all(&self.pool())).await
    }

    /// Returns campaigns whose gate is, or should be, open at this time, and those that are SUSPECT, which come first; at
    /// most 50.
    pub async fn running_campaigns(self, now: DateTime<Utc>) -> Result<Vec<Coupon>, RepoError> {
        let select = sqlx::query_as(
            "SELECT * FROM coupons
             WHERE archived_at IS NULL AND (status IN ('SUSPECT', 'OPENING')
                 OR status = 'OPEN' AND (closes_at IS NULL OR closes_at > $1))
             ORDER BY status = 'SUSPECT' DESC, coupon_id DESC LIMIT $2",
        );
        self.read("list running campaigns", select.bind(now).bind(MAX_ROWS).fetch_all(&self.pool())).await
    }

    /// Returns the replays and jobs that are RUNNING, and the replays that were paused or have stopped within a day.
    pub async fn under_way(self, now: DateTime<Utc>) -> Result<Vec<UnderWay>, RepoError> {
        let select = sqlx::query_as(UNDER_WAY).bind(now - TimeDelta::days(1)).bind(MAX_ROWS);
        self.read("list what is under way", select.fetch_all(&self.pool())).await
    }

    /// Counts the decisions on requests that were made at `since` or later, of campaigns that are not archived; the newest
    /// of each campaign where there are more than can be counted.
    pub async fn decided(self, since: DateTime<Utc>) -> Result<RecentDecisions, RepoError> {
        let select = sqlx::query_as(DECIDED).bind(first_id(since)).bind(MAX_COUNT + 1);
        self.read("count decisions", select.fetch_one(&self.pool())).await
    }
}

/// Returns the lowest id that a request made at this time can have: a `UUIDv7` begins with its milliseconds (RFC 9562, 5.7).
fn first_id(at: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::from(at.timestamp_millis().unsigned_abs()) << 80)
}

#[cfg(test)]
mod tests {
    use uuid::{NoContext, Timestamp};

    use super::*;

    #[test]
    fn no_id_of_a_later_request_lies_below_the_first_of_its_millisecond() {
        let at = DateTime::from_timestamp(1_700_000_000, 123_000_000).unwrap();
        let id = |nanos| Uuid::new_v7(Timestamp::from_unix(NoContext, 1_700_000_000, nanos));
        assert!(first_id(at) <= id(123_000_000));
        assert!(first_id(at) > id(122_999_999));
    }
}
