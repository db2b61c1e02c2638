//! `/dead-letters/{id}`: one record, with its bytes for those who may see them.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    audit::AuditRow,
    dlq_events::DlqEvent,
    failed_coupon_issues::FailedCouponIssue,
    work_list::{List, Note},
};
use coupon_operations::work_list::DeadLetterDetails;
use serde::Serialize;

use super::bytes::Bytes;
use crate::{
    Console,
    access::{Caller, Role, SEES_MEMBERS},
    answer::{Failure, Frame, View},
    mask,
    pages::work::{Asked, gone, id, path},
};

/// The page.
#[derive(Debug, Serialize)]
struct Record {
    #[serde(flatten)]
    dead_letter: DlqEvent,
    /// Key; absent without one, and for those who may not see bytes.
    key: Option<Bytes>,
    /// Value.
    value: Option<Bytes>,
    /// Headers in order.
    headers: Vec<Header>,
    /// Whether key, value and headers are left out: they hold the member.
    bytes_are_hidden: bool,
    /// Entry of the request on the work list.
    entry: Option<FailedCouponIssue>,
    /// Its rows in the audit, newest first.
    audit: Vec<AuditRow>,
    /// What operators noted on it, oldest first.
    notes: Vec<Note>,
    #[serde(skip)]
    now: DateTime<Utc>,
    #[serde(skip)]
    number: String,
    #[serde(skip)]
    cause_view: String,
}

/// A header of the record.
#[derive(Debug, Serialize)]
struct Header {
    name: String,
    /// Value; absent where it is null.
    value: Option<Bytes>,
}

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct RecordPage<'a> {
    frame: &'a Frame,
    page: &'a Record,
    notes: &'a [Note],
    audit: &'a [AuditRow],
    own: String,
    may_act: bool,
    may_compensate: bool,
    may_see_members: bool,
    is_undecided: bool,
}

impl View for Record {
    fn title(&self) -> String {
        format!("Dead letter {}", self.number)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (may_act, may_compensate) = (frame.can(&Role::Operator), frame.can(&Role::Admin));
        let is_undecided = matches!(self.dead_letter.status.as_str(), "HELD" | "PARKED");
        let may_see_members = frame.may(&SEES_MEMBERS);
        let (notes, audit) = (self.notes.as_slice(), self.audit.as_slice());
        let own = format!("/dead-letters/{}", self.number);
        let page = self;
        RecordPage { frame, page, notes, audit, own, may_act, may_compensate, may_see_members, is_undecided }.render()
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
    let id = id(console, number, List::DlqEvents)?;
    let number = List::DlqEvents.number(id);
    let Some(details) = console.operations.dead_letter(id).await? else { return Err(gone(console, number).await?) };
    let DeadLetterDetails { mut dead_letter, payload_base64, record_key_base64, headers, entry, audit, notes, .. } =
        details;
    let (mut audit, mut notes, mut entry) = (audit, notes, entry);
    for row in &mut audit {
        mask::audit(caller, row);
    }
    for row in &mut notes {
        mask::note(caller, row);
    }
    mask::dead_letter(caller, &mut dead_letter);
    let cause = Asked { cause: Some(dead_letter.cause.clone()), ..Asked::default() };
    if let Some(row) = &mut entry {
        mask::entry(caller, row);
    }
    let bytes_are_hidden = !caller.sees_members();
    let shown = |base64: Option<String>| base64.filter(|_| !bytes_are_hidden).map(|base64| Bytes::of(&base64));
    let headers = if bytes_are_hidden { Vec::new() } else { headers_of(&headers) };
    Ok(console.show(
        caller,
        &Record {
            key: shown(record_key_base64),
            value: shown(payload_base64),
            headers,
            bytes_are_hidden,
            entry,
            audit,
            notes,
            now: console.operations.clock.now(),
            number: number.to_string(),
            cause_view: cause.at(path(List::DlqEvents)),
            dead_letter,
        },
    ))
}

/// Reads the headers as the row has them: `[{"name": …, "value": base64 or null}]`.
fn headers_of(headers: &serde_json::Value) -> Vec<Header> {
    let header = |header: &serde_json::Value| {
        let name = coupon_core::runtime::Escaped(header["name"].as_str().unwrap_or_default()).to_string();
        Header { name, value: header["value"].as_str().map(Bytes::of) }
    };
    headers.as_array().into_iter().flatten().map(header).collect()
}
