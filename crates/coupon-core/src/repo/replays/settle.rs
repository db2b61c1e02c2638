//! What becomes of a replay: Redis's answer, then the decision, then the row of the work list it replays.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::ReplayOutcome;
use crate::{
    ids::RequestId,
    repo::{
        Database, RepoError,
        give_ups::{Compensation, Operator},
    },
};

/// Replays settled by one statement.
const BATCH: i64 = 500;

/// One statement, however many there are: a round trip for each of them would take longer than an answer may. What
/// somebody else has locked waits for the next time, so this waits for nobody.
const SETTLE: &str = "
WITH decided AS (
    SELECT r.request_id, r.failed_issue_id, r.job_id, i.decision, i.request_id AS issued_by
    FROM replays r
    JOIN failed_coupon_issues f ON f.id = r.failed_issue_id
    JOIN coupons c ON c.coupon_code = r.coupon_code
    JOIN coupon_issues i ON i.coupon_id = c.coupon_id
         AND i.request_id = CASE WHEN r.outcome = 'HOLDS_ONE' THEN r.held_by ELSE r.request_id END
    WHERE r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')
    ORDER BY r.failed_issue_id LIMIT $1 FOR UPDATE OF r, f SKIP LOCKED
), settled AS (
    UPDATE replays r SET outcome = decided.decision, updated_at = $2
    FROM decided WHERE r.request_id = decided.request_id
    RETURNING r.request_id
), resolved AS (
    UPDATE failed_coupon_issues f
    SET status = 'RESOLVED', resolved_at = $2, resolved_by = $3, resolution = 'issued by request ' || decided.issued_by
    FROM (SELECT DISTINCT ON (failed_issue_id) * FROM decided WHERE decision = 'ISSUED'
          ORDER BY failed_issue_id, request_id) decided
    WHERE f.id = decided.failed_issue_id AND f.status = 'PENDING'
    RETURNING f.id, f.resolution, decided.job_id
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
    SELECT $2, $3, 'replay', 'failed_coupon_issues/' || resolved.id, jsonb_build_object('from', 'PENDING', 'to', 'RESOLVED'),
           resolved.resolution || '; replay ' || resolved.job_id || coalesce(': ' || nullif(j.reason, ''), '')
    FROM resolved LEFT JOIN replay_jobs j ON j.job_id = resolved.job_id
)
SELECT count(*) FROM settled";

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
        let by = by.to_owned();
        self.detached("settle replays", move |pool| async move {
            let settled: i64 = sqlx::query_scalar(SETTLE).bind(BATCH).bind(now).bind(by).fetch_one(&pool).await?;
            Ok(usize::try_from(settled).unwrap_or(0))
        })
        .await
    }
}

/// An operator's word on a request holds for its member, who gets one coupon of a campaign at most: every entry of that
/// member that waits is settled by it, and no replay by a filter takes it. That is the entry which the request replays, and
/// one whose replay was told that the member holds this request.
pub(in crate::repo) async fn settle_by_hand(
    tx: &mut PgConnection,
    give_up: &Compensation,
    by: &Operator,
) -> Result<(), sqlx::Error> {
    // The entries before their replays, in the order in which a replay is linked.
    sqlx::query(
        "WITH before AS (
             SELECT id, status FROM failed_coupon_issues
             WHERE coupon_code = $1 AND member_id = $2 AND status <> 'RESOLVED' ORDER BY id FOR UPDATE
         ), settled AS (
             UPDATE failed_coupon_issues f
             SET status = 'RESOLVED', resolved_at = $4, resolved_by = $5, decided_by_hand = true,
                 resolution = $6 || '; request ' || $3 || ' of the member was compensated by hand'
             FROM before WHERE f.id = before.id
             RETURNING f.id, before.status
         )
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
         SELECT $4, $5, 'compensate', 'failed_coupon_issues/' || id,
                jsonb_build_object('from', status, 'to', 'RESOLVED', 'request_id', $3), $6
         FROM settled ORDER BY id",
    )
    .bind(give_up.event.coupon_code.as_str())
    .bind(give_up.event.member_id.as_str())
    .bind(give_up.event.request_id.to_string())
    .bind(give_up.now)
    .bind(&by.name)
    .bind(&by.reason)
    .execute(tx)
    .await
    .map(drop)
}

/// If the request is a replay, it has come to nothing. Gives the entry that it replays.
pub(in crate::repo) async fn close_replay(
    tx: &mut PgConnection,
    give_up: &Compensation,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE replays SET outcome = 'COMPENSATED', updated_at = $2 WHERE request_id = $1 RETURNING failed_issue_id",
    )
    .bind(give_up.event.request_id.as_uuid())
    .bind(give_up.now)
    .fetch_optional(tx)
    .await
}
