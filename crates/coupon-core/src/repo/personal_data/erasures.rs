//! Erasures, begun and done: the table `member_erasures`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::{
    ids::MemberId,
    repo::{
        PersonalDataRepository, RepoError,
        audit::{Actor, append_audit},
    },
    words::words,
};

words! {
    /// Status of an erasure.
    pub enum ErasureStatus as "status of an erasure" {
        /// Begun; it goes on when the member is erased again.
        Running = "RUNNING",
        /// Nothing names the member any more.
        Done = "DONE",
    }
}

/// An erasure.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Erasure {
    /// What stands in the place of the id.
    pub pseudonym: String,
    /// Which key made it.
    pub key_id: String,
    /// Status.
    #[sqlx(try_from = "String")]
    pub status: ErasureStatus,
    /// Rows and holder entries changed so far, by table.
    pub counts: Json<BTreeMap<String, i64>>,
    /// Time at which it was first begun.
    pub created_at: DateTime<Utc>,
    /// Time at which it was done; `None` while it is RUNNING.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An erasure to be begun.
#[derive(Clone, Debug)]
pub struct NewErasure {
    /// What is to stand in the place of the id.
    pub pseudonym: MemberId,
    /// Which key made it.
    pub key_id: String,
    /// Reason that the operator gave.
    pub reason: String,
}

/// Name of an erasure in the audit.
fn subject(pseudonym: &str) -> String {
    format!("members/{pseudonym}")
}

impl PersonalDataRepository<'_> {
    /// Returns the erasure of this pseudonym.
    pub async fn erasure(self, pseudonym: &MemberId) -> Result<Option<Erasure>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM member_erasures WHERE pseudonym = $1").bind(pseudonym.as_str());
        self.read("read an erasure", select.fetch_optional(&self.pool())).await
    }

    /// Returns up to 100 erasures that are not done, oldest first.
    pub async fn unfinished_erasures(self) -> Result<Vec<Erasure>, RepoError> {
        let select =
            sqlx::query_as("SELECT * FROM member_erasures WHERE status = 'RUNNING' ORDER BY created_at LIMIT 100");
        self.read("list erasures", select.fetch_all(&self.pool())).await
    }

    /// Begins an erasure, with its audit. One that is RUNNING stays as it is; one that is DONE runs again, with the counts it has.
    pub async fn begin_erasure(self, new: NewErasure, actor: Actor) -> Result<(), RepoError> {
        self.write("begin an erasure", move |pool| async move {
            let mut tx = pool.begin().await?;
            let begun = sqlx::query(
                "INSERT INTO member_erasures AS e (pseudonym, key_id, status, reason, started_by, created_at, updated_at)
                 VALUES ($1, $2, 'RUNNING', $3, $4, $5, $5)
                 ON CONFLICT (pseudonym) DO UPDATE SET status = 'RUNNING', updated_at = $5, finished_at = NULL
                 WHERE e.status = 'DONE'",
            )
            .bind(new.pseudonym.as_str())
            .bind(&new.key_id)
            .bind(&new.reason)
            .bind(&actor.by.name)
            .bind(actor.now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if begun == 1 {
                let change = serde_json::json!({ "to": ErasureStatus::Running, "key_id": new.key_id });
                let subject = subject(new.pseudonym.as_str());
                append_audit(&mut tx, &actor, "member.erase", &subject, change, &new.reason).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Ends a RUNNING erasure, with its audit. `false` when it is not RUNNING.
    pub async fn finish_erasure(self, pseudonym: &MemberId, reason: String, actor: Actor) -> Result<bool, RepoError> {
        let pseudonym = pseudonym.as_str().to_owned();
        self.write("finish an erasure", move |pool| async move {
            let mut tx = pool.begin().await?;
            let counts: Option<serde_json::Value> = sqlx::query_scalar(
                "UPDATE member_erasures SET status = 'DONE', updated_at = $2, finished_at = $2
                 WHERE pseudonym = $1 AND status = 'RUNNING' RETURNING counts",
            )
            .bind(&pseudonym)
            .bind(actor.now)
            .fetch_optional(&mut *tx)
            .await?;
            let is_finished = counts.is_some();
            if let Some(counts) = counts {
                let change = serde_json::json!({
                    "from": ErasureStatus::Running, "to": ErasureStatus::Done, "counts": counts,
                });
                append_audit(&mut tx, &actor, "member.erase", &subject(&pseudonym), change, &reason).await?;
            }
            tx.commit().await?;
            Ok(is_finished)
        })
        .await
    }

    /// Counts holder entries that got the pseudonym.
    pub async fn count_renamed(self, pseudonym: &MemberId, renamed: i64, now: DateTime<Utc>) -> Result<(), RepoError> {
        let pseudonym = pseudonym.as_str().to_owned();
        self.write("count erased holders", move |pool| async move {
            let mut connection = pool.acquire().await?;
            count(&mut connection, &pseudonym, "redis", renamed, now).await
        })
        .await
    }
}

/// Adds to the number of rows of a table that an erasure has changed.
pub(super) async fn count(
    connection: &mut PgConnection,
    pseudonym: &str,
    table: &str,
    rows: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE member_erasures
         SET counts = counts || jsonb_build_object($2::text, coalesce((counts ->> $2)::bigint, 0) + $3), updated_at = $4
         WHERE pseudonym = $1",
    )
    .bind(pseudonym)
    .bind(table)
    .bind(rows)
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}
