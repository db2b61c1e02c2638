//! Outcomes of replays: the answer of Redis, then the decision, then the row of the work list.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::ReplayOutcome;
use crate::{
    event::CouponIssued,
    ids::{CouponCode, RequestId},
    repo::{ReplayRepository, RepoError, audit::Actor},
};

/// Replays settled by one statement.
const BATCH: i64 = 500;

/// One statement for a batch: a round trip for each replay would take longer than the bound of a write. Rows that are
/// locked are left for the next pass, so the statement waits for nobody.
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
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $2, $3, 'replay', 'failed_coupon_issues/' || resolved.id, jsonb_build_object('from', 'PENDING', 'to', 'RESOLVED'),
           resolved.resolution || '; replay ' || resolved.job_id || coalesce(': ' || nullif(j.reason, ''), ''), $4
    FROM resolved LEFT JOIN replay_jobs j ON j.job_id = resolved.job_id
)
SELECT count(*) FROM settled";

impl ReplayRepository<'_> {
    /// Records the answer of Redis, unless one is recorded. A refusal does not count among the three replays of the
    /// row.
    pub async fn note_outcome(
        self,
        request_id: RequestId,
        outcome: ReplayOutcome,
        held_by: Option<RequestId>,
        now: DateTime<Utc>,
    ) -> Result<(), RepoError> {
        self.write("note a replay", move |pool| async move {
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

    /// Brings decisions to undecided replays and makes the row of an issued one RESOLVED. Returns the number of replays
    /// settled. Safe to run in several processes at once.
    pub async fn settle(self, actor: Actor) -> Result<usize, RepoError> {
        self.write("settle replays", move |pool| async move {
            let settle = sqlx::query_scalar(SETTLE).bind(BATCH).bind(actor.now);
            let settled: i64 = settle.bind(&actor.by.name).bind(actor.by.provenance()).fetch_one(&pool).await?;
            Ok(usize::try_from(settled).unwrap_or(0))
        })
        .await
    }
}

/// Resolves every unresolved entry of a member in a campaign, because an operator has compensated one request by hand:
/// a member gets one coupon of a campaign at most. No replay by a filter takes these entries again. They are the entry
/// that the request replays, and one whose replay was answered that the member holds this request.
pub(in crate::repo) async fn settle_by_hand(
    tx: &mut PgConnection,
    event: &CouponIssued,
    operator: &Actor,
    reason: &str,
) -> Result<(), sqlx::Error> {
    // Locks entries before their replays, in the order in which a replay is linked.
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
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT $4, $5, 'compensate', 'failed_coupon_issues/' || id,
                jsonb_build_object('from', status, 'to', 'RESOLVED', 'request_id', $3), $6, $7
         FROM settled ORDER BY id",
    )
    .bind(event.coupon_code.as_str())
    .bind(event.member_id.as_str())
    .bind(event.request_id.to_string())
    .bind(operator.now)
    .bind(&operator.by.name)
    .bind(reason)
    .bind(operator.by.provenance())
    .execute(tx)
    .await
    .map(drop)
}

/// Ends the replay that the request is, if it is one, as COMPENSATED. Returns the entry that it replays.
pub(in crate::repo) async fn close_replay(
    tx: &mut PgConnection,
    request_id: RequestId,
    now: DateTime<Utc>,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE replays SET outcome = 'COMPENSATED', updated_at = $2 WHERE request_id = $1 RETURNING failed_issue_id",
    )
    .bind(request_id.as_uuid())
    .bind(now)
    .fetch_optional(tx)
    .await
}

/// Ends the reserved replays of which nothing is left: no holder entry, no event and no decision. They count as no
/// replay of their row. An event that turns up later is compensated, and its replay settled as COMPENSATED.
pub(in crate::repo) async fn end_lost_replays(
    tx: &mut PgConnection,
    code: &CouponCode,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH lost AS (
             UPDATE replays r SET outcome = 'NOT_READY', updated_at = $2
             FROM replays before
             WHERE before.request_id = r.request_id AND r.coupon_code = $1 AND r.outcome IN ('RESERVED', 'HOLDS_ONE')
               AND NOT EXISTS (SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                               WHERE c.coupon_code = $1 AND i.request_id = coalesce(r.held_by, r.request_id))
               AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = coalesce(r.held_by, r.request_id)
                               AND d.status IN ('HELD', 'PARKED'))
             RETURNING r.failed_issue_id, before.outcome
         )
         -- HOLDS_ONE has taken the count back before.
         UPDATE failed_coupon_issues f SET replay_count = greatest(f.replay_count - 1, 0)
         FROM lost WHERE f.id = lost.failed_issue_id AND lost.outcome = 'RESERVED'",
    )
    .bind(code.as_str())
    .bind(now)
    .execute(tx)
    .await
    .map(drop)
}

/// Ends the replays that Redis never answered. They have no decision, and a reservation of theirs would be of an epoch
/// that is over.
pub(in crate::repo) async fn end_unanswered_replays(
    tx: &mut PgConnection,
    code: &CouponCode,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE replays SET outcome = 'NOT_READY', updated_at = $2 WHERE coupon_code = $1 AND outcome IS NULL")
        .bind(code.as_str())
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
}
