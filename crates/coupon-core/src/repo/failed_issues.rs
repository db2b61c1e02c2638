//! The operators' work list: the table `failed_coupon_issues`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Database, RepoError,
    coupons::{Actor, append_audit},
};
use crate::words::words;

words! {
    /// Where a failed request stands.
    pub enum FailedStatus as "status of a failed request" {
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
pub struct FailedIssue {
    /// Number.
    pub id: i64,
    /// Campaign.
    pub coupon_code: String,
    /// Member.
    pub member_id: String,
    /// The request.
    pub request_id: Uuid,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub status: FailedStatus,
    /// Class of the last failure.
    pub error_class: String,
    /// Its code.
    pub error_code: String,
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
    /// When Redis had been put right; `None` while the give-back is due.
    pub given_back_at: Option<DateTime<Utc>>,
}

/// What became of a change of the work list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Changed.
    Done,
    /// There is no such row.
    Absent,
    /// It stands here and cannot be moved from here.
    Not(FailedStatus),
}

const SELECT: &str = "
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id";

impl Database {
    /// Failed requests of one status (or all) and one campaign (or all), newest first, below `before`.
    pub async fn failed_issues(
        &self,
        status: Option<FailedStatus>,
        coupon_code: Option<&str>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<FailedIssue>, RepoError> {
        const FILTER: &str = "
            WHERE ($1::text IS NULL OR f.status = $1) AND ($2::text IS NULL OR f.coupon_code = $2)
              AND ($3::bigint IS NULL OR f.id < $3)
            ORDER BY f.id DESC LIMIT $4";
        let pool = self.pool();
        let question = sqlx::query_as(sqlx::AssertSqlSafe([SELECT, FILTER].concat()))
            .bind(status.map(FailedStatus::as_str))
            .bind(coupon_code)
            .bind(before)
            .bind(limit)
            .fetch_all(&pool);
        self.bounded("list failed requests", question).await
    }

    /// One failed request.
    pub async fn failed_issue(&self, id: i64) -> Result<Option<FailedIssue>, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_as(sqlx::AssertSqlSafe([SELECT, " WHERE f.id = $1"].concat())).bind(id).fetch_optional(&pool);
        self.bounded("read a failed request", question).await
    }

    /// PENDING to `to` (RESOLVED or IGNORED), with the audit in the same transaction.
    pub async fn settle(&self, id: i64, to: FailedStatus, actor: Actor, reason: String) -> Result<Settled, RepoError> {
        self.detached("settle a failed request", move |pool| async move {
            let mut tx = pool.begin().await?;
            let moved = sqlx::query(
                "UPDATE failed_coupon_issues SET status = $2, resolved_at = $3, resolved_by = $4, resolution = $5
                 WHERE id = $1 AND status = 'PENDING'",
            )
            .bind(id)
            .bind(to.as_str())
            .bind(actor.now)
            .bind(&actor.name)
            .bind(&reason)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if moved == 0 {
                let status: Option<String> =
                    sqlx::query_scalar("SELECT status FROM failed_coupon_issues WHERE id = $1")
                        .bind(id)
                        .fetch_optional(&mut *tx)
                        .await?;
                return match status.map(|word| word.parse()) {
                    None => Ok(Settled::Absent),
                    Some(Ok(status)) => Ok(Settled::Not(status)),
                    Some(Err(error)) => Err(sqlx::Error::Decode(Box::new(error))),
                };
            }
            let verb = if to == FailedStatus::Ignored { "ignore" } else { "resolve" };
            let change = serde_json::json!({ "from": FailedStatus::Pending, "to": to });
            append_audit(&mut tx, &actor, verb, &format!("failed_coupon_issues/{id}"), change, &reason).await?;
            tx.commit().await?;
            Ok(Settled::Done)
        })
        .await
    }
}
