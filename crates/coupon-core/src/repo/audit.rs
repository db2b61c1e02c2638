//! Who changed what by hand: the table `operator_audit`, as it is read.

use chrono::{DateTime, Utc};

use super::{AuditRepository, RepoError};

/// One change.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct AuditRow {
    /// Order of the changes.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// The command, such as `resolve`.
    pub verb: String,
    /// What it was done to, such as `failed_coupon_issues/17`.
    pub subject: String,
    /// What changed.
    pub change: serde_json::Value,
    /// Why, in the operator's words.
    pub reason: String,
}

/// Which changes; what is not given does not restrict.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Of this subject, or of all whose names begin with it and a slash.
    pub subject: Option<String>,
    /// By this person.
    pub actor: Option<String>,
    /// Of this verb.
    pub verb: Option<String>,
}

impl AuditRepository<'_> {
    /// Changes of this choice, newest first, below `before`.
    pub async fn list(self, filter: &AuditFilter, before: Option<i64>, limit: i64) -> Result<Vec<AuditRow>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
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
        .bind(limit)
        .fetch_all(&pool);
        self.read("read the audit", question).await
    }

    /// Whether anything was ever done to this subject, or to one whose name begins with it and a slash.
    pub async fn has_subject(self, subject: &str) -> Result<bool, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM operator_audit WHERE subject = $1 OR starts_with(subject, $1 || '/'))",
        )
        .bind(subject)
        .fetch_one(&pool);
        self.read("look for a subject of the audit", question).await
    }

    /// What was done to one row, newest first, at most 100 changes.
    pub async fn of_subject(self, subject: &str) -> Result<Vec<AuditRow>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as("SELECT * FROM operator_audit WHERE subject = $1 ORDER BY id DESC LIMIT 100")
            .bind(subject)
            .fetch_all(&pool);
        self.read("read the audit of a row", question).await
    }
}
