//! What becomes of a replay: Redis's answer, then the decision, then the row of the work list it replays.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ReplayOutcome;
use crate::{
    ids::RequestId,
    repo::{
        Database, RepoError,
        coupons::{Actor, append_audit},
    },
};

/// Replays settled in one transaction.
const BATCH: i64 = 500;

#[derive(sqlx::FromRow)]
struct Decided {
    request_id: Uuid,
    failed_issue_id: i64,
    decision: String,
    by: Uuid,
}

impl Database {
    /// Notes what Redis answered, unless that is known already. A refusal gives the attempt back to the row; it does
    /// not count among its three.
    pub async fn note_replay(
        &self,
        request_id: RequestId,
        outcome: ReplayOutcome,
        held_by: Option<RequestId>,
        now: DateTime<Utc>,
    ) -> Result<(), RepoError> {
        self.detached("note a replay", move |pool| async move {
            let mut tx = pool.begin().await?;
            let noted: Option<i64> = sqlx::query_scalar(
                "UPDATE replays SET outcome = $2, held_by = $3, updated_at = $4
                 WHERE request_id = $1 AND outcome IS NULL RETURNING failed_issue_id",
            )
            .bind(request_id.as_uuid())
            .bind(outcome.as_str())
            .bind(held_by.map(RequestId::as_uuid))
            .bind(now)
            .fetch_optional(&mut *tx)
            .await?;
            let refused = matches!(
                outcome,
                ReplayOutcome::HoldsOne | ReplayOutcome::SoldOut | ReplayOutcome::Closed | ReplayOutcome::NotReady
            );
            if let Some(row) = noted.filter(|_| refused) {
                sqlx::query(
                    "UPDATE failed_coupon_issues SET replay_count = greatest(replay_count - 1, 0) WHERE id = $1",
                )
                .bind(row)
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Settles replays on which there is a decision by now: the row of an issued one becomes RESOLVED. Gives how many
    /// were settled. Any number of processes may do this at once, again and again.
    pub async fn settle_replays(&self, by: &str, now: DateTime<Utc>) -> Result<usize, RepoError> {
        let actor = Actor { name: by.to_owned(), now };
        self.detached("settle replays", move |pool| async move {
            let mut tx = pool.begin().await?;
            let decided: Vec<Decided> = sqlx::query_as(
                "SELECT r.request_id, r.failed_issue_id, i.decision, i.request_id AS by
                 FROM replays r
                 JOIN coupons c ON c.coupon_code = r.coupon_code
                 JOIN coupon_issues i ON i.coupon_id = c.coupon_id
                      AND i.request_id = CASE WHEN r.outcome = 'HOLDS_ONE' THEN r.held_by ELSE r.request_id END
                 WHERE r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')
                 ORDER BY r.failed_issue_id LIMIT $1 FOR UPDATE OF r SKIP LOCKED",
            )
            .bind(BATCH)
            .fetch_all(&mut *tx)
            .await?;
            for replay in &decided {
                settle(&mut tx, replay, &actor).await?;
            }
            tx.commit().await?;
            Ok(decided.len())
        })
        .await
    }
}

async fn settle(tx: &mut PgConnection, replay: &Decided, actor: &Actor) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE replays SET outcome = $2, updated_at = $3 WHERE request_id = $1")
        .bind(replay.request_id)
        .bind(&replay.decision)
        .bind(actor.now)
        .execute(&mut *tx)
        .await?;
    if replay.decision != ReplayOutcome::Issued.as_str() {
        return Ok(());
    }
    let resolution = format!("issued by request {}", replay.by);
    let resolved = sqlx::query(
        "UPDATE failed_coupon_issues SET status = 'RESOLVED', resolved_at = $2, resolved_by = $3, resolution = $4
         WHERE id = $1 AND status = 'PENDING'",
    )
    .bind(replay.failed_issue_id)
    .bind(actor.now)
    .bind(&actor.name)
    .bind(&resolution)
    .execute(&mut *tx)
    .await?;
    if resolved.rows_affected() == 1 {
        let change = serde_json::json!({ "from": "PENDING", "to": "RESOLVED" });
        let subject = format!("failed_coupon_issues/{}", replay.failed_issue_id);
        append_audit(tx, actor, "replay", &subject, change, &resolution).await?;
    }
    Ok(())
}
