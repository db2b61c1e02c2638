//! What operators decide about rows of the work list and about dead letters, for one row and for many.

use sqlx::AssertSqlSafe;

use super::{
    Database, RepoError,
    coupons::Actor,
    dead_letters::DlqEventStatus,
    failed_issues::FailedIssueStatus,
    filter::{DLQ_EVENT_FILTER, FAILED_ISSUE_FILTER, Filter},
};
use crate::words::words;

words! {
    /// What an operator works through, by its table.
    pub enum List as "list" {
        /// Requests that were given up: the work list.
        Requests = "failed_coupon_issues",
        /// Dead letters.
        Letters = "dlq_events",
    }
}

words! {
    /// An operator's word on a row.
    pub enum Verb as "verb" {
        /// It has been put right.
        Resolve = "resolve",
        /// It was looked at, and there is nothing to do.
        Ignore = "ignore",
        /// It was wrong to ignore it.
        Reopen = "reopen",
    }
}

/// A change that is to be made.
#[derive(Clone, Debug)]
pub struct Settling {
    /// Of which rows.
    pub list: List,
    /// What becomes of them.
    pub verb: Verb,
    /// Why, in the operator's words.
    pub reason: String,
}

impl List {
    /// The condition of a [`Filter`] over this table, named `f`.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Requests => FAILED_ISSUE_FILTER,
            Self::Letters => DLQ_EVENT_FILTER,
        }
    }
}

impl Verb {
    /// The statuses a row may have, and the one it gets.
    ///
    /// A dead letter that is HELD is an accepted request without a decision: no word settles it.
    pub fn transition(self, list: List) -> (&'static [&'static str], &'static str) {
        const PENDING: &[&str] = &[FailedIssueStatus::Pending.as_str()];
        const SETTLED: &[&str] = &[FailedIssueStatus::Ignored.as_str(), FailedIssueStatus::Resolved.as_str()];
        const PARKED: &[&str] = &[DlqEventStatus::Parked.as_str()];
        const SETTLED_LETTER: &[&str] = &[DlqEventStatus::Ignored.as_str(), DlqEventStatus::Resolved.as_str()];
        match (self, list) {
            (Self::Resolve, List::Requests) => (PENDING, FailedIssueStatus::Resolved.as_str()),
            (Self::Ignore, List::Requests) => (PENDING, FailedIssueStatus::Ignored.as_str()),
            (Self::Reopen, List::Requests) => (SETTLED, FailedIssueStatus::Pending.as_str()),
            (Self::Resolve, List::Letters) => (PARKED, DlqEventStatus::Resolved.as_str()),
            (Self::Ignore, List::Letters) => (PARKED, DlqEventStatus::Ignored.as_str()),
            (Self::Reopen, List::Letters) => (SETTLED_LETTER, DlqEventStatus::Parked.as_str()),
        }
    }

    /// What else must be true of a row `f` ($1: the numbers that were named).
    fn condition(self, list: List) -> &'static str {
        match (self, list) {
            // Of RESOLVED ones only those that are named: most of them have been put right. A replay that came to nothing
            // is not reopened, because the entry it replays stands for it.
            (Self::Reopen, List::Requests) => {
                "(f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)"
            }
            (Self::Reopen, List::Letters) => "(f.status = 'IGNORED' OR f.id = ANY($1))",
            // One that can be read was accepted: it has to be decided before a word can settle it.
            (Self::Resolve | Self::Ignore, List::Letters) => {
                "(f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
                     SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                     WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id))"
            }
            // It would be issued on top of whatever the word stands for.
            (Self::Resolve | Self::Ignore, List::Requests) => {
                "NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
                             AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')))"
            }
        }
    }
}

/// The rows of one batch, locked in the order of their numbers, so that two who settle at once cannot deadlock.
fn lock(list: List, verb: Verb) -> String {
    let (table, condition, further) = (list.as_str(), list.condition(), verb.condition(list));
    format!(
        "SELECT f.id FROM {table} f WHERE {condition} AND {further} AND f.status = ANY($10) AND f.id > $11
         ORDER BY f.id LIMIT $12 FOR UPDATE"
    )
}

/// The change of locked rows and its audit are one statement. What must be true of a row is looked at again, because it
/// also speaks of other tables: a replay that was linked while its row was waited for must be seen.
fn settle(list: List, verb: Verb) -> String {
    let (table, condition, further) = (list.as_str(), list.condition(), verb.condition(list));
    let set = match list {
        List::Requests => {
            "resolved_at = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $13::timestamptz END,
             resolved_by = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $14 END,
             resolution = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $16 END"
        }
        List::Letters => "updated_at = $13",
    };
    format!(
        "WITH chosen AS (
             SELECT f.id, f.status FROM {table} f
             WHERE {condition} AND {further} AND f.status = ANY($10) AND f.id = ANY($11)
         ), moved AS (
             UPDATE {table} f SET status = $12, {set} FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
         ), audited AS (
             INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
             SELECT $13, $14, $15, '{table}/' || id, jsonb_build_object('from', before, 'to', $12), $16 FROM moved ORDER BY id
         )
         SELECT id FROM moved ORDER BY id"
    )
}

impl Database {
    /// Settles the first rows of a choice beyond `after` that can be settled so, at most `limit`, each with its row in
    /// the audit, all in one transaction. Gives their numbers, ascending; none: there are no more.
    pub async fn settle(
        &self,
        settling: Settling,
        filter: Filter,
        after: i64,
        limit: i64,
        actor: Actor,
    ) -> Result<Vec<i64>, RepoError> {
        self.detached("settle entries", move |pool| async move {
            let (from, to) = settling.verb.transition(settling.list);
            let mut tx = pool.begin().await?;
            let locked: Vec<i64> =
                sqlx::query_scalar_with(AssertSqlSafe(lock(settling.list, settling.verb)), filter.arguments()?)
                    .bind(from)
                    .bind(after)
                    .bind(limit)
                    .fetch_all(&mut *tx)
                    .await?;
            let settled =
                sqlx::query_scalar_with(AssertSqlSafe(settle(settling.list, settling.verb)), filter.arguments()?)
                    .bind(from)
                    .bind(locked)
                    .bind(to)
                    .bind(actor.now)
                    .bind(actor.name)
                    .bind(settling.verb.as_str())
                    .bind(settling.reason)
                    .fetch_all(&mut *tx)
                    .await?;
            tx.commit().await?;
            Ok(settled)
        })
        .await
    }

    /// How many rows of a choice can be settled so.
    pub async fn count_to_settle(&self, list: List, verb: Verb, filter: &Filter) -> Result<i64, RepoError> {
        let (table, condition, further) = (list.as_str(), list.condition(), verb.condition(list));
        let select = format!("SELECT count(*) FROM {table} f WHERE {condition} AND {further} AND f.status = ANY($10)");
        let pool = self.pool();
        self.bounded("count what would be settled", async {
            let question = sqlx::query_scalar_with(AssertSqlSafe(select), filter.arguments()?);
            question.bind(verb.transition(list).0).fetch_one(&pool).await
        })
        .await
    }

    /// Where these rows stand; those that are not there are missing.
    pub async fn standing(&self, list: List, ids: &[i64]) -> Result<Vec<(i64, String)>, RepoError> {
        let select = format!("SELECT id, status FROM {} WHERE id = ANY($1)", list.as_str());
        let pool = self.pool();
        let question = sqlx::query_as(AssertSqlSafe(select)).bind(ids).fetch_all(&pool);
        self.bounded("read where entries stand", question).await
    }

    /// Why this choice can match nothing at all, whatever else is asked: a campaign that nobody knows, or a cause that no
    /// row has. `None` where nothing is mistyped.
    pub async fn mistyped(&self, list: List, filter: &Filter) -> Result<Option<String>, RepoError> {
        let pool = self.pool();
        let (table, all) = (list.as_str(), list.condition());
        let exists = format!(
            "SELECT EXISTS (SELECT FROM {table} f WHERE {all}) OR EXISTS (SELECT FROM coupons WHERE coupon_code = $3)"
        );
        let has_any = async |filter: Filter| {
            let question = async {
                sqlx::query_scalar_with(AssertSqlSafe(exists.clone()), filter.arguments()?).fetch_one(&pool).await
            };
            self.bounded("look whether a name is known", question).await
        };
        if let Some(coupon) = &filter.coupon
            && !has_any(Filter { coupon: Some(coupon.clone()), ..Filter::default() }).await?
        {
            return Ok(Some(format!("there is no coupon {coupon}; `issuer-api coupon list` shows them all")));
        }
        if let Some(cause) = &filter.cause
            && !has_any(Filter { cause: Some(cause.clone()), ..Filter::default() }).await?
        {
            let flag = if list == List::Letters { " --dead-letters" } else { "" };
            return Ok(Some(format!(
                "no cause and no reason holds {cause:?}; `dlq-consumer causes{flag}` shows which there are"
            )));
        }
        Ok(None)
    }
}
