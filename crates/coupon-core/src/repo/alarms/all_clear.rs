//! All-clears: a cause that somebody was told of, and of which nothing waits any more.

use chrono::{DateTime, Utc};

use super::{Claim, Claiming};
use crate::repo::{AlarmRepository, RepoError};

/// A cause whose work is done, claimed by this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The claim.
    pub claim: Claim,
    /// The cause as it was last told, members masked.
    pub shown: String,
    /// When it was last told.
    pub told_at: DateTime<Utc>,
    /// Dead letters and notices that were told of in all.
    pub told_count: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    alarm_key: String,
    shown: Option<String>,
    announced_at: DateTime<Utc>,
    announced_count: i64,
}

/// Nothing of the cause waits: no dead letter is undecided, no entry PENDING, nothing untold, its campaign neither SUSPECT
/// nor being rebuilt, its drift gone by a later comparison that could judge everything. Data that Redis has lost is back once
/// a rebuild that moved the epoch on has ended after the loss was noticed: the status of a CLOSED campaign says nothing of it,
/// and a rebuild that was given up fills nothing. Not before a digest's time has passed since it was told, so that a cause
/// which comes and goes tells of neither more often than that.
const IS_DONE: &str = "
    a.all_clear_due AND a.announced_at <= $1 AND (a.claimed_until IS NULL OR a.claimed_until <= $2)
    AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND d.status IN ('HELD', 'PARKED'))
    AND NOT EXISTS (SELECT FROM failed_coupon_issues f WHERE f.cause = a.alarm_key AND f.status = 'PENDING')
    AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND NOT d.alarm_sent)
    AND NOT EXISTS (SELECT FROM alarm_notices n WHERE n.cause = a.alarm_key AND NOT n.alarm_sent)
    AND NOT ((a.alarm_key LIKE 'SUSPECT %' OR a.alarm_key LIKE 'LOST %') AND (EXISTS
             (SELECT FROM coupons c WHERE c.coupon_code = split_part(a.alarm_key, ' ', 2) AND c.status IN ('SUSPECT', 'OPENING'))
             OR EXISTS (SELECT FROM rebuilds r WHERE r.coupon_code = split_part(a.alarm_key, ' ', 2) AND r.step <> 'DONE')))
    AND NOT (a.alarm_key LIKE 'LOST %' AND EXISTS (
             SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 6) AND c.archived_at IS NULL AND NOT EXISTS (
                 SELECT FROM rebuilds r JOIN operator_audit o ON o.subject = 'coupons/' || r.coupon_code
                 WHERE r.coupon_code = c.coupon_code AND o.verb = 'rebuild.epoch' AND o.at BETWEEN r.started_at AND r.finished_at
                 AND r.finished_at >= coalesce((SELECT max(n.created_at) FROM alarm_notices n WHERE n.cause = a.alarm_key),
                                               a.announced_at))))
    AND NOT (a.alarm_key LIKE 'DRIFT %' AND NOT EXISTS
             (SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 7) AND c.archived_at IS NOT NULL) AND coalesce(
             (SELECT r.finished_at < a.announced_at OR r.drift <> '{}' OR r.in_flight > 0 FROM reconciliations r
              WHERE r.coupon_code = substr(a.alarm_key, 7) ORDER BY r.id DESC LIMIT 1), true))";

impl AlarmRepository<'_> {
    /// Claims a cause that was told of and whose work is done; `None` when there is none.
    pub async fn claim_all_clear(self, claiming: Claiming) -> Result<Option<Cleared>, RepoError> {
        let pool = self.pool();
        let quiet_since = claiming.now - claiming.quiet;
        let sql = format!("SELECT EXISTS (SELECT FROM alarm_causes a WHERE {IS_DONE})");
        let question =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(quiet_since).bind(claiming.now).fetch_one(&pool);
        if !self.read("look for all-clears", question).await? {
            return Ok(None);
        }
        self.write("claim an alarm", move |pool| async move {
            let sql = format!(
                "UPDATE alarm_causes SET claimed_until = $3, claimed_by = $4
                 WHERE alarm_key = (SELECT a.alarm_key FROM alarm_causes a WHERE {IS_DONE}
                                    ORDER BY a.alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
                 RETURNING alarm_key, shown, announced_at, announced_count"
            );
            let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(quiet_since)
                .bind(claiming.now)
                .bind(claiming.now + claiming.lease)
                .bind(&claiming.by)
                .fetch_optional(&pool)
                .await?;
            Ok(row.map(|row| Cleared {
                shown: row.shown.unwrap_or_default(),
                told_at: row.announced_at,
                told_count: row.announced_count,
                claim: Claim {
                    cause: row.alarm_key,
                    told: Some((row.announced_at, row.announced_count)),
                    by: claiming.by,
                },
            }))
        })
        .await
    }

    /// Notes that the all-clear of a cause was told, and ends the claim.
    pub async fn note_all_clear(self, claim: Claim) -> Result<(), RepoError> {
        self.write("note an alarm as told", move |pool| async move {
            sqlx::query(
                "UPDATE alarm_causes SET all_clear_due = false, claimed_until = NULL, claimed_by = NULL
                 WHERE alarm_key = $1 AND claimed_by = $2",
            )
            .bind(&claim.cause)
            .bind(&claim.by)
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }
}
