//! What is old and done goes, and nothing else. Decisions never do.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{RepoError, RetentionRepository, coupons::Actor};
use crate::words::words;

words! {
    /// A table from which old rows go, in the order in which they are looked through: what hangs on a row goes after it.
    pub enum Purgeable as "table that is purged" {
        /// The work list: RESOLVED and IGNORED.
        FailedIssues = "failed_coupon_issues",
        /// Dead letters that are done.
        Letters = "dlq_events",
        /// Replays of requests whose entry is gone.
        Replays = "replays",
        /// Notices that somebody has been told of.
        Notices = "alarm_notices",
        /// What reconciliations found.
        Reconciliations = "reconciliations",
    }
}

/// The condition by which an entry may go: settled long ago, and nothing of it is half-finished. Its unit is back, none
/// of its replays is under way, and somebody has been told of it.
fn entry_may_go(entry: &str) -> String {
    format!(
        "{entry}.status IN ('RESOLVED', 'IGNORED') AND {entry}.resolved_at < $1
         AND NOT EXISTS (
             SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
             WHERE c.coupon_code = {entry}.coupon_code AND i.request_id = {entry}.request_id
               AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
         AND NOT EXISTS (
             SELECT FROM replays p
             WHERE p.failed_issue_id = {entry}.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
         AND NOT EXISTS (SELECT FROM dlq_events l WHERE l.original_event_id = {entry}.request_id AND NOT l.alarm_sent)"
    )
}

/// How far a walk over the rows of a table has come, oldest first.
#[derive(Clone, Debug)]
pub struct Cursor {
    at: DateTime<Utc>,
    key: String,
}

/// One step of such a walk.
#[derive(Clone, Debug)]
pub struct Step {
    /// Rows that went, or may go.
    pub rows: i64,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

/// How a table is walked over.
struct Rule {
    /// Its key, and what orders its rows by age.
    key: &'static str,
    at: &'static str,
    /// Type of the key, and a key before all others.
    kind: &'static str,
    first: &'static str,
    /// What is old and done, by the row `f` itself.
    done: &'static str,
    /// What hangs on it is done too.
    finished: String,
}

impl Purgeable {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::FailedIssues, Self::Letters, Self::Replays, Self::Notices, Self::Reconciliations];

    fn rule(self) -> Rule {
        let may_go = entry_may_go("e");
        let by_id = |at, done, finished| Rule { key: "id", at, kind: "bigint", first: "0", done, finished };
        match self {
            Self::FailedIssues => by_id("resolved_at", "f.status <> 'PENDING'", entry_may_go("f")),
            // A dead letter is what can still be looked up about its entry, so it stays as long as that does.
            Self::Letters => by_id(
                "updated_at",
                "f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent",
                format!(
                    "NOT EXISTS (
                         SELECT FROM failed_coupon_issues e
                         WHERE e.coupon_code = f.coupon_code AND e.request_id = f.original_event_id AND NOT ({may_go}))
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
                    "NOT EXISTS (SELECT FROM failed_coupon_issues e WHERE e.id = f.failed_issue_id AND NOT ({may_go}))"
                ),
            },
            Self::Notices => by_id("created_at", "f.alarm_sent", "true".to_owned()),
            Self::Reconciliations => by_id("finished_at", "true", "true".to_owned()),
        }
    }
}

impl Rule {
    /// Rows from the cursor on that are old and done, and of these the ones that may go. Each step looks at a bounded
    /// number of rows, so that many which may not go make it long and never slow.
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

/// A step that has seen fewer rows than it might have is the last.
fn step((rows, seen, at, key): Reached, limit: i64) -> Step {
    let next = at.zip(key).filter(|_| seen == limit).map(|(at, key)| Cursor { at, key });
    Step { rows, next }
}

impl RetentionRepository<'_> {
    /// Of the next rows of a table that are old and done, how many may go. At most `limit` are looked at.
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
        let pool = self.pool();
        let question = sqlx::query_as(AssertSqlSafe(select)).bind(before).bind(at).bind(key).bind(limit);
        let reached = self.read("count what may be purged", question.fetch_one(&pool)).await?;
        Ok(step(reached, limit))
    }

    /// Deletes those of the next rows of a table that may go, and notes it in the audit in the same transaction. Rows
    /// that somebody else is at are left alone. At most `limit` are looked at.
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
            "WITH {chosen}, gone AS (
                 DELETE FROM {table} f USING chosen WHERE f.{} = chosen.key RETURNING 1
             ), counted AS (
                 SELECT count(*) AS deleted FROM gone
             ), audited AS (
                 INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
                 SELECT $5, $6, 'purge', '{table}', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), ''
                 FROM counted WHERE deleted > 0
             )
             SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted",
            rule.key
        );
        self.write("purge a batch", move |pool| async move {
            let question = sqlx::query_as(AssertSqlSafe(delete)).bind(before).bind(at).bind(key).bind(limit);
            let reached = question.bind(actor.now).bind(&actor.name).fetch_one(&pool).await?;
            Ok(step(reached, limit))
        })
        .await
    }
}
