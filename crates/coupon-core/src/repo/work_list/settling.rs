//! Settling by operators: rows of the work list and dead letters are resolved, ignored and reopened, one or many.

use sqlx::{AssertSqlSafe, PgConnection, postgres::PgArguments};

use crate::{
    repo::{
        RepoError, WorkListRepository,
        audit::Actor,
        dlq_events::DlqEventStatus,
        failed_coupon_issues::FailedIssueStatus,
        replays::{Plan, SampledRow},
        work_list::{Filter, List},
    },
    words::words,
};

words! {
    /// A change that an operator makes of rows.
    pub enum Verb as "verb" {
        /// The row was put right.
        Resolve = "resolve",
        /// There is nothing to do.
        Ignore = "ignore",
        /// The row waits again.
        Reopen = "reopen",
    }
}

/// A change to be made.
#[derive(Clone, Debug)]
pub struct Settling {
    /// Table of the rows.
    pub list: List,
    /// Change.
    pub verb: Verb,
    /// Reason that the operator gave.
    pub reason: String,
}

impl Verb {
    /// Returns the statuses that a row may have, and the one it gets.
    ///
    /// A HELD dead letter is an accepted request without a decision: it cannot be settled.
    pub fn transition(self, list: List) -> (&'static [&'static str], &'static str) {
        const PENDING: &[&str] = &[FailedIssueStatus::Pending.as_str()];
        const SETTLED: &[&str] = &[FailedIssueStatus::Ignored.as_str(), FailedIssueStatus::Resolved.as_str()];
        const PARKED: &[&str] = &[DlqEventStatus::Parked.as_str()];
        const SETTLED_DLQ_EVENT: &[&str] = &[DlqEventStatus::Ignored.as_str(), DlqEventStatus::Resolved.as_str()];
        match (self, list) {
            (Self::Resolve, List::Requests) => (PENDING, FailedIssueStatus::Resolved.as_str()),
            (Self::Ignore, List::Requests) => (PENDING, FailedIssueStatus::Ignored.as_str()),
            (Self::Reopen, List::Requests) => (SETTLED, FailedIssueStatus::Pending.as_str()),
            (Self::Resolve, List::DlqEvents) => (PARKED, DlqEventStatus::Resolved.as_str()),
            (Self::Ignore, List::DlqEvents) => (PARKED, DlqEventStatus::Ignored.as_str()),
            (Self::Reopen, List::DlqEvents) => (SETTLED_DLQ_EVENT, DlqEventStatus::Parked.as_str()),
        }
    }

    /// Why a row `f` of a right status does not meet [`Self::condition`], as SQL.
    fn refusal(self, list: List) -> &'static str {
        match (self, list) {
            (Self::Reopen, _) => "f.status",
            (Self::Resolve | Self::Ignore, List::DlqEvents) => "'UNDECIDED'",
            (Self::Resolve | Self::Ignore, List::Requests) => "'UNDER_WAY'",
        }
    }

    /// Further condition of a row `f` ($1: the numbers that were given).
    fn condition(self, list: List) -> &'static str {
        match (self, list) {
            // RESOLVED ones by their numbers only: most of them were put right. The entry of a compensated replay is
            // not reopened, because the entry that it replays stays on the list.
            (Self::Reopen, List::Requests) => {
                "(f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)"
            }
            (Self::Reopen, List::DlqEvents) => "(f.status = 'IGNORED' OR f.id = ANY($1))",
            // A readable one is an accepted request, which has to be decided before it can be settled.
            (Self::Resolve | Self::Ignore, List::DlqEvents) => {
                "(f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
                     SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                     WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id))"
            }
            // A replay under way would issue a coupon beside whatever the operator did.
            (Self::Resolve | Self::Ignore, List::Requests) => {
                "NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
                             AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')))"
            }
        }
    }
}

/// The rows `f` of a filter that the change applies to; $10: the statuses that they may have.
fn applicable(list: List, verb: Verb) -> String {
    let (table, condition, further) = (list.as_str(), list.condition(), verb.condition(list));
    format!("FROM {table} f WHERE {condition} AND {further} AND f.status = ANY($10)")
}

/// Refusal of the change for the row `f`, or NULL; $10: the statuses that it may have.
fn classify(list: List, verb: Verb) -> String {
    let (table, further, why) = (list.as_str(), verb.condition(list), verb.refusal(list));
    format!(
        "CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ({further}) THEN {why} END AS refusal FROM {table} f"
    )
}

/// Locks the rows of one batch in the order of their numbers, so that two batches at once cannot deadlock.
fn lock(list: List, verb: Verb) -> String {
    let applicable = applicable(list, verb);
    ["SELECT f.id", &applicable, "AND f.id > $11 ORDER BY f.id LIMIT $12 FOR UPDATE"].join(" ")
}

/// The change of locked rows and its audit, in one statement. The condition is checked again, because it reads other
/// tables too: a replay that was linked while its row was waited for must be seen.
fn settle(list: List, verb: Verb) -> String {
    let (table, applicable) = (list.as_str(), applicable(list, verb));
    let set = match list {
        List::Requests => {
            "resolved_at = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $13::timestamptz END,
             resolved_by = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $14 END,
             resolution = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $16 END"
        }
        List::DlqEvents => "updated_at = $13",
    };
    format!(
        "WITH chosen AS (
             SELECT f.id, f.status {applicable} AND f.id = ANY($11)
         ), moved AS (
             UPDATE {table} f SET status = $12, {set} FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
         ), audited AS (
             INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
             SELECT $13, $14, $15, '{table}/' || id, jsonb_build_object('from', before, 'to', $12), $16, $17 FROM moved ORDER BY id
         )
         SELECT id FROM moved ORDER BY id"
    )
}

/// Settles a batch of rows in a transaction of the caller; `to_lock` and `to_settle` are the arguments of the filter.
pub(in crate::repo) async fn settle_batch(
    tx: &mut PgConnection,
    settling: Settling,
    (to_lock, to_settle): (PgArguments, PgArguments),
    (after, limit): (i64, i64),
    actor: Actor,
) -> Result<Vec<i64>, sqlx::Error> {
    let (from, to) = settling.verb.transition(settling.list);
    let lock = sqlx::query_scalar_with(AssertSqlSafe(lock(settling.list, settling.verb)), to_lock);
    let locked: Vec<i64> = lock.bind(from).bind(after).bind(limit).fetch_all(&mut *tx).await?;
    sqlx::query_scalar_with(AssertSqlSafe(settle(settling.list, settling.verb)), to_settle)
        .bind(from)
        .bind(locked)
        .bind(to)
        .bind(actor.now)
        .bind(&actor.by.name)
        .bind(settling.verb.as_str())
        .bind(settling.reason)
        .bind(actor.by.provenance())
        .fetch_all(tx)
        .await
}

impl WorkListRepository<'_> {
    /// Settles up to `limit` rows of a filter after the number `after`, each with its audit, all in one transaction.
    /// Returns their numbers, ascending; none: no row is left.
    pub async fn settle(
        self,
        settling: Settling,
        filter: Filter,
        after: i64,
        limit: i64,
        actor: Actor,
    ) -> Result<Vec<i64>, RepoError> {
        let arguments = (filter.arguments()?, filter.arguments()?);
        self.write("settle entries", move |pool| async move {
            let mut tx = pool.begin().await?;
            let settled = settle_batch(&mut tx, settling, arguments, (after, limit), actor).await?;
            tx.commit().await?;
            Ok(settled)
        })
        .await
    }

    /// Counts the rows of a filter that can be settled, and the others by the status, or the reason, because of which they
    /// cannot.
    pub async fn plan_settling(self, list: List, verb: Verb, filter: &Filter) -> Result<Plan, RepoError> {
        let select = AssertSqlSafe(Plan::select(&classify(list, verb), list.condition()));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(verb.transition(list).0);
        self.planned("plan what to settle", filter, select).await.map(Plan::of)
    }

    /// Returns up to ten rows of a filter that can be settled, lowest number first.
    pub async fn sample_settling(self, list: List, verb: Verb, filter: &Filter) -> Result<Vec<SampledRow>, RepoError> {
        let select = AssertSqlSafe(Plan::sample(&classify(list, verb), list.condition()));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(verb.transition(list).0);
        self.planned("sample what to settle", filter, select).await
    }

    /// Counts the rows of a filter that can be settled.
    pub async fn count_to_settle(self, list: List, verb: Verb, filter: &Filter) -> Result<i64, RepoError> {
        let select = AssertSqlSafe(["SELECT count(*)", &applicable(list, verb)].join(" "));
        let select = sqlx::query_scalar_with(select, filter.arguments()?).bind(verb.transition(list).0);
        self.read("count what would be settled", select.fetch_one(&self.pool())).await
    }

    /// Returns the statuses of those of these rows that exist.
    pub async fn statuses(self, list: List, ids: &[i64]) -> Result<Vec<(i64, String)>, RepoError> {
        let select = ["SELECT id, status FROM", list.as_str(), "WHERE id = ANY($1)"].join(" ");
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(ids);
        self.read("read where entries stand", select.fetch_all(&self.pool())).await
    }

    /// Returns why a filter can match nothing, whatever else it asks: there is no such campaign, or no row has its
    /// cause. `None`: nothing is mistyped.
    pub async fn mistyped(self, list: List, filter: &Filter) -> Result<Option<String>, RepoError> {
        let (table, condition) = (list.as_str(), list.condition());
        let exists = format!(
            "SELECT EXISTS (SELECT FROM {table} f WHERE {condition}) OR EXISTS (SELECT FROM coupons WHERE coupon_code = $3)"
        );
        let has_any = async |filter: Filter| {
            let select = sqlx::query_scalar_with(AssertSqlSafe(exists.clone()), filter.arguments()?);
            self.read("look whether a name is known", select.fetch_one(&self.pool())).await
        };
        if let Some(coupon) = &filter.coupon
            && !has_any(Filter { coupon: Some(coupon.clone()), ..Filter::default() }).await?
        {
            return Ok(Some(format!("there is no coupon {coupon}; `issuer-api coupon list` shows them all")));
        }
        if let Some(cause) = &filter.cause
            && !has_any(Filter { cause: Some(cause.clone()), ..Filter::default() }).await?
        {
            let flag = if list == List::DlqEvents { " --dead-letters" } else { "" };
            return Ok(Some(format!(
                "no cause and no reason holds {cause:?}; `dlq-consumer causes{flag}` shows which there are"
            )));
        }
        Ok(None)
    }
}
