//! Retention: old rows that are done are purged. Decisions never are.

mod rules;

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
    /// begins after them.
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
        let (columns, moved) = if table == Purgeable::DecisionBatches { MOVING_THE_MARK } else { ("", "") };
        let delete = format!(
            "WITH {chosen}, purged AS (
                 DELETE FROM {table} f USING chosen WHERE f.{key} = chosen.key
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
