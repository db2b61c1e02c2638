//! Pages of a list for people who wait: bounded, however many rows there are and whatever is asked for.

use sqlx::AssertSqlSafe;

use crate::repo::{
    RepoError, WorkListRepository,
    work_list::{Filter, List},
};

/// Rows that one page is searched in for what no index finds.
pub const SEARCHED_ROWS: i64 = 20_000;

/// One page of a list: the rows of a filter next to a number.
#[derive(Clone, Debug)]
pub struct Page {
    /// Choice of rows.
    pub filter: Filter,
    /// Rows below this number, the newest of them; `None` with `after` absent too: the newest of all.
    pub before: Option<i64>,
    /// Rows above this number, the oldest of them.
    pub after: Option<i64>,
    /// Most rows.
    pub limit: i64,
}

/// The numbers of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Numbers, newest first.
    pub ids: Vec<i64>,
    /// Whether there are more rows in the direction of the page.
    pub more: bool,
    /// The last number that was searched, where a search ended before the list did.
    pub searched_to: Option<i64>,
}

/// A number of rows, counted up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CappedCount {
    /// Rows counted.
    pub count: i64,
    /// Whether there may be more.
    pub at_least: bool,
}

impl WorkListRepository<'_> {
    /// Returns the numbers of a page. What no index finds is searched for in the next [`SEARCHED_ROWS`] rows.
    pub async fn page(self, list: List, page: &Page) -> Result<Found, RepoError> {
        let (candidates, condition) = (candidates(list, "f.*"), list.searched());
        let order = order(page.after.is_some());
        let rows = if page.filter.is_search() { SEARCHED_ROWS } else { page.limit + 1 };
        let select = format!(
            "SELECT f.id FROM ({candidates} ORDER BY f.id {order} LIMIT {rows}) f
             WHERE {condition} ORDER BY f.id {order} LIMIT $12"
        );
        // Unnamed, so that the server plans for what is asked for: a plan for every filter would search all rows.
        let select = sqlx::query_scalar_with(AssertSqlSafe(select), page.filter.arguments()?).persistent(false);
        let select = select.bind(page.before).bind(page.after).bind(page.limit + 1);
        let mut ids: Vec<i64> = self.read("list a page", select.fetch_all(&self.pool())).await?;
        let limit = usize::try_from(page.limit).unwrap_or(0);
        let more = ids.len() > limit;
        ids.truncate(limit);
        if page.after.is_some() {
            ids.reverse();
        }
        let searched_to = if page.filter.is_search() && !more { self.searched_to(list, page).await? } else { None };
        Ok(Found { ids, more, searched_to })
    }

    /// Returns the last number that a search for a page comes to; `None`: it comes to the end of the list.
    async fn searched_to(self, list: List, page: &Page) -> Result<Option<i64>, RepoError> {
        let (candidates, order) = (candidates(list, "f.id"), order(page.after.is_some()));
        let last = SEARCHED_ROWS - 1;
        let select = format!("{candidates} ORDER BY f.id {order} OFFSET {last} LIMIT 1");
        let select = sqlx::query_scalar_with(AssertSqlSafe(select), page.filter.arguments()?).persistent(false);
        let select = select.bind(page.before).bind(page.after);
        self.read("look how far a search came", select.fetch_optional(&self.pool())).await
    }

    /// Counts the rows of a filter above a number, up to `cap` of them. What no index finds is counted in the newest
    /// [`SEARCHED_ROWS`] rows.
    pub async fn count_capped(
        self,
        list: List,
        filter: &Filter,
        above: Option<i64>,
        cap: i64,
    ) -> Result<CappedCount, RepoError> {
        // Whether there may be more: one row beyond what may be looked at is asked for.
        let (bound, select) = if filter.is_search() {
            let (candidates, condition) = (candidates(list, "f.*"), list.searched());
            let select = format!(
                "SELECT count(*) FILTER (WHERE {condition}), count(*) > $12
                 FROM ({candidates} ORDER BY f.id DESC LIMIT $12 + 1) f"
            );
            (SEARCHED_ROWS, select)
        } else {
            let candidates = candidates(list, "f.id");
            let counted = "SELECT least(count(*), $12), count(*) > $12 FROM (";
            (cap, [counted, &candidates, " LIMIT $12 + 1) f"].concat())
        };
        let select = sqlx::query_as_with(AssertSqlSafe(select), filter.arguments()?).persistent(false);
        let select = select.bind(None::<i64>).bind(above).bind(bound);
        let (count, at_least): (i64, bool) = self.read("count a list", select.fetch_one(&self.pool())).await?;
        Ok(CappedCount { count, at_least })
    }

    /// Returns the last number of the next `rows` rows that an index finds for a filter, lowest number first; `None`: there are no
    /// more. What each row has to be searched for does not count.
    pub async fn step(self, list: List, filter: &Filter, rows: i64) -> Result<Option<i64>, RepoError> {
        let candidates = candidates(list, "f.id");
        let select = ["SELECT max(id) FROM (", &candidates, " ORDER BY f.id LIMIT $12) f"].concat();
        let select = sqlx::query_scalar_with(AssertSqlSafe(select), filter.arguments()?).persistent(false);
        let select = select.bind(None::<i64>).bind(None::<i64>).bind(rows);
        self.read("look for the next rows", select.fetch_one(&self.pool())).await
    }

    /// Returns the highest number of a list; `None`: it is empty.
    pub async fn newest(self, list: List) -> Result<Option<i64>, RepoError> {
        let select = ["SELECT max(id) FROM", list.as_str()].join(" ");
        self.read("look for the newest row", sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(&self.pool())).await
    }
}

/// Selects these columns of the rows `f` that an index finds; $10: below, $11: above.
fn candidates(list: List, columns: &str) -> String {
    let (table, condition) = (list.as_str(), list.indexed());
    format!(
        "SELECT {columns} FROM {table} f
         WHERE {condition} AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)"
    )
}

fn order(is_ascending: bool) -> &'static str {
    if is_ascending { "ASC" } else { "DESC" }
}
