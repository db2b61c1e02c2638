//! `/work/{id}`: all there is of one entry.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    audit::AuditRow,
    work_list::{List, Note, Number, TypedNumber},
};
use coupon_operations::work_list::{Entry, absent};
use serde::Serialize;

use super::path;
use crate::{
    Console,
    access::{Caller, Role, SEES_MEMBERS},
    answer::{Failure, Frame, View},
    mask,
};

/// The page.
#[derive(Debug, Serialize)]
struct EntryView {
    #[serde(flatten)]
    entry: Entry,
    #[serde(skip)]
    now: DateTime<Utc>,
    #[serde(skip)]
    number: String,
    #[serde(skip)]
    cause_view: String,
}

#[derive(Template)]
#[template(path = "entry.html")]
struct EntryPage<'a> {
    frame: &'a Frame,
    page: &'a EntryView,
    notes: &'a [Note],
    audit: &'a [AuditRow],
    own: String,
    may_act: bool,
    is_pending: bool,
    may_see_members: bool,
}

impl View for EntryView {
    fn title(&self) -> String {
        format!("Entry {}", self.number)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let is_pending = self.entry.entry.resolved_at.is_none();
        let (may_act, may_see_members) = (frame.can(&Role::Operator), frame.may(&SEES_MEMBERS));
        let (notes, audit) = (self.entry.notes.as_slice(), self.entry.audit.as_slice());
        let own = format!("/work/{}", self.number);
        EntryPage { frame, page: self, notes, audit, own, may_act, is_pending, may_see_members }.render()
    }
}

pub(in crate::pages) async fn show(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
) -> Response {
    let answer = page(&console, &caller, &number).await;
    console.answer(&caller, answer)
}

async fn page(console: &Console, caller: &Caller, number: &str) -> Result<Response, Failure> {
    let id = id(console, number, List::Requests)?;
    let number = List::Requests.number(id);
    let Some(mut entry) = console.operations.entry(id).await? else { return Err(gone(console, number).await?) };
    entry.audit.iter_mut().for_each(|row| mask::audit(caller, row));
    entry.notes.iter_mut().for_each(|row| mask::note(caller, row));
    entry.dead_letters.iter_mut().for_each(|row| mask::dead_letter(caller, row));
    mask::entry(caller, &mut entry.entry);
    let cause = super::Asked { cause: Some(entry.entry.cause()), ..super::Asked::default() };
    let (now, number) = (console.operations.clock.now(), number.to_string());
    Ok(console.show(caller, &EntryView { entry, now, number, cause_view: cause.at(path(List::Requests)) }))
}

/// Returns the id of a number in an address. The number of the other list is no page of this one.
pub(in crate::pages) fn id(console: &Console, number: &str, list: List) -> Result<i64, Failure> {
    let typed: TypedNumber = number.parse().map_err(|error| Failure::not_found(format!("{error}")))?;
    match typed.of(list) {
        Ok(id) => Ok(id),
        Err(wrong) => {
            let place = format!("{}{}/{}", console.base_path(), path(list.other()), wrong.0);
            Err(Failure::not_found(format!("{wrong}: it is at {place}")))
        }
    }
}

/// Returns the failure for a number that no row has, with the list that has one of this number.
pub(in crate::pages) async fn gone(console: &Console, number: Number) -> Result<Failure, Failure> {
    let other = number.list.other();
    let is_other = !console.operations.database.work_list().statuses(other, &[number.id]).await?.is_empty();
    let place = if is_other { format!(" (at {}/{})", path(other), other.number(number.id)) } else { String::new() };
    Ok(Failure::not_found(format!("{}{place}", absent(number, is_other))))
}
