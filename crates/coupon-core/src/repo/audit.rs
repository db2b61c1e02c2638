//! The audit: the table `operator_audit`, one row for each change that an operator, or a service in an operator's
//! stead, made.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{AuditRepository, RepoError};
use crate::{clock::Clock, ids::CouponCode, words::words};

words! {
    /// How the name of an actor is known.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum Login as "way of login" {
        /// Nobody was verified: what was denied to a stranger.
        Nobody = "NOBODY",
        /// A service acts in an operator's stead.
        Service = "SERVICE",
        /// The flag `--by` of a command line claims it; nothing is verified.
        CommandLine = "COMMAND_LINE",
        /// A token of the console was verified.
        Token = "TOKEN",
        /// An assertion of an identity provider was verified.
        Assertion = "ASSERTION",
    }
}

/// Who changes something, how that is known, and why it is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the operator or the service.
    pub name: String,
    /// How the name is known.
    pub login: Login,
    /// Role of a verified operator.
    pub role: Option<String>,
    /// Address from which a verified operator, or a stranger, asked.
    pub source: Option<String>,
    /// Number of the plan by which it is done.
    pub plan_id: Option<i64>,
    /// Reason that the operator gave for a change that takes no reason of its own; empty without one.
    #[serde(default)]
    pub reason: String,
}

impl Identity {
    /// Returns a service, which acts in the stead of operators.
    pub fn service(name: &str) -> Self {
        Self::unverified(name, Login::Service)
    }

    /// Returns whom the flag `--by` of a command line names.
    pub fn command_line(name: &str) -> Self {
        Self::unverified(name, Login::CommandLine)
    }

    /// Returns whoever asks from this address and is not known. No operator can have the name.
    pub fn nobody(source: Option<String>) -> Self {
        Self { source, ..Self::unverified("(nobody)", Login::Nobody) }
    }

    fn unverified(name: &str, login: Login) -> Self {
        Self { name: name.to_owned(), login, role: None, source: None, plan_id: None, reason: String::new() }
    }

    /// Returns the column `provenance` of the audit: the fields that are there, without name and reason.
    pub(in crate::repo) fn provenance(&self) -> serde_json::Value {
        let mut provenance = serde_json::Map::from_iter([("login".to_owned(), self.login.as_str().into())]);
        provenance.extend(self.role.as_deref().map(|role| ("role".to_owned(), role.into())));
        provenance.extend(self.source.as_deref().map(|source| ("source".to_owned(), source.into())));
        provenance.extend(self.plan_id.map(|plan_id| ("plan_id".to_owned(), plan_id.into())));
        provenance.into()
    }
}

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The operator or the service.
    pub by: Identity,
    /// Time of the change.
    pub now: DateTime<Utc>,
}

impl Actor {
    /// Returns the operator or the service at the clock's time.
    pub fn at(by: &Identity, clock: &dyn Clock) -> Self {
        Self { by: by.clone(), now: clock.now() }
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
    /// How the actor is known, as `login`, `role`, `source` and `plan_id`; `None` in rows of older builds.
    pub provenance: Option<serde_json::Value>,
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
    /// Made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this time.
    pub until: Option<DateTime<Utc>>,
}

impl AuditRepository<'_> {
    /// Returns up to `limit` changes below the number `before`, newest first.
    pub async fn list(self, filter: &AuditFilter, before: Option<i64>, limit: i64) -> Result<Vec<AuditRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT id, at, actor, verb, subject, change, reason, provenance FROM operator_audit
             WHERE ($1::text IS NULL OR subject = $1 OR starts_with(subject, $1 || '/'))
               AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR verb = $3)
               AND ($4::bigint IS NULL OR id < $4)
               AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
             ORDER BY id DESC LIMIT $5",
        )
        .bind(&filter.subject)
        .bind(&filter.actor)
        .bind(&filter.verb)
        .bind(before)
        .bind(limit)
        .bind(filter.since)
        .bind(filter.until);
        self.read("read the audit", select.fetch_all(&self.pool())).await
    }

    /// Whether a change of this subject, or of one that begins with it and a slash, was ever recorded.
    pub async fn has_subject(self, subject: &str) -> Result<bool, RepoError> {
        let filter = AuditFilter { subject: Some(subject.to_owned()), ..AuditFilter::default() };
        Ok(!self.list(&filter, None, 1).await?.is_empty())
    }

    /// Appends what an operator was denied, or did that changed no row.
    pub async fn append(
        self,
        actor: Actor,
        verb: String,
        subject: String,
        change: serde_json::Value,
    ) -> Result<(), RepoError> {
        self.write("append to the audit", move |pool| async move {
            let mut connection = pool.acquire().await?;
            append_audit(&mut connection, &actor, &verb, &subject, change, &actor.by.reason).await
        })
        .await
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
    append_audit(tx, actor, verb, &format!("coupons/{code}"), change, &actor.by.reason).await
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
    sqlx::query(
        "INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(actor.now)
    .bind(&actor.by.name)
    .bind(verb)
    .bind(subject)
    .bind(change)
    .bind(reason)
    .bind(actor.by.provenance())
    .execute(tx)
    .await
    .map(drop)
}
