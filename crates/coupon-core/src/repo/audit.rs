//! The audit: the table `operator_audit`, one row for each change that an operator, or a service in an operator's
//! stead, made.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{AuditRepository, RepoError};
use crate::{clock::Clock, ids::CouponCode};

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Name of the operator or the service.
    pub name: String,
    /// Time of the change.
    pub now: DateTime<Utc>,
}

impl Actor {
    /// Returns who has this name, at the clock's time.
    pub fn at(name: &str, clock: &dyn Clock) -> Self {
        Self { name: name.to_owned(), now: clock.now() }
    }
}

/// One change.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct AuditRow {
    /// Number; a later change has a higher one.
    pub id: i64,
    /// Time of the change.
    pub at: DateTime<Utc>,
    /// Name of the operator or the service.
    pub actor: String,
    /// The command, such as `resolve`.
    pub verb: String,
    /// The changed row, such as `failed_coupon_issues/17`.
    pub subject: String,
    /// Old and new values: `{"from": …, "to": …}`, or `{"asked": …}` where nothing has changed.
    pub change: serde_json::Value,
    /// Reason that the operator gave; empty without one.
    pub reason: String,
}

/// A choice of changes; an absent field restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only changes of this subject, or of every subject that begins with it and a slash.
    pub subject: Option<String>,
    /// Only changes by this actor.
    pub actor: Option<String>,
    /// Only changes of this verb.
    pub verb: Option<String>,
}

impl AuditRepository<'_> {
    /// Returns up to `limit` changes below the number `before`, newest first.
    pub async fn list(self, filter: &AuditFilter, before: Option<i64>, limit: i64) -> Result<Vec<AuditRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT id, at, actor, verb, subject, change, reason FROM operator_audit
             WHERE ($1::text IS NULL OR subject = $1 OR starts_with(subject, $1 || '/'))
               AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR verb = $3)
               AND ($4::bigint IS NULL OR id < $4)
             ORDER BY id DESC LIMIT $5",
        )
        .bind(&filter.subject)
        .bind(&filter.actor)
        .bind(&filter.verb)
        .bind(before)
        .bind(limit);
        self.read("read the audit", select.fetch_all(&self.pool())).await
    }

    /// Whether a change of this subject, or of one that begins with it and a slash, was ever recorded.
    pub async fn has_subject(self, subject: &str) -> Result<bool, RepoError> {
        let filter = AuditFilter { subject: Some(subject.to_owned()), ..AuditFilter::default() };
        Ok(!self.list(&filter, None, 1).await?.is_empty())
    }

    /// Returns the changes of one row, newest first, at most 100.
    pub async fn of_subject(self, subject: &str) -> Result<Vec<AuditRow>, RepoError> {
        let select =
            sqlx::query_as("SELECT * FROM operator_audit WHERE subject = $1 ORDER BY id DESC LIMIT 100").bind(subject);
        self.read("read the audit of a row", select.fetch_all(&self.pool())).await
    }
}

/// Appends a change of a campaign to the audit, in the transaction of the change.
pub(super) async fn append_coupon_audit(
    tx: &mut PgConnection,
    actor: &Actor,
    verb: &str,
    code: &CouponCode,
    change: serde_json::Value,
) -> Result<(), sqlx::Error> {
    append_audit(tx, actor, verb, &format!("coupons/{code}"), change, "").await
}

/// Appends to the audit, in the transaction of the change.
pub(super) async fn append_audit(
    tx: &mut PgConnection,
    actor: &Actor,
    verb: &str,
    subject: &str,
    change: serde_json::Value,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO operator_audit (at, actor, verb, subject, change, reason) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(actor.now)
        .bind(&actor.name)
        .bind(verb)
        .bind(subject)
        .bind(change)
        .bind(reason)
        .execute(tx)
        .await
        .map(drop)
}
