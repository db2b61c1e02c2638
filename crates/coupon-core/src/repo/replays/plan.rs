//! Which rows of the work list a filter replays, and why the others cannot be replayed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{
    AssertSqlSafe, FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};

use crate::{
    repo::{
        Database, ReplayRepository, RepoError,
        work_list::{FAILED_ISSUE_FILTER, Filter},
    },
    words::words,
};

words! {
    /// Reason why a row of the work list cannot be replayed now.
    pub enum Refusal as "reason against a replay" {
        /// The row is RESOLVED or IGNORED.
        NotPending = "NOT_PENDING",
        /// An operator has compensated the request by hand: only a replay of its number takes it.
        DecidedByHand = "DECIDED_BY_HAND",
        /// PostgreSQL knows no such coupon.
        CouponUnknown = "COUPON_UNKNOWN",
        /// The campaign is archived.
        Archived = "ARCHIVED",
        /// The campaign is being opened or rebuilt.
        NotReady = "NOT_READY",
        /// The campaign is closed or its window is over, and the window is not ignored.
        CampaignOver = "CAMPAIGN_OVER",
        /// The member holds a coupon by another request.
        MemberHoldsOne = "MEMBER_HOLDS_ONE",
        /// The give-back of the request is due.
        NotGivenBack = "NOT_GIVEN_BACK",
        /// A replay of the row is under way.
        UnderWay = "UNDER_WAY",
        /// The row has been replayed three times.
        TooOften = "TOO_OFTEN",
    }
}

/// Number of rows that a filter chooses, and of those that can be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Rows that can be replayed.
    pub eligible: i64,
    /// Rows that cannot be replayed, by reason.
    pub refused: BTreeMap<String, i64>,
    /// Highest number among all rows; 0: there is none.
    pub up_to: i64,
    /// Whether only a part of the rows was counted: there may be more of both.
    pub at_least: bool,
}

/// A row that a plan shows as an example.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SampledRow {
    /// Number.
    pub id: i64,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// Member.
    pub member_id: Option<String>,
    /// Cause of its failure; empty in rows of older builds.
    pub cause: String,
}

impl Plan {
    /// Returns the number of rows that a replay comes to, whether they can be replayed or not.
    pub fn chosen(&self) -> i64 {
        let is_passed_over = |reason: &str| reason == Refusal::DecidedByHand.as_str();
        let refused = self.refused.iter().filter(|(reason, _)| !is_passed_over(reason));
        self.eligible + refused.map(|(_, count)| count).sum::<i64>()
    }

    /// Adds the plan of other rows.
    pub fn add(&mut self, other: Self) {
        self.eligible += other.eligible;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.up_to = self.up_to.max(other.up_to);
        self.at_least |= other.at_least;
    }

    /// Returns the number of rows that were counted.
    pub fn counted(&self) -> i64 {
        self.eligible + self.refused.values().sum::<i64>()
    }

    /// SQL that counts the rows `f` of a filter by refusal; `classify` selects the refusal from the table.
    pub(in crate::repo) fn select(classify: &str, filter: &str) -> String {
        format!(
            "SELECT refusal, count(*), max(id) FROM (SELECT f.id, {classify} WHERE {filter}) AS classified GROUP BY refusal"
        )
    }

    /// SQL of up to ten rows `f` of a filter that are not refused, as [`SampledRow`]s.
    pub(in crate::repo) fn sample(classify: &str, filter: &str) -> String {
        format!(
            "SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
             FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause, {classify} WHERE {filter}) AS classified
             WHERE refusal IS NULL ORDER BY id LIMIT 10"
        )
    }

    /// The plan of the rows of [`Plan::select`]: refusal (`None`: the row can be replayed), count, highest number.
    pub(in crate::repo) fn of(classified: Vec<(Option<String>, i64, i64)>) -> Self {
        let mut plan = Self::default();
        for (refusal, count, highest) in classified {
            plan.up_to = plan.up_to.max(highest);
            match refusal {
                None => plan.eligible = count,
                Some(reason) => {
                    plan.refused.insert(reason, count);
                }
            }
        }
        plan
    }
}

/// Refusal of a replay of the row `f`, or NULL; $10: whether the window is ignored, $11: now. The refusal that an
/// operator can do least about comes first.
const CLASSIFY: &str = "
    CASE WHEN f.status <> 'PENDING' THEN 'NOT_PENDING'
         WHEN f.decided_by_hand AND $1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'
         WHEN c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
         WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
         WHEN EXISTS (SELECT FROM coupon_issues h WHERE h.coupon_id = c.coupon_id AND h.member_id = f.member_id
                      AND h.decision = 'ISSUED') THEN 'MEMBER_HOLDS_ONE'
         WHEN EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IN ('RESERVED', 'HOLDS_ONE'))
             THEN 'UNDER_WAY'
         WHEN f.replay_count >= 3 AND NOT EXISTS
             (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IS NULL) THEN 'TOO_OFTEN'
         WHEN c.status NOT IN ('OPEN', 'CLOSED') THEN 'NOT_READY'
         WHEN NOT $10 AND (c.status = 'CLOSED' OR c.closes_at <= $11) THEN 'CAMPAIGN_OVER'
         WHEN i.given_back_at IS NULL THEN 'NOT_GIVEN_BACK'
    END AS refusal
    FROM failed_coupon_issues f
    LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
    LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id";

/// A request that an operator has compensated by hand is replayed only if its number is given ($1), never by a filter
/// that happens to choose it: the member may have been paid otherwise.
const NOT_BY_HAND: &str = "($1::bigint[] <> '{}' OR NOT f.decided_by_hand)";

impl Database {
    /// Runs a query of a plan. Of a filter without `above` it may have to look at all rows of a table, so it may take longer than
    /// other statements.
    pub(in crate::repo) async fn planned<T>(
        &self,
        doing: &'static str,
        filter: &Filter,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, RepoError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let pool = self.pool();
        // Unnamed, so that the server plans for what is asked for: a plan for every filter would search all rows.
        let query = query.persistent(false);
        if filter.above.is_some() {
            return self.read(doing, query.fetch_all(&pool)).await;
        }
        let read = async {
            let mut tx = pool.begin().await?;
            sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *tx).await?;
            let rows = query.fetch_all(&mut *tx).await?;
            tx.commit().await?;
            Ok(rows)
        };
        self.long_read(doing, read).await
    }
}

impl ReplayRepository<'_> {
    /// Counts the rows of a filter that can be replayed, and the others by refusal. Changes nothing.
    pub async fn plan(self, filter: &Filter, after_close: bool, now: DateTime<Utc>) -> Result<Plan, RepoError> {
        let select = AssertSqlSafe(Plan::select(CLASSIFY, FAILED_ISSUE_FILTER));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(after_close).bind(now);
        self.planned("plan a replay", filter, select).await.map(Plan::of)
    }

    /// Returns up to ten rows of a filter that can be replayed, lowest number first.
    pub async fn sample(
        self,
        filter: &Filter,
        after_close: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<SampledRow>, RepoError> {
        let select = AssertSqlSafe(Plan::sample(CLASSIFY, FAILED_ISSUE_FILTER));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(after_close).bind(now);
        self.planned("sample a replay", filter, select).await
    }

    /// Returns the numbers of up to `limit` rows of a filter after `after`, lowest first.
    pub async fn rows_to_replay(self, filter: &Filter, after: i64, limit: i64) -> Result<Vec<i64>, RepoError> {
        let select = AssertSqlSafe(format!(
            "SELECT f.id FROM failed_coupon_issues f WHERE {FAILED_ISSUE_FILTER} AND {NOT_BY_HAND} AND f.id > $10
             ORDER BY f.id LIMIT $11"
        ));
        let select = sqlx::query_scalar_with(select, filter.arguments()?).bind(after).bind(limit);
        self.read("list what to replay", select.fetch_all(&self.pool())).await
    }
}

/// Locks a row and returns the refusal of its replay. `chosen` are the arguments of a [`Filter`] by the row's number.
pub(super) async fn classify(
    tx: &mut PgConnection,
    row: i64,
    chosen: PgArguments,
    after_close: bool,
    now: DateTime<Utc>,
) -> Result<Option<Refusal>, sqlx::Error> {
    // First the lock, then the refusal: it has to see what others commit while the lock is waited for.
    sqlx::query("SELECT id FROM failed_coupon_issues WHERE id = $1 FOR UPDATE").bind(row).execute(&mut *tx).await?;
    let select = AssertSqlSafe(["SELECT", CLASSIFY, "WHERE", FAILED_ISSUE_FILTER].join(" "));
    let select = sqlx::query_scalar_with(select, chosen).bind(after_close).bind(now);
    let refusal: Option<Option<String>> = select.fetch_optional(&mut *tx).await?;
    match refusal {
        // Deleted meanwhile.
        None => Ok(Some(Refusal::NotPending)),
        Some(None) => Ok(None),
        Some(Some(refusal)) => refusal.parse().map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error))),
    }
}
