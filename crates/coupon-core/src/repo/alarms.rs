//! Alarms: dead letters and notices that are unsent, by their error fingerprint (cause). The tables `alarm_causes`,
//! `alarm_notices` and `alarm_channels`. A cause is claimed, so that all replicas together send an alarm of it once.
//!
//! No transaction is open while an alarm is sent: a cause is claimed for a time, read, sent, and noted as sent. A crash
//! between the last two sends the alarm twice; none is lost.

mod all_clear;
mod channels;
mod group;
mod notices;
mod shown;

pub use channels::ChannelState;
pub use group::{AlarmGroup, UnsentDlqEvents};
pub(super) use notices::insert_notice;
pub use notices::{Notice, NoticeRow};
pub use shown::{OpenAlarm, ShownNotice, UnsentCause};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{AlarmRepository, RepoError};

/// Causes read by one claim.
const CLAIM_BATCH: i64 = 16;

/// A cause that only this process sends alarms of until the claim runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Cause.
    pub cause: String,
    /// Cause as the last alarm showed it, with members masked; empty before the first.
    pub shown: String,
    /// Time of the last alarm, and number of dead letters and notices sent until then; `None` before the first.
    pub last_sent: Option<(DateTime<Utc>, i64)>,
    /// Process that has the claim.
    pub by: String,
}

/// The terms of a claim.
#[derive(Clone, Debug)]
pub struct Claiming {
    /// Process that claims; any text that no other process uses.
    pub by: String,
    /// Time of the claim.
    pub now: DateTime<Utc>,
    /// Time after an alarm within which no other one of its cause is sent.
    pub quiet: TimeDelta,
    /// Duration of the claim, unless it is released earlier.
    pub lease: TimeDelta,
}

/// A part of a claimed cause that was sent.
#[derive(Clone, Debug, Default)]
pub struct SentAlarm {
    /// Numbers of its dead letters.
    pub dlq_events: Vec<i64>,
    /// Number of its notice.
    pub notice: Option<i64>,
    /// Cause as it was shown: masked and escaped.
    pub shown: String,
    /// Whether an all-clear is due when nothing of the cause waits.
    pub ends: bool,
}

#[derive(sqlx::FromRow)]
struct Claimed {
    alarm_key: String,
    shown: Option<String>,
    announced_at: DateTime<Utc>,
    announced_count: i64,
}

impl Claimed {
    fn by(self, by: String) -> Claim {
        Claim {
            cause: self.alarm_key,
            shown: self.shown.unwrap_or_default(),
            last_sent: (self.announced_count > 0).then_some((self.announced_at, self.announced_count)),
            by,
        }
    }
}

/// Jumps from cause to cause in the index, however many dead letters each has.
const DUE: &str = "
WITH RECURSIVE unsent (cause) AS (
    (SELECT cause FROM dlq_events WHERE NOT alarm_sent ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT (SELECT d.cause FROM dlq_events d WHERE NOT d.alarm_sent AND d.cause > unsent.cause ORDER BY d.cause LIMIT 1)
    FROM unsent WHERE unsent.cause IS NOT NULL
), causes AS (
    SELECT cause FROM unsent WHERE cause IS NOT NULL
    UNION ALL
    SELECT cause FROM alarm_notices WHERE NOT alarm_sent
)
SELECT causes.cause FROM causes LEFT JOIN alarm_causes alarm ON alarm.alarm_key = causes.cause
WHERE alarm.alarm_key IS NULL
   OR alarm.announced_at <= $1 AND (alarm.claimed_until IS NULL OR alarm.claimed_until <= $2)
LIMIT $3";

/// The condition is checked again under the row's lock: another process may have sent the alarm since.
const CLAIM: &str = "
UPDATE alarm_causes SET claimed_until = $4, claimed_by = $5
WHERE alarm_key = (
    SELECT alarm_key FROM alarm_causes
    WHERE alarm_key = ANY($1) AND announced_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $3)
    ORDER BY alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING alarm_key, shown, announced_at, announced_count";

impl AlarmRepository<'_> {
    /// Claims a cause of which an alarm is due; `None` when there is none.
    pub async fn claim(self, claiming: Claiming) -> Result<Option<Claim>, RepoError> {
        let quiet_since = claiming.now - claiming.quiet;
        let due = sqlx::query_scalar(DUE).bind(quiet_since).bind(claiming.now).bind(CLAIM_BATCH);
        let due: Vec<String> = self.read("look for alarms", due.fetch_all(&self.pool())).await?;
        if due.is_empty() {
            return Ok(None);
        }
        self.write("claim an alarm", move |pool| async move {
            let mut tx = pool.begin().await?;
            insert_causes(&mut tx, &due).await?;
            let claimed: Option<Claimed> = sqlx::query_as(CLAIM)
                .bind(&due)
                .bind(quiet_since)
                .bind(claiming.now)
                .bind(claiming.now + claiming.lease)
                .bind(&claiming.by)
                .fetch_optional(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(claimed.map(|claimed| claimed.by(claiming.by)))
        })
        .await
    }

    /// Notes a part of a claimed cause as sent, and ends the claim with the last part. What came after the cause was
    /// read stays unsent.
    pub async fn note_sent(
        self,
        claim: &Claim,
        sent: SentAlarm,
        is_last: bool,
        now: DateTime<Utc>,
    ) -> Result<(), RepoError> {
        let claim = claim.clone();
        self.write("note an alarm as told", move |pool| async move {
            let mut tx = pool.begin().await?;
            let dlq_events = sqlx::query("UPDATE dlq_events SET alarm_sent = true WHERE id = ANY($1) AND NOT alarm_sent")
                .bind(sent.dlq_events)
                .execute(&mut *tx)
                .await?;
            let notices = sqlx::query("UPDATE alarm_notices SET alarm_sent = true WHERE id = $1 AND NOT alarm_sent")
                .bind(sent.notice)
                .execute(&mut *tx)
                .await?;
            // Also when the claim has run out meanwhile: the alarm was sent all the same.
            sqlx::query(
                "UPDATE alarm_causes SET announced_at = greatest(announced_at, $2), announced_count = announced_count + $3,
                     all_clear_due = all_clear_due OR $6, shown = $7,
                     claimed_until = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_until END,
                     claimed_by = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_by END
                 WHERE alarm_key = $1",
            )
            .bind(&claim.cause)
            .bind(now)
            .bind(i64::try_from(dlq_events.rows_affected() + notices.rows_affected()).unwrap_or(i64::MAX))
            .bind(is_last)
            .bind(&claim.by)
            .bind(sent.ends)
            .bind(&sent.shown)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }

    /// Releases a cause whose alarm could not be sent; no process claims it before `until`.
    pub async fn release(self, claim: Claim, until: DateTime<Utc>) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE alarm_causes SET claimed_until = $3, claimed_by = NULL WHERE alarm_key = $1 AND claimed_by = $2",
        );
        self.execute("let an alarm go", update.bind(claim.cause).bind(claim.by).bind(until)).await.map(drop)
    }

    /// Counts the dead letters and notices that are unsent.
    pub async fn count_unsent(self) -> Result<i64, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent)
                  + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)",
        );
        self.read("count what is unsent", select.fetch_one(&self.pool())).await
    }

    /// Counts the unsent dead letters of causes whose last alarm was sent after `sent_after`: they wait for the next
    /// digest.
    pub async fn in_digest(self, sent_after: DateTime<Utc>) -> Result<i64, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT count(*) FROM dlq_events d JOIN alarm_causes alarm ON alarm.alarm_key = d.cause
             WHERE NOT d.alarm_sent AND alarm.announced_at > $1",
        )
        .bind(sent_after);
        self.read("count what waits for a digest", select.fetch_one(&self.pool())).await
    }
}

/// Inserts the missing rows of causes, in the order of the causes, so that two processes cannot deadlock.
async fn insert_causes(tx: &mut PgConnection, causes: &[String]) -> Result<(), sqlx::Error> {
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
