//! One page of a list: the same for the work list and for dead letters.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    Database, RepoError,
    work_list::{CappedCount, Filter, List, SavedView},
};
use serde::Serialize;

use super::Asked;
use crate::{
    Console,
    access::{Caller, Rendering},
    answer::{Failure, View},
    params,
    tile::Tile,
};

/// Rows that are counted; beyond them there are "at least" so many.
const MAX_COUNTED: i64 = 100_000;
/// Newer rows that are counted.
const MAX_NEWER: i64 = 1_000;

/// One page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Listing<R> {
    /// What was asked for.
    pub filter: Asked,
    /// Rows, newest first.
    pub rows: Vec<R>,
    /// Number of rows that match.
    pub total: Tile<CappedCount>,
    /// Number of rows that match and are newer than the bound `up_to`.
    pub newer: Tile<CappedCount>,
    /// Where the search for this page ended before the list did.
    pub searched_to: Option<String>,
    /// Path and query of the page with older rows.
    pub older: Option<String>,
    /// Path and query of the page with newer rows, up to the bound.
    pub newer_page: Option<String>,
    /// Path and query of the same filter without a bound.
    pub unbound: String,
    /// Views that the operator keeps.
    pub saved: Tile<Vec<SavedView>>,
    /// Numbers of the rows, newest first.
    #[serde(skip)]
    pub ids: Vec<i64>,
    #[serde(skip)]
    pub now: DateTime<Utc>,
}

/// A row of a list.
pub(crate) trait Listed: Send + Sized + 'static {
    /// The list that it is of.
    const LIST: List;

    /// Returns the rows of a filter, newest first.
    fn read(
        database: &Database,
        filter: &Filter,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, RepoError>> + Send;

    /// Leaves of it what an operator may see.
    fn mask(&mut self, caller: &Caller);
}

/// Answers with one page of the list of `R`.
pub(in crate::pages) async fn show<R: Listed>(
    State(console): State<Console>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response
where
    Listing<R>: View,
{
    let answer = page::<R>(&console, &caller, query.as_deref()).await;
    console.answer(&caller, answer)
}

async fn page<R: Listed>(console: &Console, caller: &Caller, query: Option<&str>) -> Result<Response, Failure>
where
    Listing<R>: View,
{
    let asked = match asked(console, caller, R::LIST, query).await? {
        Ok(asked) => asked,
        Err(bound) => return Ok(Redirect::to(&bound).into_response()),
    };
    let mut listing = Listing::<R>::of(console, caller, R::LIST, asked).await?;
    if !listing.ids.is_empty() {
        let (ids, limit) = (listing.ids.clone(), i64::try_from(listing.ids.len()).unwrap_or(i64::MAX));
        let filter = Filter { ids, ..Filter::default() };
        listing.rows = R::read(&console.operations.database, &filter, limit).await?;
    }
    listing.rows.iter_mut().for_each(|row| row.mask(caller));
    Ok(console.show(caller, &listing))
}

/// The path of a list's page.
pub(crate) fn path(list: List) -> &'static str {
    match list {
        List::Requests => "/work",
        List::DlqEvents => "/dead-letters",
    }
}

impl<R> Listing<R> {
    /// Returns the page of a list that a query asks for, with the numbers of its rows and not yet the rows.
    pub(crate) async fn of(console: &Console, caller: &Caller, list: List, asked: Asked) -> Result<Self, Failure> {
        let (now, path) = (console.operations.clock.now(), path(list));
        let mut page = asked.page(list, now)?;
        page.filter.is_cause_only = !caller.sees_members();
        let work_list = console.operations.database.work_list();
        let newer = async {
            let Some(up_to) = page.filter.up_to else {
                return Ok::<_, RepoError>(CappedCount { count: 0, at_least: false });
            };
            let unbound = Filter { up_to: None, ..page.filter.clone() };
            work_list.count_capped(list, &unbound, Some(up_to), MAX_NEWER).await
        };
        let (found, total, newer, saved) = tokio::join!(
            work_list.page(list, &page),
            Tile::of("PostgreSQL", work_list.count_capped(list, &page.filter, None, MAX_COUNTED)),
            Tile::of("PostgreSQL", newer),
            Tile::of("PostgreSQL", work_list.saved_views(&caller.name, path)),
        );
        let found = found?;
        let number = |id: i64| list.number(id).to_string();
        // Towards newer rows the page is read from its oldest row on: there are older ones where it began.
        let (more_older, more_newer) = if page.after.is_some() { (true, found.more) } else { (found.more, false) };
        let searched_to = found.searched_to.map(number);
        let (older_than, newer_than) = match page.after {
            Some(after) => (Some(found.ids.last().map_or(after + 1, |last| *last)), found.ids.first().copied()),
            None => (
                found.ids.last().copied().filter(|_| more_older).or(found.searched_to),
                page.before.map(|before| found.ids.first().map_or(before - 1, |first| *first)),
            ),
        };
        let newer_than = newer_than.filter(|_| more_newer || page.before.is_some());
        let first = asked.first_page();
        let older = older_than.map(|id| Asked { before: Some(number(id)), ..first.clone() }.at(path));
        let newer_page = newer_than.map(|id| Asked { after: Some(number(id)), ..first.clone() }.at(path));
        let unbound = asked.unbound().at(path);
        let (filter, rows, ids) = (asked, Vec::new(), found.ids);
        Ok(Self { filter, rows, total, newer, searched_to, older, newer_page, unbound, saved, ids, now })
    }
}

/// Reads the query of a list. `Err` in `Ok` is the address with the bound of now, to which a browser is led, so that what
/// comes later moves nothing under somebody's eyes and is offered as a link.
async fn asked(
    console: &Console,
    caller: &Caller,
    list: List,
    query: Option<&str>,
) -> Result<Result<Asked, String>, Failure> {
    let asked: Asked = params::query(query)?;
    if let Some(verb) = asked.forbidden(caller) {
        console.deny_role(caller, verb, path(list)).await;
        return Err(Failure::forbidden(verb, caller));
    }
    let is_bound = asked.up_to.is_some() || params::notice(&caller.view).is_some();
    if is_bound || caller.rendering == Rendering::Json {
        return Ok(Ok(asked));
    }
    // What cannot be meant is said at once.
    asked.page(list, console.operations.clock.now())?;
    match console.operations.database.work_list().newest(list).await? {
        Some(newest) => {
            let bound = Asked { up_to: Some(list.number(newest).to_string()), ..asked };
            Ok(Err(format!("{}{}", console.base_path(), bound.at(path(list)))))
        }
        None => Ok(Ok(asked)),
    }
}

/// Returns the address of the rows of a filter, without numbers and bound.
pub(crate) fn of_filter(list: List, filter: &Filter) -> String {
    let asked = Asked {
        status: filter.status.clone(),
        campaign: filter.coupon.as_ref().map(ToString::to_string),
        cause: filter.cause.clone(),
        reason: filter.reason.clone(),
        class: filter.class.clone(),
        member: filter.member.as_ref().map(|member| member.as_str().to_owned()),
        request: filter.request_id.map(|id| id.to_string()),
        since: filter.since.map(|at| at.to_rfc3339()),
        until: filter.until.map(|at| at.to_rfc3339()),
        replayed: filter.replayed.map(|is| if is { "yes" } else { "no" }.to_owned()),
        claimed: filter.claimed_by.clone(),
        ..Asked::default()
    };
    asked.at(path(list))
}
