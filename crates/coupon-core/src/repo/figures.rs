//! Figures over the work list and the dead letters: how much waits, since when, and why.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{Database, RepoError, coupons::ShownStatus, dead_letters::DlqEventStatus, filter::Filter, settling::List};

/// Most groups that are named; a list longer than that is read by nobody.
const MOST_GROUPS: i64 = 100;

/// How much waits for somebody, or for a sweep, and why.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Figures {
    /// How much.
    #[serde(flatten)]
    pub counts: Counts,
    /// PENDING by cause, most first; at most 100.
    pub by_cause: Vec<Group>,
    /// PENDING by campaign, most first; at most 100.
    pub by_coupon: Vec<Group>,
    /// HELD dead letters by cause, most first; at most 100.
    pub held_by_cause: Vec<Group>,
    /// PARKED dead letters by cause, most first; at most 100.
    pub parked_by_cause: Vec<Group>,
}

/// How much waits for somebody, or for a sweep.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Counts {
    /// Requests on the work list that are PENDING.
    pub pending: i64,
    /// When the oldest of them was given up.
    pub oldest_pending_at: Option<DateTime<Utc>>,
    /// Dead letters that are HELD: accepted requests without a decision.
    pub held: i64,
    /// Dead letters that are PARKED: they cannot be decided as they are.
    pub parked: i64,
    /// Dead letters and notices that nobody has been told of.
    pub alarms_unsent: i64,
    /// Requests that are decided COMPENSATED and not yet given back.
    pub not_given_back: i64,
}

/// The campaigns of one status, as it is shown, that have not ended for good.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Campaigns {
    /// The status.
    #[sqlx(try_from = "String")]
    pub status: ShownStatus,
    /// How many.
    pub campaigns: i64,
    /// Coupons of all of them.
    pub coupons: i64,
    /// Of these, written.
    pub issued: i64,
}

/// So many of one kind.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Group {
    /// The cause, or the campaign.
    pub name: String,
    /// How many.
    pub count: i64,
}

/// The failures of one cause.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Cause {
    /// Class, code and message without what differs from record to record.
    pub cause: String,
    /// How many.
    pub count: i64,
    /// The first of them.
    pub first_seen: DateTime<Utc>,
    /// The last of them.
    pub last_seen: DateTime<Utc>,
    /// Number of one of them, the newest.
    pub sample_id: i64,
}

/// Each figure is read from an index that holds nothing else.
const COUNTS: &str = "
SELECT (SELECT count(*) FROM failed_coupon_issues WHERE status = 'PENDING') AS pending,
       (SELECT min(failed_at) FROM failed_coupon_issues WHERE status = 'PENDING') AS oldest_pending_at,
       (SELECT count(*) FROM dlq_events WHERE status = 'HELD') AS held,
       (SELECT count(*) FROM dlq_events WHERE status = 'PARKED') AS parked,
       (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent) + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)
           AS alarms_unsent,
       (SELECT count(*) FROM coupon_issues WHERE decision = 'COMPENSATED' AND given_back_at IS NULL) AS not_given_back";

/// As [`ShownStatus::of`].
const CAMPAIGNS: &str = "
SELECT CASE WHEN status = 'OPEN' AND closes_at <= $1 THEN 'OVER'
            WHEN status = 'OPEN' AND opens_at > $1 THEN 'SCHEDULED'
            ELSE status END AS status, count(*) AS campaigns, sum(total_quantity)::bigint AS coupons, sum(issued_quantity)::bigint AS issued
FROM coupons WHERE archived_at IS NULL GROUP BY 1";

/// Rows of builds that did not know the cause are counted by class and code. The inner grouping needs the index alone.
const BY_CAUSE: &str = "
SELECT coalesce(cause, error_class || ' ' || error_code) AS name, sum(count)::bigint AS count
FROM (SELECT coupon_code, cause, error_class, error_code, count(*) FROM failed_coupon_issues WHERE status = 'PENDING'
      GROUP BY coupon_code, cause, error_class, error_code) grouped
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1";

const BY_COUPON: &str = "
SELECT coupon_code AS name, count(*) AS count FROM failed_coupon_issues WHERE status = 'PENDING'
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1";

const LETTERS_BY_CAUSE: &str = "
SELECT cause AS name, count(*) AS count FROM dlq_events WHERE status = $2
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1";

impl Database {
    /// How much waits.
    pub async fn counts(&self) -> Result<Counts, RepoError> {
        let pool = self.pool();
        self.bounded("count what waits", sqlx::query_as(COUNTS).fetch_one(&pool)).await
    }

    /// The campaigns that have not ended for good, by status at this moment; a status that none has is left out.
    pub async fn campaigns(&self, now: DateTime<Utc>) -> Result<Vec<Campaigns>, RepoError> {
        let pool = self.pool();
        self.bounded("count campaigns", sqlx::query_as(CAMPAIGNS).bind(now).fetch_all(&pool)).await
    }

    /// How much waits, and why.
    pub async fn figures(&self) -> Result<Figures, RepoError> {
        let counts = self.counts().await?;
        let pool = self.pool();
        let groups = async |select: &'static str| {
            self.bounded("group what waits", sqlx::query_as(select).bind(MOST_GROUPS).fetch_all(&pool)).await
        };
        let letters = async |status: DlqEventStatus| {
            let question = sqlx::query_as(LETTERS_BY_CAUSE).bind(MOST_GROUPS).bind(status.as_str()).fetch_all(&pool);
            self.bounded("group dead letters that wait", question).await
        };
        Ok(Figures {
            counts,
            by_cause: groups(BY_CAUSE).await?,
            by_coupon: groups(BY_COUPON).await?,
            held_by_cause: letters(DlqEventStatus::Held).await?,
            parked_by_cause: letters(DlqEventStatus::Parked).await?,
        })
    }

    /// The rows of a choice by cause, most first.
    pub async fn causes(&self, list: List, filter: &Filter, limit: i64) -> Result<Vec<Cause>, RepoError> {
        let (table, condition) = (list.as_str(), list.condition());
        let at = match list {
            List::Requests => "failed_at",
            List::Letters => "created_at",
        };
        let select = format!(
            "SELECT coalesce(f.cause, f.error_class || ' ' || f.error_code) AS cause, count(*) AS count,
                    min(f.{at}) AS first_seen, max(f.{at}) AS last_seen, max(f.id) AS sample_id
             FROM {table} f WHERE {condition}
             GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $10"
        );
        let pool = self.pool();
        self.bounded("group failures by cause", async {
            let question = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?);
            question.bind(limit).fetch_all(&pool).await
        })
        .await
    }
}
