//! Figures over the work list and the dead letters: how much waits, since when, and why.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use crate::repo::{
    RepoError, WorkListRepository,
    coupons::ShownStatus,
    dlq_events::DlqEventStatus,
    work_list::{Filter, List},
};

/// Most groups of a list.
const MAX_GROUPS: i64 = 100;

/// Rows that wait for an operator or for a give-back, and their causes.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Figures {
    /// Counts.
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

/// Number of rows that wait for an operator or for a give-back.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Counts {
    /// Requests on the work list that are PENDING.
    pub pending: i64,
    /// Time at which the oldest of them was compensated.
    pub oldest_pending_at: Option<DateTime<Utc>>,
    /// Dead letters that are HELD: accepted requests without a decision.
    pub held: i64,
    /// Dead letters that are PARKED: they cannot be decided as they are.
    pub parked: i64,
    /// Dead letters and notices that are unsent.
    pub alarms_unsent: i64,
    /// Compensated requests whose give-back is due.
    pub not_given_back: i64,
}

/// The campaigns of one shown status that are not archived.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Campaigns {
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: ShownStatus,
    /// Number of campaigns.
    pub campaigns: i64,
    /// Sum of their totals.
    pub coupons: i64,
    /// Sum of their counters.
    pub issued: i64,
}

/// Number of rows of one kind.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Group {
    /// Cause or campaign.
    pub name: String,
    /// Number of rows.
    pub count: i64,
}

/// The failures of one cause.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Cause {
    /// Error fingerprint: class, code and message without what differs from record to record.
    pub cause: String,
    /// Number of rows.
    pub count: i64,
    /// Time of the first.
    pub first_seen: DateTime<Utc>,
    /// Time of the last.
    pub last_seen: DateTime<Utc>,
    /// Number of the newest.
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

/// The same status as that of [`ShownStatus::of`].
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

const DLQ_EVENTS_BY_CAUSE: &str = "
SELECT cause AS name, count(*) AS count FROM dlq_events WHERE status = $2
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1";

impl WorkListRepository<'_> {
    /// Counts the rows that wait.
    pub async fn counts(self) -> Result<Counts, RepoError> {
        self.read("count what waits", sqlx::query_as(COUNTS).fetch_one(&self.pool())).await
    }

    /// Counts the campaigns that are not archived by their status at this time; a status without one is left out.
    pub async fn campaigns(self, now: DateTime<Utc>) -> Result<Vec<Campaigns>, RepoError> {
        self.read("count campaigns", sqlx::query_as(CAMPAIGNS).bind(now).fetch_all(&self.pool())).await
    }

    /// Counts the rows that wait, and groups them.
    pub async fn figures(self) -> Result<Figures, RepoError> {
        let counts = self.counts().await?;
        let groups = async |select: &'static str| {
            self.read("group what waits", sqlx::query_as(select).bind(MAX_GROUPS).fetch_all(&self.pool())).await
        };
        let dlq_events = async |status: DlqEventStatus| {
            let select = sqlx::query_as(DLQ_EVENTS_BY_CAUSE).bind(MAX_GROUPS).bind(status.as_str());
            self.read("group dead letters that wait", select.fetch_all(&self.pool())).await
        };
        Ok(Figures {
            counts,
            by_cause: groups(BY_CAUSE).await?,
            by_coupon: groups(BY_COUPON).await?,
            held_by_cause: dlq_events(DlqEventStatus::Held).await?,
            parked_by_cause: dlq_events(DlqEventStatus::Parked).await?,
        })
    }

    /// Groups the rows of a filter by cause, most first.
    pub async fn causes(self, list: List, filter: &Filter, limit: i64) -> Result<Vec<Cause>, RepoError> {
        let (table, condition) = (list.as_str(), list.condition());
        let at = match list {
            List::Requests => "failed_at",
            List::DlqEvents => "created_at",
        };
        let select = format!(
            "SELECT coalesce(f.cause, f.error_class || ' ' || f.error_code) AS cause, count(*) AS count,
                    min(f.{at}) AS first_seen, max(f.{at}) AS last_seen, max(f.id) AS sample_id
             FROM {table} f WHERE {condition}
             GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $10"
        );
        let select = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?).bind(limit);
        self.read("group failures by cause", select.fetch_all(&self.pool())).await
    }
}
