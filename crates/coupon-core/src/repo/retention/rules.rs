//! Which rows of each table are old and done, and how they are found a step at a time.

use chrono::DateTime;

use super::{Cursor, Purgeable};

/// How a table is purged.
pub(super) struct Rule {
    /// Column of the key, and column of the age.
    pub(super) key: &'static str,
    at: &'static str,
    /// Type of the key, and a key before all others.
    kind: &'static str,
    first: &'static str,
    /// Condition on the row `f` itself.
    done: &'static str,
    /// Condition on the rows that depend on it.
    finished: String,
}

/// The condition under which nobody publishes the campaign of the mark `m`: no relay has its lease, and none has published or had it
/// for a day, which an update that switches publishing on does not take.
pub(super) const NOBODY_PUBLISHES: &str =
    "coalesce(greatest(m.owned_until, m.relayed_at) < clock_timestamp() - interval '1 day', true)";

/// A key before all others of the type uuid.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

impl Purgeable {
    pub(super) fn rule(self, unpublished: bool) -> Rule {
        let is_purgeable = is_entry_purgeable("e");
        let by_number = |key, at, done, finished| Rule { key, at, kind: "bigint", first: "0", done, finished };
        let by_id = |at, done, finished| by_number("id", at, done, finished);
        match self {
            Self::FailedIssues => by_id("resolved_at", "f.status <> 'PENDING'", is_entry_purgeable("f")),
            // Operators look dead letters up from their entry, so they stay as long as it does.
            Self::DlqEvents => by_id(
                "updated_at",
                "f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent",
                format!(
                    "NOT EXISTS (
                         SELECT FROM failed_coupon_issues e
                         WHERE e.coupon_code = f.coupon_code AND e.request_id = f.original_event_id AND NOT ({is_purgeable}))
                     AND NOT EXISTS (
                         SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
                         WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id
                           AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)"
                ),
            ),
            Self::Replays => Rule {
                key: "request_id",
                at: "updated_at",
                kind: "uuid",
                first: NIL,
                done: "f.outcome NOT IN ('RESERVED', 'HOLDS_ONE')",
                finished: format!(
                    "NOT EXISTS (SELECT FROM failed_coupon_issues e WHERE e.id = f.failed_issue_id AND NOT ({is_purgeable}))"
                ),
            },
            Self::Notices => by_id("created_at", "f.alarm_sent", "true".to_owned()),
            Self::Reconciliations => by_id("finished_at", "true", "true".to_owned()),
            // One that was stopped or paused can still be gone on with.
            Self::ReplayJobs => by_number(
                "job_id",
                "updated_at",
                "f.status IN ('CANCELLED', 'DONE')",
                is_replay_job_finished("f"),
            ),
            Self::Jobs => by_number("job_id", "updated_at", "f.status <> 'RUNNING'", "true".to_owned()),
            // The page of a job leads to its plan.
            Self::Plans => by_number(
                "plan_id",
                "expires_at",
                "true",
                format!(
                    "NOT EXISTS (
                         SELECT FROM replay_jobs j WHERE f.verb = 'replay' AND j.job_id = f.job_id
                           AND NOT (j.status IN ('CANCELLED', 'DONE') AND j.updated_at < $1 AND {}))
                     AND NOT EXISTS (
                         SELECT FROM jobs j WHERE f.verb <> 'replay' AND j.job_id = f.job_id
                           AND NOT (j.status <> 'RUNNING' AND j.updated_at < $1))",
                    is_replay_job_finished("j")
                ),
            ),
            Self::Sessions => Rule {
                key: "session_hash",
                at: "expires_at",
                kind: "bytea",
                first: "",
                done: "true",
                finished: "true".to_owned(),
            },
            Self::DecisionBatches => {
                let published = "AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to";
                let or_for_good = format!("AND (f.first_no + cardinality(f.request_ids) <= m.relayed_to + 1 OR {NOBODY_PUBLISHES})");
                let published = if unpublished { or_for_good.as_str() } else { published };
                // No decision of that time is still to be numbered; of an archived campaign none ever is.
                let finished = format!(
                    "EXISTS (SELECT FROM coupon_decision_marks m JOIN coupons c USING (coupon_id) WHERE m.coupon_id = f.coupon_id
                             AND (f.decided_at < m.complete_before OR c.archived_at IS NOT NULL) {published})"
                );
                by_id("decided_at", "true", finished)
            }
            Self::DecisionTraces => Rule {
                key: "request_id",
                at: "kept_at",
                kind: "uuid",
                first: NIL,
                done: "true",
                finished: "true".to_owned(),
            },
            // Of what is over, the next attempt is when it was.
            Self::WebhookDeliveries => by_id("next_at", "f.status <> 'PENDING'", "true".to_owned()),
            // One whose delivery is kept can be sent again.
            Self::CampaignEvents => by_id(
                "occurred_at",
                "f.handed_out",
                "NOT EXISTS (
                     SELECT FROM webhook_deliveries d
                     WHERE d.event_id = f.id AND NOT (d.status <> 'PENDING' AND d.next_at < $1))"
                    .to_owned(),
            ),
        }
    }
}

impl Rule {
    /// Rows from the cursor on that are old and done, and the purgeable ones among them. Each step reads a bounded
    /// number of rows, so that many rows which are not purgeable take many steps and no slow one.
    pub(super) fn chosen(&self, table: Purgeable, lock: &str) -> String {
        let Self { key, at, kind, first: _, done, finished } = self;
        format!(
            "seen AS MATERIALIZED (
                 SELECT f.{key} AS key, f.{at} AS at FROM {table} f
                 WHERE {done} AND f.{at} < $1 AND (f.{at}, f.{key}) > ($2, $3::text::{kind})
                 ORDER BY f.{at}, f.{key} LIMIT $4
             ), chosen AS MATERIALIZED (
                 SELECT f.{key} AS key FROM {table} f JOIN seen ON f.{key} = seen.key
                 WHERE {done} AND f.{at} < $1 AND {finished} {lock}
             ), reached AS (
                 SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
             )"
        )
    }

    pub(super) fn start(&self) -> Cursor {
        Cursor { at: DateTime::UNIX_EPOCH, key: self.first.to_owned() }
    }
}

/// The condition under which an entry of the work list may be purged: it was settled before $1, its unit is given back,
/// none of its replays is under way, and its alarm is sent.
fn is_entry_purgeable(entry: &str) -> String {
    format!(
        "{entry}.status IN ('RESOLVED', 'IGNORED') AND {entry}.resolved_at < $1
         AND NOT EXISTS (
             SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
             WHERE c.coupon_code = {entry}.coupon_code AND i.request_id = {entry}.request_id
               AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
         AND NOT EXISTS (
             SELECT FROM replays p
             WHERE p.failed_issue_id = {entry}.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
         AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = {entry}.request_id AND NOT d.alarm_sent)"
    )
}

/// The condition under which nothing of a replay is under way any more.
fn is_replay_job_finished(job: &str) -> String {
    format!("NOT EXISTS (SELECT FROM replays p WHERE p.job_id = {job}.job_id AND p.outcome IS NULL)")
}
