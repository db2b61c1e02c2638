//! Retention: old rows that are done are purged. Decisions never are.

mod rules;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{RepoError, RetentionRepository, audit::Actor};
use crate::words::words;
use rules::NOBODY_PUBLISHES;

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
        /// Traces of requests, decided or not.
        DecisionTraces = "coupon_decision_traces",
        /// Deliveries of webhooks that their endpoint took, or that failed for good.
        WebhookDeliveries = "webhook_deliveries",
        /// Events of campaigns whose deliveries are purged.
        CampaignEvents = "campaign_events",
    }
}

/// What is old enough to be purged.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Only what was done before this time.
    pub before: DateTime<Utc>,
    /// Whether the numbers of decisions go that nobody was told of: where none are published. A relay that is started later
    /// begins after them. Of a campaign that somebody publishes they stay all the same, as in an update that switches it on.
    pub unpublished: bool,
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

impl Purgeable {
    /// All tables, in the order of the purge.
    pub const ALL: [Self; 13] = [
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
        Self::DecisionTraces,
        Self::WebhookDeliveries,
        Self::CampaignEvents,
    ];
}

type Reached = (i64, i64, Option<DateTime<Utc>>, Option<String>);

/// A step that has read fewer rows than its limit is the last.
fn step((rows, seen, at, key): Reached, limit: i64) -> Step {
    let next = at.zip(key).filter(|_| seen == limit).map(|(at, key)| Cursor { at, key });
    Step { rows, next }
}

/// Where numbers go that nobody was told of: locks the marks of their campaigns against a relay that begins meanwhile, takes along
/// what is old and below, though a step of its own would come to it later, and finds the first batch of each campaign that is kept.
fn locking_the_mark() -> String {
    format!(
        "marked AS MATERIALIZED (
         SELECT m.coupon_id, m.relayed_to, m.complete_before, (
             SELECT max(b.first_no) FROM coupon_decision_batches b JOIN chosen ON b.id = chosen.key
             WHERE b.coupon_id = m.coupon_id) AS top
         FROM coupon_decision_marks m
         WHERE {NOBODY_PUBLISHES}
           AND m.coupon_id IN (SELECT b.coupon_id FROM coupon_decision_batches b JOIN chosen ON b.id = chosen.key)
         FOR UPDATE SKIP LOCKED
     ), late AS MATERIALIZED (
         SELECT b.id AS key FROM coupon_decision_batches b JOIN marked ON marked.coupon_id = b.coupon_id
         WHERE b.first_no > marked.relayed_to AND b.first_no < marked.top
           AND b.decided_at < least($1, marked.complete_before)
           AND NOT EXISTS (SELECT FROM chosen WHERE chosen.key = b.id)
         FOR UPDATE OF b SKIP LOCKED
     ), going AS MATERIALIZED (
         SELECT key FROM chosen UNION ALL SELECT key FROM late
     ), kept AS MATERIALIZED (
         SELECT marked.coupon_id, coalesce((
             SELECT b.first_no FROM coupon_decision_batches b
             WHERE b.coupon_id = marked.coupon_id AND b.first_no + cardinality(b.request_ids) - 1 > marked.relayed_to
               AND b.first_no >= coalesce((
                   SELECT max(p.first_no) FROM coupon_decision_batches p
                   WHERE p.coupon_id = marked.coupon_id AND p.first_no <= marked.relayed_to + 1), 0)
               AND NOT EXISTS (SELECT FROM going WHERE going.key = b.id)
             ORDER BY b.first_no LIMIT 1), 9223372036854775807) AS first_no
         FROM marked
     ),"
    )
}

/// Of those, only what is below every batch that is kept, because the mark passes it: what is kept is still told.
const BELOW_WHAT_IS_KEPT: &str = "AND (
         f.first_no < (SELECT kept.first_no FROM kept WHERE kept.coupon_id = f.coupon_id)
         OR f.first_no + cardinality(f.request_ids) <= (
             SELECT m.relayed_to + 1 FROM coupon_decision_marks m WHERE m.coupon_id = f.coupon_id))";

/// What a purge of the numbers of decisions returns of each row, and what it does with it: whoever publishes the campaign's
/// decisions would look for them for ever.
const MOVING_THE_MARK: (&str, &str) = (
    ", f.coupon_id, f.first_no + cardinality(f.request_ids) - 1 AS last_no",
    "moved AS (
         UPDATE coupon_decision_marks m SET relayed_to = gone.last_no
         FROM (SELECT coupon_id, max(last_no) AS last_no FROM purged GROUP BY coupon_id) gone
         WHERE m.coupon_id = gone.coupon_id AND m.relayed_to < gone.last_no
     ),",
);

impl RetentionRepository<'_> {
    /// Counts the purgeable rows among the next `limit` rows of a table that are old and done.
    pub async fn count_purgeable(
        self,
        table: Purgeable,
        Bound { before, unpublished }: Bound,
        from: Option<Cursor>,
        limit: i64,
    ) -> Result<Step, RepoError> {
        let rule = table.rule(unpublished);
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
    /// same transaction. Locked rows are left. The mark of a campaign passes what is purged of its decisions.
    pub async fn purge(
        self,
        table: Purgeable,
        Bound { before, unpublished }: Bound,
        from: Option<Cursor>,
        limit: i64,
        actor: Actor,
    ) -> Result<Step, RepoError> {
        let rule = table.rule(unpublished);
        let Cursor { at, key } = from.unwrap_or_else(|| rule.start());
        let chosen = rule.chosen(table, "FOR UPDATE OF f SKIP LOCKED");
        let is_of_decisions = table == Purgeable::DecisionBatches;
        let (columns, moved) = if is_of_decisions { MOVING_THE_MARK } else { ("", "") };
        let (locked, going, below) = if is_of_decisions && unpublished {
            (locking_the_mark(), "going", BELOW_WHAT_IS_KEPT)
        } else {
            (String::new(), "chosen", "")
        };
        let delete = format!(
            "WITH {chosen}, {locked} purged AS (
                 DELETE FROM {table} f USING {going} WHERE f.{key} = {going}.key {below}
                 RETURNING '{table}/' || f.{key}::text AS subject {columns}
             ), {moved} unnoted AS (
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
