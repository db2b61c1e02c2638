//! All-clears: a cause of which an alarm was sent, and of which nothing waits any more.

use sqlx::AssertSqlSafe;

use super::{Claim, Claimed, Claiming};
use crate::repo::{AlarmRepository, RepoError};

/// Whether nothing of the cause waits: no dead letter is undecided, no entry PENDING, nothing unsent; its campaign is
/// neither SUSPECT nor being rebuilt; a later reconciliation that could classify everything found no drift. Data that
/// Redis lost is back when a rebuild that raised the epoch has ended after the loss was noticed: the status of a CLOSED
/// campaign does not show it, and an abandoned rebuild fills nothing. An all-clear waits a digest's time after the
/// alarm, so that a cause which comes and goes sends neither more often.
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

const CLAIM: &str = "
UPDATE alarm_causes SET claimed_until = $3, claimed_by = $4
WHERE alarm_key = (SELECT a.alarm_key FROM alarm_causes a WHERE";

const CLAIM_ONE: &str = "ORDER BY a.alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING alarm_key, shown, announced_at, announced_count";

impl AlarmRepository<'_> {
    /// Claims a cause of which an all-clear is due; `None` when there is none.
    pub async fn claim_all_clear(self, claiming: Claiming) -> Result<Option<Claim>, RepoError> {
        let quiet_since = claiming.now - claiming.quiet;
        let select = ["SELECT EXISTS (SELECT FROM alarm_causes a WHERE", IS_DONE, ")"].concat();
        let select = sqlx::query_scalar(AssertSqlSafe(select)).bind(quiet_since).bind(claiming.now);
        if !self.read("look for all-clears", select.fetch_one(&self.pool())).await? {
            return Ok(None);
        }
        self.write("claim an alarm", move |pool| async move {
            let claimed: Option<Claimed> = sqlx::query_as(AssertSqlSafe([CLAIM, IS_DONE, CLAIM_ONE].join(" ")))
                .bind(quiet_since)
                .bind(claiming.now)
                .bind(claiming.now + claiming.lease)
                .bind(&claiming.by)
                .fetch_optional(&pool)
                .await?;
            Ok(claimed.map(|claimed| claimed.by(claiming.by)))
        })
        .await
    }

    /// Notes that the all-clear of a cause was sent, and ends the claim.
    pub async fn note_all_clear(self, claim: Claim) -> Result<(), RepoError> {
        let update = sqlx::query(
            "UPDATE alarm_causes SET all_clear_due = false, claimed_until = NULL, claimed_by = NULL
             WHERE alarm_key = $1 AND claimed_by = $2",
        );
        self.execute("note an alarm as told", update.bind(claim.cause).bind(claim.by)).await.map(drop)
    }
}
