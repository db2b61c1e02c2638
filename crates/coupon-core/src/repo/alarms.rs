//! What nobody has been told of yet: dead letters and notices, claimed by their cause, so that replicas together tell of
//! a cause once in a while and not once each.
//!
//! No transaction is open while somebody is told: a cause is claimed for a time, read, told, and noted as told. A crash
//! between the last two tells twice, never not at all.

mod all_clear;
mod channels;
mod group;
mod notices;

pub use all_clear::Cleared;
pub use channels::ChannelState;
pub use group::{AlarmGroup, Letters, Sample};
pub(super) use notices::insert_notice;
pub use notices::{Notice, NoticeRow};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{AlarmRepository, RepoError};

/// Causes looked at in one go.
const CAUSES: i64 = 16;

/// A cause that this process tells of, and no other until the claim has run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is told of.
    pub cause: String,
    /// When it was last told, and how many there have been in all; `None` for a cause that is told for the first time.
    pub told: Option<(DateTime<Utc>, i64)>,
    /// Who has it.
    pub by: String,
}

/// What a claim is taken by.
#[derive(Clone, Debug)]
pub struct Claiming {
    /// Who asks; any text that no other process uses.
    pub by: String,
    /// When.
    pub now: DateTime<Utc>,
    /// A cause that was told within this time waits.
    pub quiet: TimeDelta,
    /// How long the claim holds if nothing more is heard of its owner.
    pub lease: TimeDelta,
}

/// What was told of a claimed cause.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Its dead letters.
    pub letters: Vec<i64>,
    /// Its notice.
    pub notice: Option<i64>,
    /// The cause as it was shown: masked and escaped.
    pub shown: String,
    /// Whether an all-clear follows when nothing of it waits any more.
    pub ends: bool,
}

#[derive(sqlx::FromRow)]
struct Claimed {
    alarm_key: String,
    announced_at: DateTime<Utc>,
    announced_count: i64,
}

/// Jumps from cause to cause in the index, however many letters each has.
const DUE: &str = "
WITH RECURSIVE untold (cause) AS (
    (SELECT cause FROM dlq_events WHERE NOT alarm_sent ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT (SELECT letter.cause FROM dlq_events letter
            WHERE NOT letter.alarm_sent AND letter.cause > untold.cause ORDER BY letter.cause LIMIT 1)
    FROM untold WHERE untold.cause IS NOT NULL
), causes AS (
    SELECT cause FROM untold WHERE cause IS NOT NULL
    UNION ALL
    SELECT cause FROM alarm_notices WHERE NOT alarm_sent
)
SELECT causes.cause FROM causes LEFT JOIN alarm_causes alarm ON alarm.alarm_key = causes.cause
WHERE alarm.alarm_key IS NULL
   OR alarm.announced_at <= $1 AND (alarm.claimed_until IS NULL OR alarm.claimed_until <= $2)
LIMIT $3";

/// The guard is asked again under the row's lock: another process may have told of it since.
const CLAIM: &str = "
UPDATE alarm_causes SET claimed_until = $4, claimed_by = $5
WHERE alarm_key = (
    SELECT alarm_key FROM alarm_causes
    WHERE alarm_key = ANY($1) AND announced_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $3)
    ORDER BY alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING alarm_key, announced_at, announced_count";

impl AlarmRepository<'_> {
    /// Claims a cause of which something is to be told now; `None` when there is none.
    pub async fn claim(self, claiming: Claiming) -> Result<Option<Claim>, RepoError> {
        let pool = self.pool();
        let quiet_since = claiming.now - claiming.quiet;
        let due = sqlx::query_scalar(DUE).bind(quiet_since).bind(claiming.now).bind(CAUSES).fetch_all(&pool);
        let due: Vec<String> = self.read("look for alarms", due).await?;
        if due.is_empty() {
            return Ok(None);
        }
        self.write("claim an alarm", move |pool| async move {
            let mut tx = pool.begin().await?;
            make_known(&mut tx, &due).await?;
            let claimed: Option<Claimed> = sqlx::query_as(CLAIM)
                .bind(&due)
                .bind(quiet_since)
                .bind(claiming.now)
                .bind(claiming.now + claiming.lease)
                .bind(&claiming.by)
                .fetch_optional(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(claimed.map(|row| Claim {
                cause: row.alarm_key,
                told: (row.announced_count > 0).then_some((row.announced_at, row.announced_count)),
                by: claiming.by,
            }))
        })
        .await
    }

    /// Notes some of what was told, and with `is_last` ends the claim. What came after it was read stays untold.
    pub async fn note_sent(
        self,
        claim: &Claim,
        told: Told,
        is_last: bool,
        now: DateTime<Utc>,
    ) -> Result<(), RepoError> {
        let claim = claim.clone();
        self.write("note an alarm as told", move |pool| async move {
            let mut tx = pool.begin().await?;
            let letters = sqlx::query("UPDATE dlq_events SET alarm_sent = true WHERE id = ANY($1) AND NOT alarm_sent")
                .bind(told.letters)
                .execute(&mut *tx)
                .await?;
            let notices = sqlx::query("UPDATE alarm_notices SET alarm_sent = true WHERE id = $1 AND NOT alarm_sent")
                .bind(told.notice)
                .execute(&mut *tx)
                .await?;
            // Also when the claim has run out meanwhile: it was told all the same.
            sqlx::query(
                "UPDATE alarm_causes SET announced_at = greatest(announced_at, $2), announced_count = announced_count + $3,
                     all_clear_due = all_clear_due OR $6, shown = $7,
                     claimed_until = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_until END,
                     claimed_by = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_by END
                 WHERE alarm_key = $1",
            )
            .bind(&claim.cause)
            .bind(now)
            .bind(i64::try_from(letters.rows_affected() + notices.rows_affected()).unwrap_or(i64::MAX))
            .bind(is_last)
            .bind(&claim.by)
            .bind(told.ends)
            .bind(&told.shown)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }

    /// Lets a cause go that could not be told: nobody tries before this moment.
    pub async fn release(self, claim: Claim, until: DateTime<Utc>) -> Result<(), RepoError> {
        self.write("let an alarm go", move |pool| async move {
            sqlx::query(
                "UPDATE alarm_causes SET claimed_until = $3, claimed_by = NULL WHERE alarm_key = $1 AND claimed_by = $2",
            )
            .bind(&claim.cause)
            .bind(&claim.by)
            .bind(until)
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    /// Dead letters and notices that nobody has been told of.
    pub async fn count_unsent(self) -> Result<i64, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent)
                  + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)",
        )
        .fetch_one(&pool);
        self.read("count what is untold", question).await
    }

    /// Of these, the dead letters of causes that were told after `told_after`: they wait for the next digest, and nothing
    /// is wrong.
    pub async fn in_digest(self, told_after: DateTime<Utc>) -> Result<i64, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_scalar(
            "SELECT count(*) FROM dlq_events letter JOIN alarm_causes alarm ON alarm.alarm_key = letter.cause
             WHERE NOT letter.alarm_sent AND alarm.announced_at > $1",
        )
        .bind(told_after)
        .fetch_one(&pool);
        self.read("count what waits for a digest", question).await
    }
}

/// Gives each cause its row. In the order of the causes, so that two processes do not wait for each other.
async fn make_known(tx: &mut PgConnection, causes: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO alarm_causes (alarm_key, announced_at, announced_count)
         SELECT cause, to_timestamp(0), 0 FROM unnest($1::text[]) AS causes (cause) ORDER BY cause
         ON CONFLICT (alarm_key) DO NOTHING",
    )
    .bind(causes)
    .execute(tx)
    .await
    .map(drop)
}
