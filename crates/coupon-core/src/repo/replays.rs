//! Replays of compensated requests: the link between a row of the work list and the new request that is to replace it.
//!
//! The link is committed before Redis is asked, and what became of it afterwards; so a process may end anywhere, and
//! the same request id is asked for again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Arguments, PgConnection};
use uuid::Uuid;

use super::{
    Database, RepoError,
    filter::{FAILED_ISSUE_FILTER, Filter},
    replay_jobs::SILENT_AFTER,
};
use crate::{
    ids::{CouponCode, MemberId, RequestId},
    words::words,
};

mod settle;

pub(super) use settle::{close_replay, settle_by_hand};

words! {
    /// Why a row of the work list cannot be replayed now.
    pub enum Refusal as "reason against a replay" {
        /// It is RESOLVED or IGNORED.
        NotPending = "NOT_PENDING",
        /// An operator has decided it by hand: only a replay that names its number takes it.
        DecidedByHand = "DECIDED_BY_HAND",
        /// PostgreSQL knows no such coupon.
        CouponUnknown = "COUPON_UNKNOWN",
        /// The campaign was ended for good.
        Archived = "ARCHIVED",
        /// The campaign is being opened or rebuilt.
        NotReady = "NOT_READY",
        /// The campaign is closed or its time is over, and that was to count.
        CampaignOver = "CAMPAIGN_OVER",
        /// The member has a coupon by another request.
        MemberHoldsOne = "MEMBER_HOLDS_ONE",
        /// Its unit has not gone back yet.
        NotGivenBack = "NOT_GIVEN_BACK",
        /// A replay of it is under way.
        UnderWay = "UNDER_WAY",
        /// It has been replayed three times.
        TooOften = "TOO_OFTEN",
    }
}

words! {
    /// What became of a replay.
    pub enum ReplayOutcome as "outcome of a replay" {
        /// It holds a unit and goes the way of every request.
        Reserved = "RESERVED",
        /// The member holds a unit by another request.
        HoldsOne = "HOLDS_ONE",
        /// Every coupon is held by somebody.
        SoldOut = "SOLD_OUT",
        /// The campaign is closed or its time is over.
        Closed = "CLOSED",
        /// The gate is closed for a rebuild, or the outbox is full.
        NotReady = "NOT_READY",
        /// The coupon is issued.
        Issued = "ISSUED",
        /// It was given up like the one before.
        Compensated = "COMPENSATED",
    }
}

/// How many rows a filter means, and how many of them can be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Rows that can be.
    pub eligible: i64,
    /// Rows that cannot, by reason.
    pub refused: BTreeMap<String, i64>,
    /// Highest number among them all; 0: there is none.
    pub up_to: i64,
}

/// What became of the rows of one step of a job that Redis has reserved units for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StepOutcomes {
    /// Not decided yet.
    pub open: i64,
    /// Decided COMPENSATED.
    pub compensated: i64,
}

impl Plan {
    /// Rows that a replay comes to, whether they can be replayed or not.
    pub fn chosen(&self) -> i64 {
        let is_passed_over = |reason: &str| reason == Refusal::DecidedByHand.as_str();
        let refused = self.refused.iter().filter(|(reason, _)| !is_passed_over(reason));
        self.eligible + refused.map(|(_, count)| count).sum::<i64>()
    }

    /// Of each verdict (`None`: nothing stands against it), how many rows, and the highest number among them.
    pub(super) fn of(verdicts: Vec<(Option<String>, i64, i64)>) -> Self {
        let mut plan = Self::default();
        for (refusal, count, highest) in verdicts {
            plan.up_to = plan.up_to.max(highest);
            match refusal {
                None => plan.eligible = count,
                Some(reason) => {
                    plan.refused.insert(reason, count);
                }
            }
        }
        plan
    }
}

/// A replay to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Link {
    /// The new request.
    #[sqlx(try_from = "Uuid")]
    pub request_id: RequestId,
    /// The row it replays.
    pub failed_issue_id: i64,
    /// The campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Whose request it is.
    #[sqlx(try_from = "String")]
    pub member_id: MemberId,
    /// Whether the campaign's window counts for nothing.
    pub after_close: bool,
}

/// A replay that its job has begun and nobody asks for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Abandoned {
    /// The replay.
    #[sqlx(flatten)]
    pub link: Link,
    /// Whether its job can be resumed and would then ask for it.
    pub is_resumable: bool,
}

/// What became of one row of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// The link is committed: ask Redis.
    Link(Link),
    /// It cannot be replayed.
    Refused(Refusal),
    /// The job does not run any more.
    Stopped,
}

/// What stands against a replay of the row `f`; $10: the window counts for nothing, $11: now. The order is that of
/// what an operator can do least about.
const VERDICT: &str = "
    CASE WHEN f.status <> 'PENDING' THEN 'NOT_PENDING'
         WHEN f.decided_by_hand AND $1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'
         WHEN c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
         WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
         WHEN EXISTS (SELECT FROM coupon_issues h WHERE h.coupon_id = c.coupon_id AND h.member_id = f.member_id
                      AND h.decision = 'ISSUED') THEN 'MEMBER_HOLDS_ONE'
         WHEN EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IN ('RESERVED', 'HOLDS_ONE'))
             THEN 'UNDER_WAY'
         WHEN f.replay_count >= 3 AND NOT EXISTS
             (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IS NULL) THEN 'TOO_OFTEN'
         WHEN c.status NOT IN ('OPEN', 'CLOSED') THEN 'NOT_READY'
         WHEN NOT $10 AND (c.status = 'CLOSED' OR c.closes_at <= $11) THEN 'CAMPAIGN_OVER'
         WHEN i.given_back_at IS NULL THEN 'NOT_GIVEN_BACK'
    END AS refusal
    FROM failed_coupon_issues f
    LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
    LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id";

/// What an operator has compensated by hand is taken by its number ($1) alone, never because a filter happens to mean it:
/// the member has been paid, or told.
const NOT_BY_HAND: &str = "($1::bigint[] <> '{}' OR NOT f.decided_by_hand)";

impl Database {
    /// Counts what a filter means. Changes nothing.
    pub async fn plan_replay(&self, filter: &Filter, after_close: bool, now: DateTime<Utc>) -> Result<Plan, RepoError> {
        let pool = self.pool();
        let sql = format!(
            "SELECT refusal, count(*), max(id) FROM (SELECT f.id, {VERDICT} WHERE {FAILED_ISSUE_FILTER}) AS judged GROUP BY refusal"
        );
        let question = async {
            let mut arguments = filter.arguments()?;
            arguments.add(after_close).map_err(sqlx::Error::Encode)?;
            arguments.add(now).map_err(sqlx::Error::Encode)?;
            sqlx::query_as_with(sqlx::AssertSqlSafe(sql), arguments).fetch_all(&pool).await
        };
        let rows: Vec<(Option<String>, i64, i64)> = self.patient("plan a replay", question).await?;
        Ok(Plan::of(rows))
    }

    /// The numbers of the next rows of a filter after `after`, lowest first.
    pub async fn rows_to_replay(&self, filter: &Filter, after: i64, limit: i64) -> Result<Vec<i64>, RepoError> {
        let pool = self.pool();
        let sql = format!(
            "SELECT f.id FROM failed_coupon_issues f WHERE {FAILED_ISSUE_FILTER} AND {NOT_BY_HAND} AND f.id > $10
             ORDER BY f.id LIMIT $11"
        );
        let question = async {
            let mut arguments = filter.arguments()?;
            arguments.add(after).map_err(sqlx::Error::Encode)?;
            arguments.add(limit).map_err(sqlx::Error::Encode)?;
            sqlx::query_scalar_with(sqlx::AssertSqlSafe(sql), arguments).fetch_all(&pool).await
        };
        self.bounded("list what to replay", question).await
    }

    /// Links a row to `request_id`, or to the id it was linked to before without an answer; notes in the same
    /// transaction that the job has come this far; one that `halts` stays before a row that is `NOT_READY`.
    pub async fn link_replay(
        &self,
        (job_id, halts): (i64, bool),
        row: i64,
        request_id: RequestId,
        after_close: bool,
        now: DateTime<Utc>,
    ) -> Result<Linked, RepoError> {
        self.detached("link a replay", move |pool| async move {
            let mut tx = pool.begin().await?;
            let refusal = judge(&mut tx, row, after_close, now).await?;
            let stays = halts && refusal == Some(Refusal::NotReady);
            if !stays && !advance(&mut tx, job_id, row, refusal.map(Refusal::as_str), now).await? {
                return Ok(Linked::Stopped);
            }
            if let Some(refusal) = refusal {
                tx.commit().await?;
                return Ok(Linked::Refused(refusal));
            }
            let link = link(&mut tx, (job_id, row), request_id, after_close, now).await?;
            tx.commit().await?;
            Ok(Linked::Link(link))
        })
        .await
    }

    /// Whether a row of the work list is PENDING: nobody has settled it by other means since it was linked.
    pub async fn is_pending(&self, row: i64) -> Result<bool, RepoError> {
        let pool = self.pool();
        let question =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM failed_coupon_issues WHERE id = $1 AND status = 'PENDING')")
                .bind(row)
                .fetch_one(&pool);
        self.bounded("look whether an entry waits", question).await
    }

    /// The links of a job that Redis has not answered.
    pub async fn unanswered(&self, job_id: i64) -> Result<Vec<Link>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(UNANSWERED_OF).bind(job_id).fetch_all(&pool);
        self.bounded("list unanswered replays", question).await
    }

    /// Links that Redis has not answered and that nobody asks for: no process has worked on their job for [`SILENT_AFTER`],
    /// whatever its status. The oldest rows of the work list first.
    pub async fn abandoned(&self, limit: i64) -> Result<Vec<Abandoned>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(ABANDONED).bind(limit).bind(SILENT_AFTER.as_secs_f64()).fetch_all(&pool);
        self.bounded("list abandoned replays", question).await
    }

    /// What became of the rows of a job behind `after` that Redis has reserved units for. Those before it belong to earlier
    /// steps and say nothing about this one.
    pub async fn step_outcomes(&self, job_id: i64, after: i64) -> Result<StepOutcomes, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')) AS open,
                    count(*) FILTER (WHERE outcome = 'COMPENSATED') AS compensated
             FROM replays WHERE job_id = $1 AND failed_issue_id > $2",
        )
        .bind(job_id)
        .bind(after)
        .fetch_one(&pool);
        self.bounded("count what became of a step", question).await
    }
}

const UNANSWERED_OF: &str = "
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close
FROM replays r
WHERE r.job_id = $1 AND r.outcome IS NULL ORDER BY r.failed_issue_id";

const ABANDONED: &str = "
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close,
       coalesce(j.status IN ('RUNNING', 'PAUSED', 'STOPPED'), false) AS is_resumable
FROM replays r
LEFT JOIN replay_jobs j ON j.job_id = r.job_id
WHERE r.outcome IS NULL
  AND (j.job_id IS NULL OR coalesce(j.heartbeat_at, j.updated_at) < now() - $2 * interval '1 second')
ORDER BY r.failed_issue_id LIMIT $1";

/// What stands against a replay of this row; it is locked from here on.
async fn judge(
    tx: &mut PgConnection,
    row: i64,
    after_close: bool,
    now: DateTime<Utc>,
) -> Result<Option<Refusal>, sqlx::Error> {
    let mut arguments = Filter { ids: vec![row], ..Filter::default() }.arguments()?;
    arguments.add(after_close).map_err(sqlx::Error::Encode)?;
    arguments.add(now).map_err(sqlx::Error::Encode)?;
    // First the lock, then the verdict: what somebody else commits between the two must be seen.
    sqlx::query("SELECT id FROM failed_coupon_issues WHERE id = $1 FOR UPDATE").bind(row).execute(&mut *tx).await?;
    let sql = ["SELECT", VERDICT, "WHERE", FAILED_ISSUE_FILTER].join(" ");
    let word: Option<Option<String>> =
        sqlx::query_scalar_with(sqlx::AssertSqlSafe(sql), arguments).fetch_optional(&mut *tx).await?;
    match word {
        // Deleted meanwhile.
        None => Ok(Some(Refusal::NotPending)),
        Some(None) => Ok(None),
        Some(Some(word)) => word.parse().map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error))),
    }
}

/// Notes that a job has come to this row; `false` when it does not run any more.
pub(super) async fn advance(
    tx: &mut PgConnection,
    job_id: i64,
    row: i64,
    refused: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let advanced = sqlx::query(
        "UPDATE replay_jobs
         SET cursor_id = greatest(cursor_id, $2), updated_at = $4, begun = begun + 1,
             refused = CASE WHEN $3::text IS NULL THEN refused
                            ELSE jsonb_set(refused, ARRAY[$3], to_jsonb(coalesce((refused ->> $3)::bigint, 0) + 1)) END
         WHERE job_id = $1 AND status = 'RUNNING'",
    )
    .bind(job_id)
    .bind(row)
    .bind(refused)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(advanced.rows_affected() == 1)
}

async fn link(
    tx: &mut PgConnection,
    (job_id, row): (i64, i64),
    request_id: RequestId,
    after_close: bool,
    now: DateTime<Utc>,
) -> Result<Link, sqlx::Error> {
    const FIELDS: &str = "request_id, failed_issue_id, coupon_code, member_id, after_close";
    // Linked before without an answer: the same id is asked for again, so that one of the two cannot become a second
    // coupon.
    let before = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "UPDATE replays SET job_id = $2, after_close = $3, updated_at = $4
         WHERE failed_issue_id = $1 AND outcome IS NULL RETURNING {FIELDS}"
    )));
    let before: Option<Link> =
        before.bind(row).bind(job_id).bind(after_close).bind(now).fetch_optional(&mut *tx).await?;
    if let Some(link) = before {
        return Ok(link);
    }
    sqlx::query("UPDATE failed_coupon_issues SET replay_count = replay_count + 1 WHERE id = $1")
        .bind(row)
        .execute(&mut *tx)
        .await?;
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, after_close, created_at, updated_at)
         SELECT $1, id, coupon_code, member_id, $3, $4, $5, $5 FROM failed_coupon_issues WHERE id = $2
         RETURNING {FIELDS}"
    )))
    .bind(request_id.as_uuid())
    .bind(row)
    .bind(job_id)
    .bind(after_close)
    .bind(now)
    .fetch_one(tx)
    .await
}
