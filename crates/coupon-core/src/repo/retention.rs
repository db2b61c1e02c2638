//! Retention: old rows that are done are purged. Decisions never are.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{RepoError, RetentionRepository, audit::Actor};
use crate::words::words;

words! {
    /// A table whose old rows are purged, in the order of the purge: rows that depend on another row come after it.
    pub enum Purgeable as "table that is purged" {
        /// Rows of the work list that are RESOLVED or IGNORED.
        FailedIssues = "failed_coupon_issues",
        /// Dead letters that are decided or settled.
        DlqEvents = "dlq_events",
        /// Replays of rows that are purged.
        Replays = "replays",
        /// Notices that are sent.
        Notices = "alarm_notices",
        /// History of reconciliations.
        Reconciliations = "reconciliations",
        /// Jobs that replayed, and are over for good.
        ReplayJobs = "replay_jobs",
        /// Other jobs of operators that are over.
        Jobs = "jobs",
        /// Plans that can be confirmed no more.
        Plans = "plans",
        /// Logins of the console that are over.
        Sessions = "operator_sessions",
        /// Numbers of decisions that are published; the decisions stay.
        DecisionBatches = "coupon_decision_batches",
        /// Deliveries of webhooks that their endpoint took.
        WebhookDeliveries = "webhook_deliveries",
        /// Events of campaigns whose deliveries are purged.
        CampaignEvents = "campaign_events",
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

/// Place in a purge of a table, whose rows come oldest first.
#[derive(Clone, Debug)]
pub struct Cursor {
    at: DateTime<Utc>,
    key: String,
}

/// One step of a purge.
#[derive(Clone, Debug)]
pub struct Step {
    /// Number of rows purged, or of purgeable rows.
    pub rows: i64,
    /// Place of the next step; `None`: the table is done.
    pub next: Option<Cursor>,
}

/// How a table is purged.
struct Rule {
    /// Column of the key, and column of the age.
    key: &'static str,
    at: &'static str,
    /// Type of the key, and a key before all others.
    kind: &'static str,
    first: &'static str,
    /// Condition on the row `f` itself.
    done: &'static str,
    /// Condition on the rows that depend on it.
    finished: String,
}

impl Purgeable {
    /// All tables, in the order of the purge.
    pub const ALL: [Self; 12] = [
        Self::FailedIssues,
        Self::DlqEvents,
        Self::Replays,
        Self::Notices,
        Self::Reconciliations,
        Self::ReplayJobs,
        Self::Jobs,
        Self::Plans,
        Self::Sessions,
        Self::DecisionBatches,
        Self::WebhookDeliveries,
        Self::CampaignEvents,
    ];

    fn rule(self) -> Rule {
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
                first: "00000000-0000-0000-0000-000000000000",
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
            // Behind the mark, and no decision of that time is still to be numbered.
            Self::DecisionBatches => by_id(
                "decided_at",
                "true",
                "EXISTS (SELECT FROM coupon_decision_marks m WHERE m.coupon_id = f.coupon_id AND f.decided_at < m.complete_before
                         AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to)"
                    .to_owned(),
            ),
            Self::WebhookDeliveries => by_id("delivered_at", "f.status = 'DELIVERED'", "true".to_owned()),
            // One whose delivery failed or waits can be sent again.
            Self::CampaignEvents => by_id(
                "occurred_at",
                "f.handed_out",
                "NOT EXISTS (
                     SELECT FROM webhook_deliveries d
                     WHERE d.event_id = f.id AND NOT (d.status = 'DELIVERED' AND d.delivered_at < $1))"
                    .to_owned(),
            ),
        }
    }
}

impl Rule {
    /// Rows from the cursor on that are old and done, and the purgeable ones among them. Each step reads a bounded
    /// number of rows, so that many rows which are not purgeable take many steps and no slow one.
    fn chosen(&self, table: Purgeable, lock: &str) -> String {
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

    fn start(&self) -> Cursor {
        Cursor { at: DateTime::UNIX_EPOCH, key: self.first.to_owned() }
    }
}

type Reached = (i64, i64, Option<DateTime<Utc>>, Option<String>);

/// A step that has read fewer rows than its limit is the last.
fn step((rows, seen, at, key): Reached, limit: i64) -> Step {
    let next = at.zip(key).filter(|_| seen == limit).map(|(at, key)| Cursor { at, key });
    Step { rows, next }
}

impl RetentionRepository<'_> {
    /// Counts the purgeable rows among the next `limit` rows of a table that are old and done.
    pub async fn count_purgeable(
        self,
        table: Purgeable,
        before: DateTime<Utc>,
        from: Option<Cursor>,
        limit: i64,
    ) -> Result<Step, RepoError> {
        let rule = table.rule();
        let Cursor { at, key } = from.unwrap_or_else(|| rule.start());
        let chosen = rule.chosen(table, "");
        let select = format!(
            "WITH {chosen}
             SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
                    (SELECT at FROM reached), (SELECT key FROM reached)"
        );
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(before).bind(at).bind(key).bind(limit);
        let reached = self.read("count what may be purged", select.fetch_one(&self.pool())).await?;
        Ok(step(reached, limit))
    }

    /// Deletes the purgeable rows among the next `limit` rows of a table that are old and done, with the audit in the
    /// same transaction. Locked rows are left.
    pub async fn purge(
        self,
        table: Purgeable,
        before: DateTime<Utc>,
        from: Option<Cursor>,
        limit: i64,
        actor: Actor,
    ) -> Result<Step, RepoError> {
        let rule = table.rule();
        let Cursor { at, key } = from.unwrap_or_else(|| rule.start());
        let chosen = rule.chosen(table, "FOR UPDATE OF f SKIP LOCKED");
        let delete = format!(
            "WITH {chosen}, purged AS (
                 DELETE FROM {table} f USING chosen WHERE f.{key} = chosen.key RETURNING '{table}/' || f.{key}::text AS subject
             ), unnoted AS (
                 DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
             ), counted AS (
                 SELECT count(*) AS deleted FROM purged
             ), audited AS (
                 INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
                 SELECT $5, $6, 'purge', '{table}', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
                 FROM counted WHERE deleted > 0
             )
             SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted",
            key = rule.key
        );
        self.write("purge a batch", move |pool| async move {
            let delete = sqlx::query_as(AssertSqlSafe(delete)).bind(before).bind(at).bind(key).bind(limit);
            let reached =
                delete.bind(actor.now).bind(&actor.by.name).bind(actor.by.provenance()).fetch_one(&pool).await?;
            Ok(step(reached, limit))
        })
        .await
    }
}
