//! The operators' work list: the table `failed_coupon_issues`.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    FailedCouponIssueRepository, RepoError,
    work_list::{self, FAILED_ISSUE_FILTER, Filter},
};
use crate::words::words;

words! {
    /// Status of a row of the work list.
    pub enum FailedIssueStatus as "status of a failed request" {
        /// The row waits for an operator.
        Pending = "PENDING",
        /// The row was put right.
        Resolved = "RESOLVED",
        /// There is nothing to do.
        Ignored = "IGNORED",
    }
}

impl Filter {
    /// This filter, restricted to a status of the work list.
    #[must_use]
    pub fn of_status(self, status: FailedIssueStatus) -> Self {
        Self { status: Some(status.as_str().to_owned()), ..self }
    }
}

/// A compensated request.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct FailedCouponIssue {
    /// Number.
    #[serde(flatten, serialize_with = "work_list::serialize_entry_id")]
    pub id: i64,
    /// Campaign.
    pub coupon_code: String,
    /// Member.
    pub member_id: String,
    /// Request id.
    pub request_id: Uuid,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: FailedIssueStatus,
    /// Class of the last failure.
    pub error_class: String,
    /// Code of the last failure.
    pub error_code: String,
    /// Error fingerprint; `None` in rows of earlier builds.
    pub cause: Option<String>,
    /// Message of the last failure.
    pub reason: String,
    /// Time of the compensation.
    pub failed_at: DateTime<Utc>,
    /// Time at which it left PENDING.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Operator or service that settled it.
    pub resolved_by: Option<String>,
    /// Reason of the settling.
    pub resolution: Option<String>,
    /// Number of replays that were begun and not refused.
    pub replay_count: i32,
    /// Whether an operator has compensated it by hand: no replay by a filter takes it.
    pub decided_by_hand: bool,
    /// Entry that this request was a replay of.
    pub replay_of: Option<i64>,
    /// Operator who looks after it.
    pub claimed_by: Option<String>,
    /// Since when.
    pub claimed_at: Option<DateTime<Utc>>,
    /// Time of the give-back; `None` while it is due.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// A replay of a row of the work list.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct ReplayLink {
    /// Id of the new request.
    pub request_id: Uuid,
    /// Outcome; `None` while Redis has not answered.
    pub outcome: Option<String>,
    /// Request by which the member holds a coupon already.
    pub held_by: Option<Uuid>,
    /// Job that began it.
    pub job_id: i64,
    /// Whether the campaign's window was ignored.
    pub after_close: bool,
    /// Entry of the new request itself, if it was compensated too.
    pub failed_issue_id: Option<i64>,
    /// Time of its begin.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the outcome.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id";

impl FailedCouponIssue {
    /// Returns the error fingerprint, also of rows of earlier builds.
    pub fn cause(&self) -> String {
        self.cause.clone().unwrap_or_else(|| format!("{} {}", self.error_class, self.error_code))
    }
}

/// Most entries of one request that are read.
const MAX_ENTRIES: i64 = 1_000;

impl FailedCouponIssueRepository<'_> {
    /// Returns up to `limit` rows of a filter below the number `before`, newest first.
    pub async fn list(
        self,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<FailedCouponIssue>, RepoError> {
        let select = AssertSqlSafe(format!(
            "{SELECT} WHERE {FAILED_ISSUE_FILTER} AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11"
        ));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(before).bind(limit);
        self.read("list failed requests", select.fetch_all(&self.pool())).await
    }

    /// Returns a row.
    pub async fn find(self, id: i64) -> Result<Option<FailedCouponIssue>, RepoError> {
        let select = sqlx::query_as(AssertSqlSafe(format!("{SELECT} WHERE f.id = $1"))).bind(id);
        self.read("read a failed request", select.fetch_optional(&self.pool())).await
    }

    /// Returns the row of a request.
    pub async fn find_by_request(self, request_id: Uuid, coupon: &str) -> Result<Option<FailedCouponIssue>, RepoError> {
        let select = format!("{SELECT} WHERE f.request_id = $1 AND f.coupon_code = $2");
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(request_id).bind(coupon);
        self.read("read a failed request by its id", select.fetch_optional(&self.pool())).await
    }

    /// Returns the replays of a row, refused ones too, oldest first, at most 100.
    pub async fn replay_links(self, id: i64) -> Result<Vec<ReplayLink>, RepoError> {
        let select = sqlx::query_as(
            "SELECT r.*, f.id AS failed_issue_id
             FROM replays r
             LEFT JOIN failed_coupon_issues f ON f.coupon_code = r.coupon_code AND f.request_id = r.request_id
             WHERE r.failed_issue_id = $1 ORDER BY r.created_at LIMIT 100",
        )
        .bind(id);
        self.read("list the replays of a request", select.fetch_all(&self.pool())).await
    }

    /// Whether a row is PENDING.
    pub async fn is_pending(self, row: i64) -> Result<bool, RepoError> {
        let select =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM failed_coupon_issues WHERE id = $1 AND status = 'PENDING')")
                .bind(row);
        self.read("look whether an entry waits", select.fetch_one(&self.pool())).await
    }

    /// Returns the rows of these requests, newest first, at most 1,000.
    pub async fn of_requests(self, requests: &[Uuid]) -> Result<Vec<FailedCouponIssue>, RepoError> {
        let select = AssertSqlSafe(format!("{SELECT} WHERE f.request_id = ANY($1) ORDER BY f.id DESC LIMIT $2"));
        let select = sqlx::query_as(select).bind(requests).bind(MAX_ENTRIES);
        self.read("list the entries of requests", select.fetch_all(&self.pool())).await
    }

    /// Returns the row of a request, and the row that it replays.
    pub async fn of_request(self, request_id: Uuid) -> Result<Vec<FailedCouponIssue>, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT f.id FROM coupons c JOIN failed_coupon_issues f USING (coupon_code) WHERE f.request_id = $1
             UNION SELECT failed_issue_id FROM replays WHERE request_id = $1",
        )
        .bind(request_id);
        let ids: Vec<i64> = self.long_read("find the entries of a request", select.fetch_all(&self.pool())).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.list(&Filter { ids, ..Filter::default() }, None, MAX_ENTRIES).await
    }
}
