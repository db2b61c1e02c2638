//! `/dead-letters`: records of the dead letter topic, newest first.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use coupon_core::repo::{
    dlq_events::DlqEvent,
    work_list::{Filter, List},
};

use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    pages::work::{Listing, asked_of, mask_dead_letter, path},
};

/// The statuses by which the list is filtered.
const STATUSES: &[&str] = &["HELD", "PARKED", "COMPENSATED", "RECOVERED", "DUPLICATE", "RESOLVED", "IGNORED"];

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage<'a> {
    frame: &'a Frame,
    page: &'a Listing<DlqEvent>,
    path: &'static str,
    statuses: &'static [&'static str],
    is_work: bool,
    may_act: bool,
    may_compensate: bool,
}

impl View for Listing<DlqEvent> {
    fn title(&self) -> String {
        "Dead letters".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (may_act, may_compensate) = (frame.can(&Role::Operator), frame.can(&Role::Admin));
        let (path, statuses, is_work) = (path(List::DlqEvents), STATUSES, false);
        DeadLettersPage { frame, page: self, path, statuses, is_work, may_act, may_compensate }.render()
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
    let asked = match asked_of(console, caller, List::DlqEvents, query).await? {
        Ok(asked) => asked,
        Err(bound) => return Ok(Redirect::to(&bound).into_response()),
    };
    let mut listing = Listing::of(console, caller, List::DlqEvents, asked).await?;
    if !listing.ids.is_empty() {
        let (ids, limit) = (listing.ids.clone(), i64::try_from(listing.ids.len()).unwrap_or(i64::MAX));
        let filter = Filter { ids, ..Filter::default() };
        listing.rows = console.operations.database.dlq_events().list(&filter, None, limit).await?;
    }
    listing.rows.iter_mut().for_each(|row| mask_dead_letter(caller, row));
    Ok(console.show(caller, &listing))
}
