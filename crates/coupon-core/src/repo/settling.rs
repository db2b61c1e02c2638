//! What operators decide about rows of the work list and about dead letters, for one row and for many.

use sqlx::AssertSqlSafe;

use super::{
    Database, RepoError,
    coupons::Actor,
    dead_letters::LetterStatus,
    failed_issues::FailedStatus,
    filter::{Filter, OF_FAILED, OF_LETTERS},
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
            Self::Requests => OF_FAILED,
            Self::Letters => OF_LETTERS,
        }
    }
}

impl Verb {
    /// The status a row must have, and the one it gets.
    ///
    /// A dead letter that is HELD is an accepted request without a decision: no word settles it.
    pub fn transition(self, list: List) -> (&'static str, &'static str) {
        let (open, resolved, ignored) = match list {
            List::Requests => {
                (FailedStatus::Pending.as_str(), FailedStatus::Resolved.as_str(), FailedStatus::Ignored.as_str())
            }
            List::Letters => {
                (LetterStatus::Parked.as_str(), LetterStatus::Resolved.as_str(), LetterStatus::Ignored.as_str())
            }
        };
        match self {
            Self::Resolve => (open, resolved),
            Self::Ignore => (open, ignored),
            Self::Reopen => (ignored, open),
        }
    }
}

/// The rows of one batch, locked in the order of their numbers, so that two who settle at once cannot deadlock.
fn chosen(list: List) -> String {
    let (table, condition) = (list.as_str(), list.condition());
    format!(
        "chosen AS (
             SELECT f.id FROM {table} f WHERE {condition} AND f.status = $10 AND f.id > $11
             ORDER BY f.id LIMIT $12 FOR UPDATE
         )"
    )
}

/// The change and its audit are one statement, and so one transaction.
fn settle(list: List) -> String {
    let table = list.as_str();
    let set = match list {
        List::Requests => {
            "resolved_at = CASE WHEN $13 = 'PENDING' THEN NULL ELSE $14::timestamptz END,
             resolved_by = CASE WHEN $13 = 'PENDING' THEN NULL ELSE $15 END,
             resolution = CASE WHEN $13 = 'PENDING' THEN NULL ELSE $17 END"
        }
        List::Letters => "updated_at = $14",
    };
    let chosen = chosen(list);
    format!(
        "WITH {chosen}, moved AS (
             UPDATE {table} f SET status = $13, {set} FROM chosen WHERE f.id = chosen.id RETURNING f.id
         ), audited AS (
             INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
             SELECT $14, $15, $16, '{table}/' || id, jsonb_build_object('from', $10, 'to', $13), $17 FROM moved ORDER BY id
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
            sqlx::query_scalar_with(AssertSqlSafe(settle(settling.list)), filter.arguments()?)
                .bind(from)
                .bind(after)
                .bind(limit)
                .bind(to)
                .bind(actor.now)
                .bind(actor.name)
                .bind(settling.verb.as_str())
                .bind(settling.reason)
                .fetch_all(&pool)
                .await
        })
        .await
    }

    /// How many rows of a choice can be settled so.
    pub async fn count_to_settle(&self, list: List, verb: Verb, filter: &Filter) -> Result<i64, RepoError> {
        let (table, condition) = (list.as_str(), list.condition());
        let select = format!("SELECT count(*) FROM {table} f WHERE {condition} AND f.status = $10");
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
}
