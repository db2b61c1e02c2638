//! Giving up on a request: one transaction that decides it, puts it on the work list and keeps the dead letter.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database, RepoError,
    alarms::{Notice, insert_notice},
    coupons::{Actor, append_audit},
    dead_letters::{self, DlqEventStatus, NewDlqEvent, Verdict},
    pool::Pool,
    rebuilds::note_found_unsound,
    replays::{close_replay, settle_by_hand},
    settling::List,
};
use crate::{
    budget::{Bucket, Budget},
    clock::from_unix_ms,
    crash::{self, Moment},
    event::CouponIssued,
    failure::Failure,
    ids::RequestId,
};

/// A request to be given up.
#[derive(Clone, Debug)]
pub struct Compensation {
    /// The event that could not be written.
    pub event: CouponIssued,
    /// Why.
    pub failure: Failure,
    /// The record it came in.
    pub letter: NewDlqEvent,
    /// What is to happen to the member's mark.
    pub remedy: Remedy,
    /// How many may be given up; `None`: however many there are, because no deployment can be at fault.
    pub budget: Option<Budget>,
    /// When.
    pub now: DateTime<Utc>,
    /// Who decides it and why, if it is an operator: for the audit.
    pub by: Option<Operator>,
}

/// An operator who has a request given up.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Name for the audit.
    pub name: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Whether the decision itself is the operator's word: the entry is RESOLVED with that reason, and no replay by a filter
    /// takes it. Otherwise a replay has found that it can only be decided so.
    pub is_by_hand: bool,
}

impl Compensation {
    fn by_hand(&self) -> Option<&Operator> {
        self.by.as_ref().filter(|by| by.is_by_hand)
    }
}

/// What giving up means for the coupon's data in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The unit goes back.
    GiveBack,
    /// The unit goes back, and the campaign becomes SUSPECT: Redis sold more than PostgreSQL has.
    GiveBackAndSuspect,
    /// The member holds a coupon by this other request: the mark goes to it, nothing is freed, nobody has to look.
    Supersede(RequestId),
}

/// What became of giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompensationOutcome {
    /// Decided COMPENSATED by this call.
    Compensated {
        /// Row of the work list.
        failed_issue_id: i64,
    },
    /// Was decided COMPENSATED before.
    CompensatedBefore,
    /// Was in fact issued: nothing to give up.
    Issued,
    /// The budget is spent; undecided, kept as HELD.
    Held,
    /// PostgreSQL knows no such coupon; undecided, kept as PARKED.
    Parked,
}

/// The decision comes before the lock on the coupon's row, as it does when a batch is issued: the other way round,
/// issuing and giving up the same request at once would wait for each other. If either cannot be had, the
/// transaction ends and nothing has been decided.
const DECIDE: &str = "
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, decided_at, superseded_by)
SELECT coupon_id, $2, $3, 'COMPENSATED', $4, $5, $6, $7, $8 FROM coupons WHERE coupon_code = $1
ON CONFLICT (coupon_id, request_id) DO NOTHING
RETURNING coupon_id";

/// The lock on the coupon's row lets one give-up of a coupon at its buckets at a time.
const PUT_BUCKET: &str = "
INSERT INTO give_up_budgets (coupon_id, cause, tokens, refilled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (coupon_id, cause) DO UPDATE SET tokens = excluded.tokens, refilled_at = excluded.refilled_at";

impl Database {
    /// Gives a request up, unless it has been decided, nothing may be given up now, or its coupon is unknown; what
    /// could not be decided is kept as HELD or PARKED.
    ///
    /// An error means that nothing was decided and nothing kept.
    pub async fn give_up(&self, give_up: Compensation) -> Result<CompensationOutcome, RepoError> {
        self.detached("give up a request", move |pool| async move {
            let given_up = decide(&pool, &give_up).await?;
            let kept_as = match given_up {
                CompensationOutcome::Compensated { .. } => return Ok(given_up),
                CompensationOutcome::CompensatedBefore => DlqEventStatus::Duplicate,
                CompensationOutcome::Issued => DlqEventStatus::Recovered,
                CompensationOutcome::Held => DlqEventStatus::Held,
                CompensationOutcome::Parked => DlqEventStatus::Parked,
            };
            let alarm = matches!(given_up, CompensationOutcome::Held | CompensationOutcome::Parked);
            crash::pass("keep what is undecided", Moment::Before);
            let mut tx = pool.begin().await?;
            // That Redis sold too much is true whoever pays for it.
            if give_up.remedy == Remedy::GiveBackAndSuspect && given_up == CompensationOutcome::Held {
                suspect(&mut tx, &give_up).await?;
            }
            dead_letters::insert(&mut tx, &give_up.letter, &verdict(&give_up, kept_as, None, alarm)).await?;
            tx.commit().await?;
            crash::pass("keep what is undecided", Moment::After);
            Ok(given_up)
        })
        .await
    }
}

async fn decide(pool: &Pool, give_up: &Compensation) -> Result<CompensationOutcome, sqlx::Error> {
    let event = &give_up.event;
    let mut tx = pool.begin().await?;
    let superseded_by = match give_up.remedy {
        Remedy::Supersede(id) => Some(id.as_uuid()),
        Remedy::GiveBack | Remedy::GiveBackAndSuspect => None,
    };
    let decided: Option<i64> = sqlx::query_scalar(DECIDE)
        .bind(event.coupon_code.as_str())
        .bind(event.request_id.as_uuid())
        .bind(event.member_id.as_str())
        .bind(event.epoch)
        .bind(event.seq)
        .bind(from_unix_ms(event.reserved_at))
        .bind(give_up.now)
        .bind(superseded_by)
        .fetch_optional(&mut *tx)
        .await?;
    // The very lock that issuing needs: while it cannot be had, "the database refused" is not known to be true.
    let locked: Option<i64> =
        sqlx::query_scalar("SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE")
            .bind(event.coupon_code.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(coupon_id) = locked else { return Ok(CompensationOutcome::Parked) };
    if decided.is_none() {
        return decision_before(&mut tx, coupon_id, event.request_id.as_uuid()).await;
    }
    // Dropping the transaction takes the decision back.
    if superseded_by.is_none() && !spend(&mut tx, coupon_id, give_up).await? {
        return Ok(CompensationOutcome::Held);
    }
    if give_up.remedy == Remedy::GiveBackAndSuspect {
        suspect(&mut tx, give_up).await?;
    }
    let failed_issue_id = put_on_work_list(&mut tx, give_up).await?;
    // Nobody is told of what an operator has just decided; what a replay found it could not issue is news.
    let alarm = superseded_by.is_none() && give_up.by_hand().is_none();
    let verdict = verdict(give_up, DlqEventStatus::Compensated, Some(failed_issue_id), alarm);
    dead_letters::insert(&mut tx, &give_up.letter, &verdict).await?;
    if let Some(Operator { name, reason, .. }) = &give_up.by {
        let actor = Actor { name: name.clone(), now: give_up.now };
        let subject = format!("failed_coupon_issues/{failed_issue_id}");
        let change = serde_json::json!({ "to": "COMPENSATED", "request_id": event.request_id });
        append_audit(&mut tx, &actor, "compensate", &subject, change, reason).await?;
    }
    tx.commit().await?;
    Ok(CompensationOutcome::Compensated { failed_issue_id })
}

async fn suspect(tx: &mut PgConnection, give_up: &Compensation) -> Result<(), sqlx::Error> {
    let code = &give_up.event.coupon_code;
    // A campaign that somebody closed stays CLOSED: it sells nothing, and its status says what it goes back to.
    let status: Option<(String, String)> = sqlx::query_as(
        "UPDATE coupons c SET status = CASE WHEN c.status = 'OPEN' THEN 'SUSPECT' ELSE c.status END, updated_at = $3
         FROM coupons before
         WHERE c.coupon_code = $1 AND c.epoch = $2 AND before.coupon_id = c.coupon_id RETURNING before.status, c.status",
    )
    .bind(code.as_str())
    .bind(give_up.event.epoch)
    .bind(give_up.now)
    .fetch_optional(&mut *tx)
    .await?;
    if status.is_some() {
        note_found_unsound(tx, code, give_up.now).await?;
    }
    let mut notice = Notice::suspect(code, give_up.now);
    match status {
        Some((before, now)) if before != now => {}
        Some((before, _)) if before == "CLOSED" => {
            notice.message =
                format!("redis and postgresql disagree about {code}, which is closed: redis sold more than there are");
        }
        _ => return Ok(()),
    }
    insert_notice(tx, &notice).await
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

async fn spend(tx: &mut PgConnection, coupon_id: i64, give_up: &Compensation) -> Result<bool, sqlx::Error> {
    let Some(budget) = give_up.budget else { return Ok(true) };
    let cause = give_up.failure.budget();
    let bucket: Option<(f64, DateTime<Utc>)> =
        sqlx::query_as("SELECT tokens, refilled_at FROM give_up_budgets WHERE coupon_id = $1 AND cause = $2")
            .bind(coupon_id)
            .bind(&cause)
            .fetch_optional(&mut *tx)
            .await?;
    let bucket = bucket.map(|(tokens, refilled_at)| Bucket { tokens, refilled_at });
    let Some(left) = budget.spend(bucket, give_up.now) else { return Ok(false) };
    let put = sqlx::query(PUT_BUCKET).bind(coupon_id).bind(cause).bind(left.tokens).bind(left.refilled_at);
    put.execute(tx).await?;
    Ok(true)
}

/// PENDING; a superseded request needs nobody and is born RESOLVED, and so is what an operator has decided by hand, and a
/// replay: the entry that it replays stays on the list, unless an operator decides, and the replay is closed here.
async fn put_on_work_list(tx: &mut PgConnection, give_up: &Compensation) -> Result<i64, sqlx::Error> {
    let by_hand = give_up.by_hand();
    if let Some(by) = by_hand {
        settle_by_hand(tx, give_up, by).await?;
    }
    let replay_of = close_replay(tx, give_up).await?;
    let becomes = if by_hand.is_some() { "is settled with it" } else { "stays on the list" };
    let replayed =
        replay_of.map(|entry| format!("a replay of entry {}, which {becomes}", List::Requests.number(entry)));
    let superseded = match give_up.remedy {
        Remedy::Supersede(id) => Some(format!("the member holds a coupon by request {id}")),
        Remedy::GiveBack | Remedy::GiveBackAndSuspect => None,
    };
    let word = by_hand.map(|by| by.reason.clone());
    let why: Vec<String> = word.into_iter().chain(replayed).chain(superseded).collect();
    let resolution = (!why.is_empty()).then(|| why.join("; "));
    sqlx::query_scalar(
        "INSERT INTO failed_coupon_issues
             (coupon_code, member_id, request_id, status, error_class, error_code, reason, failed_at, resolved_at, resolved_by, resolution,
              cause, replay_of, decided_by_hand)
         VALUES ($1, $2, $3, CASE WHEN $8::text IS NULL THEN 'PENDING' ELSE 'RESOLVED' END, $4, $5, $6, $7,
                 CASE WHEN $8 IS NULL THEN NULL ELSE $7 END, CASE WHEN $8 IS NULL THEN NULL ELSE coalesce($11, 'dlq-consumer') END, $8, $9, $10,
                 $11 IS NOT NULL)
         RETURNING id",
    )
    .bind(give_up.event.coupon_code.as_str())
    .bind(give_up.event.member_id.as_str())
    .bind(give_up.event.request_id.as_uuid())
    .bind(give_up.failure.class.as_str())
    .bind(&give_up.failure.code)
    .bind(&give_up.failure.message)
    .bind(give_up.now)
    .bind(resolution)
    .bind(give_up.failure.cause())
    .bind(replay_of)
    .bind(by_hand.map(|by| by.name.as_str()))
    .fetch_one(tx)
    .await
}

fn verdict(give_up: &Compensation, status: DlqEventStatus, failed_issue_id: Option<i64>, alarm: bool) -> Verdict<'_> {
    Verdict {
        status,
        event: Some(&give_up.event),
        event_version: Some(give_up.event.version),
        failure: &give_up.failure,
        failed_issue_id,
        alarm,
        now: give_up.now,
    }
}
