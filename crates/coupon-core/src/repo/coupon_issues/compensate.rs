//! Compensation: one transaction that decides a request COMPENSATED, puts it on the work list and keeps the dead
//! letter.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    budget::Bucket,
    clock::from_unix_ms,
    crash::{self, Moment},
    ids::RequestId,
    repo::{
        CouponIssueRepository, RepoError,
        alarms::{Notice, insert_notice},
        audit::{Actor, append_audit},
        coupon_decision_batches::number_decisions,
        coupon_issues::{
            Decision,
            compensation::{Compensation, CompensationOutcome, Remedy},
        },
        dlq_events::{self, Classification, DlqEventStatus},
        pool::Pool,
        rebuilds::note_found_unsound,
        replays::{close_replay, settle_by_hand},
        work_list::List,
    },
};

/// The decision comes before the lock on the coupon's row, as it does when a batch is issued: in the other order,
/// issuing and compensating the same request at once would deadlock. If either fails, the transaction ends and nothing
/// is decided.
const DECIDE: &str = "
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, decided_at, superseded_by)
SELECT coupon_id, $2, $3, 'COMPENSATED', $4, $5, $6, $7, $8 FROM coupons WHERE coupon_code = $1
ON CONFLICT (coupon_id, request_id) DO NOTHING
RETURNING coupon_id";

/// Safe because of the lock on the coupon's row: one transaction at a time changes the buckets of a coupon.
const PUT_BUCKET: &str = "
INSERT INTO give_up_budgets (coupon_id, cause, tokens, refilled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (coupon_id, cause) DO UPDATE SET tokens = excluded.tokens, refilled_at = excluded.refilled_at";

impl CouponIssueRepository<'_> {
    /// Compensates a request, unless it is decided, its budget is spent, or its coupon is unknown. The dead letter of
    /// an undecided request is kept as HELD or PARKED.
    ///
    /// An error means that nothing was decided and nothing was kept.
    pub async fn compensate(self, compensation: Compensation) -> Result<CompensationOutcome, RepoError> {
        self.write("give up a request", move |pool| async move {
            let outcome = decide(&pool, &compensation).await?;
            let kept_as = match outcome {
                CompensationOutcome::Compensated { .. } => return Ok(outcome),
                CompensationOutcome::CompensatedBefore => DlqEventStatus::Duplicate,
                CompensationOutcome::Issued => DlqEventStatus::Recovered,
                CompensationOutcome::Held => DlqEventStatus::Held,
                CompensationOutcome::Parked => DlqEventStatus::Parked,
            };
            let alarm = matches!(outcome, CompensationOutcome::Held | CompensationOutcome::Parked);
            crash::pass("keep what is undecided", Moment::Before);
            let mut tx = pool.begin().await?;
            // Redis sold too much, whatever the budget allows.
            if compensation.remedy == Remedy::GiveBackAndSuspect && outcome == CompensationOutcome::Held {
                suspect(&mut tx, &compensation).await?;
            }
            let classification = classification(&compensation, kept_as, None, alarm);
            dlq_events::insert(&compensation.record, &classification).execute(&mut *tx).await?;
            tx.commit().await?;
            crash::pass("keep what is undecided", Moment::After);
            Ok(outcome)
        })
        .await
    }
}

async fn decide(pool: &Pool, compensation: &Compensation) -> Result<CompensationOutcome, sqlx::Error> {
    let event = &compensation.event;
    let mut tx = pool.begin().await?;
    let superseded_by = compensation.superseded_by();
    let decided: Option<i64> = sqlx::query_scalar(DECIDE)
        .bind(event.coupon_code.as_str())
        .bind(event.request_id.as_uuid())
        .bind(event.member_id.as_str())
        .bind(event.epoch)
        .bind(event.seq)
        .bind(from_unix_ms(event.reserved_at))
        .bind(compensation.now)
        .bind(superseded_by.map(RequestId::as_uuid))
        .fetch_optional(&mut *tx)
        .await?;
    // Issuing needs this lock too: while it cannot be had, nothing shows that the database refuses the event.
    let locked: Option<i64> =
        sqlx::query_scalar("SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE")
            .bind(event.coupon_code.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(coupon_id) = locked else { return Ok(CompensationOutcome::Parked) };
    if decided.is_none() {
        return decision_before(&mut tx, coupon_id, event.request_id.as_uuid()).await;
    }
    // Dropping the transaction rolls the decision back.
    if superseded_by.is_none() && !spend(&mut tx, coupon_id, compensation).await? {
        return Ok(CompensationOutcome::Held);
    }
    let (of, ids) = ((Decision::Compensated, event.epoch), [event.request_id.as_uuid()]);
    number_decisions(&mut tx, coupon_id, of, &ids, Some(compensation.now)).await?;
    if compensation.remedy == Remedy::GiveBackAndSuspect {
        suspect(&mut tx, compensation).await?;
    }
    let failed_issue_id = put_on_work_list(&mut tx, compensation).await?;
    // No alarm of what an operator has just decided; what a replay could not issue is news.
    let alarm = superseded_by.is_none() && compensation.by_hand().is_none();
    let classification = classification(compensation, DlqEventStatus::Compensated, Some(failed_issue_id), alarm);
    dlq_events::insert(&compensation.record, &classification).execute(&mut *tx).await?;
    if let Some(by) = &compensation.by {
        let actor = Actor { by: by.identity.clone(), now: compensation.now };
        let subject = format!("failed_coupon_issues/{failed_issue_id}");
        let change = serde_json::json!({ "to": "COMPENSATED", "request_id": event.request_id });
        append_audit(&mut tx, &actor, "compensate", &subject, change, &by.reason).await?;
    }
    tx.commit().await?;
    Ok(CompensationOutcome::Compensated { failed_issue_id })
}

async fn suspect(tx: &mut PgConnection, compensation: &Compensation) -> Result<(), sqlx::Error> {
    let code = &compensation.event.coupon_code;
    // A CLOSED campaign stays CLOSED: it sells nothing, and a rebuild has to leave it closed.
    let status: Option<(String, String)> = sqlx::query_as(
        "UPDATE coupons c SET status = CASE WHEN c.status = 'OPEN' THEN 'SUSPECT' ELSE c.status END, updated_at = $3
         FROM coupons before
         WHERE c.coupon_code = $1 AND c.epoch = $2 AND before.coupon_id = c.coupon_id RETURNING before.status, c.status",
    )
    .bind(code.as_str())
    .bind(compensation.event.epoch)
    .bind(compensation.now)
    .fetch_optional(&mut *tx)
    .await?;
    if status.is_some() {
        note_found_unsound(tx, code, compensation.now).await?;
    }
    let mut notice = Notice::suspect(code, compensation.now);
    match status {
        Some((before, now)) if before != now => {}
        Some((before, _)) if before == "CLOSED" => {
            notice.message =
                format!("redis and postgresql disagree about {code}, which is closed: redis sold more than there are");
        }
        _ => return Ok(()),
    }
    insert_notice(&notice).execute(tx).await.map(drop)
}

async fn decision_before(
    tx: &mut PgConnection,
    coupon_id: i64,
    request_id: Uuid,
) -> Result<CompensationOutcome, sqlx::Error> {
    let decision: String =
        sqlx::query_scalar("SELECT decision FROM coupon_issues WHERE coupon_id = $1 AND request_id = $2")
            .bind(coupon_id)
            .bind(request_id)
            .fetch_one(tx)
            .await?;
    Ok(if decision == "ISSUED" { CompensationOutcome::Issued } else { CompensationOutcome::CompensatedBefore })
}

async fn spend(tx: &mut PgConnection, coupon_id: i64, compensation: &Compensation) -> Result<bool, sqlx::Error> {
    let Some(budget) = compensation.budget else { return Ok(true) };
    let cause = compensation.failure.budget();
    let bucket: Option<(f64, DateTime<Utc>)> =
        sqlx::query_as("SELECT tokens, refilled_at FROM give_up_budgets WHERE coupon_id = $1 AND cause = $2")
            .bind(coupon_id)
            .bind(&cause)
            .fetch_optional(&mut *tx)
            .await?;
    let bucket = bucket.map(|(tokens, refilled_at)| Bucket { tokens, refilled_at });
    let Some(left) = budget.spend(bucket, compensation.now) else { return Ok(false) };
    let put = sqlx::query(PUT_BUCKET).bind(coupon_id).bind(cause).bind(left.tokens).bind(left.refilled_at);
    put.execute(tx).await?;
    Ok(true)
}

/// Inserts the row of the work list and returns its number. It is PENDING, but RESOLVED for a superseded request, for
/// one that an operator compensates by hand, and for a replay: the entry that it replays stays on the list instead.
async fn put_on_work_list(tx: &mut PgConnection, compensation: &Compensation) -> Result<i64, sqlx::Error> {
    let by_hand = compensation.by_hand();
    if let Some(by) = by_hand {
        let operator = Actor { by: by.identity.clone(), now: compensation.now };
        settle_by_hand(tx, &compensation.event, &operator, &by.reason).await?;
    }
    let replay_of = close_replay(tx, compensation.event.request_id, compensation.now).await?;
    let becomes = if by_hand.is_some() { "is settled with it" } else { "stays on the list" };
    let replayed =
        replay_of.map(|entry| format!("a replay of entry {}, which {becomes}", List::Requests.number(entry)));
    let superseded = compensation.superseded_by().map(|id| format!("the member holds a coupon by request {id}"));
    let reason = by_hand.map(|by| by.reason.clone());
    let reasons: Vec<String> = reason.into_iter().chain(replayed).chain(superseded).collect();
    let resolution = (!reasons.is_empty()).then(|| reasons.join("; "));
    sqlx::query_scalar(
        "INSERT INTO failed_coupon_issues
             (coupon_code, member_id, request_id, status, error_class, error_code, reason, failed_at, resolved_at, resolved_by, resolution,
              cause, replay_of, decided_by_hand)
         VALUES ($1, $2, $3, CASE WHEN $8::text IS NULL THEN 'PENDING' ELSE 'RESOLVED' END, $4, $5, $6, $7,
                 CASE WHEN $8 IS NULL THEN NULL ELSE $7 END, CASE WHEN $8 IS NULL THEN NULL ELSE coalesce($11, 'dlq-consumer') END, $8, $9, $10,
                 $11 IS NOT NULL)
         RETURNING id",
    )
    .bind(compensation.event.coupon_code.as_str())
    .bind(compensation.event.member_id.as_str())
    .bind(compensation.event.request_id.as_uuid())
    .bind(compensation.failure.class.as_str())
    .bind(&compensation.failure.code)
    .bind(&compensation.failure.message)
    .bind(compensation.now)
    .bind(resolution)
    .bind(compensation.failure.cause_of(compensation.event.member_id.as_str()))
    .bind(replay_of)
    .bind(by_hand.map(|by| by.identity.name.as_str()))
    .fetch_one(tx)
    .await
}

fn classification(
    compensation: &Compensation,
    status: DlqEventStatus,
    failed_issue_id: Option<i64>,
    alarm: bool,
) -> Classification<'_> {
    Classification {
        status,
        event: Some(&compensation.event),
        event_version: Some(compensation.event.version),
        failure: &compensation.failure,
        failed_issue_id,
        alarm,
        now: compensation.now,
    }
}
