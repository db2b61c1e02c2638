//! The operators' work list: the table `failed_coupon_issues`.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Database, RepoError,
    filter::{FAILED_ISSUE_FILTER, Filter},
    numbers,
};
use crate::words::words;

words! {
    /// Where a failed request stands.
    pub enum FailedIssueStatus as "status of a failed request" {
        /// Somebody has to look.
        Pending = "PENDING",
        /// Put right.
        Resolved = "RESOLVED",
        /// Looked at, nothing to do.
        Ignored = "IGNORED",
    }
}

/// A request that was given up.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct FailedCouponIssue {
    /// Number.
    #[serde(flatten, serialize_with = "numbers::entry")]
    pub id: i64,
    /// Campaign.
    pub coupon_code: String,
    /// Member.
    pub member_id: String,
    /// The request.
    pub request_id: Uuid,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub status: FailedIssueStatus,
    /// Class of the last failure.
    pub error_class: String,
    /// Its code.
    pub error_code: String,
    /// What it is counted under; `None` in rows of builds that did not know it.
    pub cause: Option<String>,
    /// Its words.
    pub reason: String,
    /// When it was given up.
    pub failed_at: DateTime<Utc>,
    /// When it left PENDING.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Who moved it.
    pub resolved_by: Option<String>,
    /// Why.
    pub resolution: Option<String>,
    /// Replays that were begun and not refused.
    pub replay_count: i32,
    /// Whether an operator has decided it COMPENSATED by hand: no replay by a filter takes it.
    pub decided_by_hand: bool,
    /// The entry whose replay this request was.
    pub replay_of: Option<i64>,
    /// When Redis had been put right; `None` while the give-back is due.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// A replay of a failed request, as the entry that it replays knows it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct ReplayLink {
    /// The new request.
    pub request_id: Uuid,
    /// What came of it; `None` while Redis has not answered.
    pub outcome: Option<String>,
    /// The request by which the member holds one already.
    pub held_by: Option<Uuid>,
    /// The job by which it was begun.
    pub job_id: i64,
    /// Whether the window of the campaign counted for nothing.
    pub after_close: bool,
    /// The entry that the new request has itself, if it was given up too.
    pub failed_issue_id: Option<i64>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When its outcome last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id";

impl FailedCouponIssue {
    /// What it is counted under, also in rows of builds that did not know it.
    pub fn cause(&self) -> String {
        self.cause.clone().unwrap_or_else(|| format!("{} {}", self.error_class, self.error_code))
    }
}

impl Database {
    /// Failed requests of this choice, newest first, below `before`.
    pub async fn failed_issues(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<FailedCouponIssue>, RepoError> {
        let select = format!(
            "{SELECT} WHERE {FAILED_ISSUE_FILTER} AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11"
        );
        let pool = self.pool();
        self.bounded("list failed requests", async {
            let question = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?);
            question.bind(before).bind(limit).fetch_all(&pool).await
        })
        .await
    }

    /// One failed request.
    pub async fn failed_issue(&self, id: i64) -> Result<Option<FailedCouponIssue>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as(AssertSqlSafe(format!("{SELECT} WHERE f.id = $1"))).bind(id).fetch_optional(&pool);
        self.bounded("read a failed request", question).await
    }

    /// The failed request of this id.
    pub async fn failed_issue_of(
        &self,
        request_id: Uuid,
        coupon: &str,
    ) -> Result<Option<FailedCouponIssue>, RepoError> {
        let select = format!("{SELECT} WHERE f.request_id = $1 AND f.coupon_code = $2");
        let pool = self.pool();
        let question = sqlx::query_as(AssertSqlSafe(select)).bind(request_id).bind(coupon).fetch_optional(&pool);
        self.bounded("read a failed request by its id", question).await
    }

    /// The replays of one failed request, oldest first, refused ones too; at most 100.
    pub async fn replay_links(&self, id: i64) -> Result<Vec<ReplayLink>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT r.*, f.id AS failed_issue_id
             FROM replays r
             LEFT JOIN failed_coupon_issues f ON f.coupon_code = r.coupon_code AND f.request_id = r.request_id
             WHERE r.failed_issue_id = $1 ORDER BY r.created_at LIMIT 100",
        )
        .bind(id)
        .fetch_all(&pool);
        self.bounded("list the replays of a request", question).await
    }
}
