//! `/work`: compensated requests, newest first.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use coupon_core::repo::{
    failed_coupon_issues::FailedCouponIssue,
    work_list::{Filter, List},
};

use super::{Listing, asked_of, mask_entry, path};
use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
};

/// The statuses by which the list is filtered.
const STATUSES: &[&str] = &["PENDING", "RESOLVED", "IGNORED"];

#[derive(Template)]
#[template(path = "work.html")]
struct WorkPage<'a> {
    frame: &'a Frame,
    page: &'a Listing<FailedCouponIssue>,
    path: &'static str,
    statuses: &'static [&'static str],
    is_work: bool,
    may_act: bool,
}

impl View for Listing<FailedCouponIssue> {
    fn title(&self) -> String {
        "Work list".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (path, may_act) = (path(List::Requests), frame.can(&Role::Operator));
        WorkPage { frame, page: self, path, statuses: STATUSES, is_work: true, may_act }.render()
    }
}

pub(in crate::pages) async fn list(
    State(console): State<Console>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = page(&console, &caller, query.as_deref()).await;
    console.answer(&caller, answer)
}

async fn page(console: &Console, caller: &Caller, query: Option<&str>) -> Result<Response, Failure> {
    let asked = match asked_of(console, caller, List::Requests, query).await? {
        Ok(asked) => asked,
        Err(bound) => return Ok(Redirect::to(&bound).into_response()),
    };
    let mut listing = Listing::of(console, caller, List::Requests, asked).await?;
    if !listing.ids.is_empty() {
        let (ids, limit) = (listing.ids.clone(), i64::try_from(listing.ids.len()).unwrap_or(i64::MAX));
        let filter = Filter { ids, ..Filter::default() };
        listing.rows = console.operations.database.failed_coupon_issues().list(&filter, None, limit).await?;
    }
    listing.rows.iter_mut().for_each(|row| mask_entry(caller, row));
    Ok(console.show(caller, &listing))
}
