//! Who looks after an entry of the work list. A claim holds nobody else up: it only says who is at it.

use chrono::{DateTime, Utc};

use crate::repo::{
    RepoError, WorkListRepository,
    audit::{Actor, append_audit},
};

/// The outcome of a claim, or of a release.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claimed {
    /// The entry was changed.
    Done,
    /// It was so before.
    Before,
    /// Somebody else has claimed it, since this time.
    By(String, DateTime<Utc>),
    /// There is no such entry.
    Absent,
}

impl WorkListRepository<'_> {
    /// Claims an entry for the actor, with its audit.
    pub async fn claim(self, id: i64, actor: Actor) -> Result<Claimed, RepoError> {
        self.set_claim(id, true, actor).await
    }

    /// Releases an entry, whoever has claimed it, with its audit.
    pub async fn release(self, id: i64, actor: Actor) -> Result<Claimed, RepoError> {
        self.set_claim(id, false, actor).await
    }

    async fn set_claim(self, id: i64, is_claim: bool, actor: Actor) -> Result<Claimed, RepoError> {
        self.write("claim an entry", move |pool| async move {
            let mut tx = pool.begin().await?;
            let standing: Option<(Option<String>, Option<DateTime<Utc>>)> = sqlx::query_as(
                "SELECT claimed_by, claimed_at FROM failed_coupon_issues WHERE id = $1 FOR NO KEY UPDATE",
            )
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
            let before = match standing {
                None => return Ok(Claimed::Absent),
                Some((Some(by), _)) if is_claim && by == actor.by.name => return Ok(Claimed::Before),
                Some((Some(by), at)) if is_claim => return Ok(Claimed::By(by, at.unwrap_or(actor.now))),
                Some((None, _)) if !is_claim => return Ok(Claimed::Before),
                Some((before, _)) => before,
            };
            let (by, at) = if is_claim { (Some(actor.by.name.clone()), Some(actor.now)) } else { (None, None) };
            sqlx::query("UPDATE failed_coupon_issues SET claimed_by = $2, claimed_at = $3 WHERE id = $1")
                .bind(id)
                .bind(&by)
                .bind(at)
                .execute(&mut *tx)
                .await?;
            let (verb, subject) = (if is_claim { "claim" } else { "release" }, format!("failed_coupon_issues/{id}"));
            let change = serde_json::json!({ "from": { "claimed_by": before }, "to": { "claimed_by": by } });
            append_audit(&mut tx, &actor, verb, &subject, change, "").await?;
            tx.commit().await?;
            Ok(Claimed::Done)
        })
        .await
    }
}
