//! `/audit`: who did what, when, why, and how that is known. As CSV with `format=csv`.

use std::io;

use askama::Template;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use coupon_core::repo::audit::{AuditFilter, AuditRow};
use coupon_operations::terminal::output::{Column, csv_rows, time};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Console,
    access::Caller,
    answer::{Failure, Frame, View},
    mask, params,
};

/// Changes on a page.
const PAGE_ROWS: i64 = 50;
/// Changes read at once for CSV.
const CSV_BATCH: i64 = 1_000;
/// Most changes in a CSV.
const MAX_CSV_ROWS: i64 = 100_000;

/// The filter and the place in the list.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// Name of the operator or the service.
    actor: Option<String>,
    /// The command, such as `resolve`.
    verb: Option<String>,
    /// What was changed, such as `coupons/SUMMER`, or what its name begins with.
    subject: Option<String>,
    /// At this time or later: RFC 3339, or a date, or a date and time in UTC.
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    /// Only changes with a lower number.
    before: Option<i64>,
    /// `csv`: as a file, at most 100,000 changes.
    format: Option<String>,
}

/// The page.
#[derive(Debug, Serialize)]
struct Audit {
    /// The filter.
    filter: Asked,
    /// The changes, newest first.
    rows: Vec<Entry>,
    /// The number before which the next page begins; `None`: there is none.
    next_before: Option<i64>,
}

/// One change as an operator may see it.
#[derive(Debug, Serialize)]
struct Entry {
    id: i64,
    at: DateTime<Utc>,
    actor: String,
    /// How the name is known: `TOKEN`, `ASSERTION`, `COMMAND_LINE`, `SERVICE`; `None` in rows of older builds.
    login: Option<String>,
    /// Whether the name was verified, or only claimed.
    is_verified: bool,
    role: Option<String>,
    source: Option<String>,
    plan_id: Option<i64>,
    verb: String,
    subject: String,
    /// What changed, as far as the operator may see it.
    change: Value,
    reason: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    frame: &'a Frame,
    audit: &'a Audit,
}

impl View for Audit {
    fn title(&self) -> String {
        "Audit".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        AuditPage { frame, audit: self }.render()
    }
}

impl Audit {
    /// Returns the query of this filter's newest changes.
    fn newest(&self) -> String {
        self.query(None)
    }

    /// Returns the query of the next page.
    fn older(&self) -> String {
        self.query(self.next_before.map(|before| ("before", before.to_string())))
    }

    /// Returns the query of the same as CSV.
    fn as_csv(&self) -> String {
        self.query(Some(("format", "csv".to_owned())))
    }

    fn query(&self, more: Option<(&'static str, String)>) -> String {
        let asked = &self.filter;
        let fields = [("actor", &asked.actor), ("verb", &asked.verb), ("subject", &asked.subject)];
        let times = [("since", &asked.since), ("until", &asked.until)];
        let kept = fields.into_iter().chain(times).filter_map(|(name, value)| Some((name, value.clone()?)));
        serde_urlencoded::to_string(kept.chain(more).collect::<Vec<_>>()).unwrap_or_default()
    }
}

impl Entry {
    fn of(mut row: AuditRow, caller: &Caller) -> Self {
        mask::audit(caller, &mut row);
        let known = row.provenance.unwrap_or_default();
        let text = |name: &str| known.get(name).and_then(Value::as_str).map(str::to_owned);
        let login = text("login");
        Self {
            id: row.id,
            at: row.at,
            actor: row.actor,
            is_verified: matches!(login.as_deref(), Some("TOKEN" | "ASSERTION")),
            login,
            role: text("role"),
            source: text("source"),
            plan_id: known.get("plan_id").and_then(Value::as_i64),
            verb: row.verb,
            subject: row.subject,
            change: row.change,
            reason: row.reason,
        }
    }

    fn is_service(&self) -> bool {
        self.login.as_deref() == Some("SERVICE")
    }

    fn shown_change(&self) -> String {
        if self.change.as_object().is_some_and(serde_json::Map::is_empty) {
            String::new()
        } else {
            self.change.to_string()
        }
    }
}

const COLUMNS: &[Column<Entry>] = &[
    ("id", |row| row.id.to_string()),
    ("at", |row| time(row.at)),
    ("actor", |row| row.actor.clone()),
    ("login", |row| row.login.clone().unwrap_or_default()),
    ("role", |row| row.role.clone().unwrap_or_default()),
    ("source", |row| row.source.clone().unwrap_or_default()),
    ("plan_id", |row| row.plan_id.map(|id| id.to_string()).unwrap_or_default()),
    ("verb", |row| row.verb.clone()),
    ("subject", |row| row.subject.clone()),
    ("change", |row| row.change.to_string()),
    ("reason", |row| row.reason.clone()),
];

/// Reads a time of a filter: RFC 3339, or a date with or without a time, in UTC.
fn moment(name: &str, text: Option<&String>) -> Result<Option<DateTime<Utc>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let naive = || {
        ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    };
    let date = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    let at = text.parse::<DateTime<Utc>>().ok().or_else(|| Some(naive().or_else(date)?.and_utc()));
    at.map(Some).ok_or_else(|| Failure::bad_input(format!("{name}={text}: expected a time such as 2026-11-28T17:54Z")))
}

pub(super) async fn list(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let answer = answer(&console, &caller, query.as_deref()).await;
    console.answer(&caller, answer)
}

async fn answer(console: &Console, caller: &Caller, query: Option<&str>) -> Result<Response, Failure> {
    let asked: Asked = params::query(query)?;
    // Whoever may not see members may not guess them either.
    if !caller.sees_members() && asked.subject.as_deref().is_some_and(|subject| subject.starts_with("/members/")) {
        return Err(Failure::bad_input(
            "subject=/members/…: changes of one member are shown from the role support on".to_owned(),
        ));
    }
    let filter = AuditFilter {
        subject: asked.subject.clone(),
        actor: asked.actor.clone(),
        verb: asked.verb.clone(),
        since: moment("since", asked.since.as_ref())?,
        until: moment("until", asked.until.as_ref())?,
    };
    match asked.format.as_deref() {
        None => {}
        Some("csv") => return csv(console, caller, filter, asked.before).await,
        Some(other) => return Err(Failure::bad_input(format!("format={other}: it is csv, or absent"))),
    }
    let mut rows = console.operations.database.audit().list(&filter, asked.before, PAGE_ROWS + 1).await?;
    let is_last = rows.len() <= usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX));
    let next_before = rows.last().filter(|_| !is_last).map(|row| row.id);
    let rows = rows.into_iter().map(|row| Entry::of(row, caller)).collect();
    Ok(console.show(caller, &Audit { filter: asked, rows, next_before }))
}

/// Streams the changes, a batch at a time.
async fn csv(
    console: &Console,
    caller: &Caller,
    filter: AuditFilter,
    before: Option<i64>,
) -> Result<Response, Failure> {
    let database = console.operations.database.clone();
    // The first batch is read before the answer begins, so that a server that is away is an answer too.
    let first = database.audit().list(&filter, before, CSV_BATCH).await?;
    let names = COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",") + "\n";
    let caller = caller.clone();
    let rows = stream::try_unfold((Some(first), 0), move |(batch, sent)| {
        let (database, filter, caller) = (database.clone(), filter.clone(), caller.clone());
        async move {
            let Some(batch) = batch.filter(|batch: &Vec<AuditRow>| !batch.is_empty()) else { return Ok(None) };
            let (last, count) = (batch.last().map(|row| row.id), i64::try_from(batch.len()).unwrap_or(CSV_BATCH));
            let sent = sent + count;
            let entries: Vec<Entry> = batch.into_iter().map(|row| Entry::of(row, &caller)).collect();
            let text = csv_rows(&entries, COLUMNS).map_err(io::Error::other)?;
            let next = if count < CSV_BATCH || sent >= MAX_CSV_ROWS {
                None
            } else {
                Some(database.audit().list(&filter, last, CSV_BATCH).await.map_err(io::Error::other)?)
            };
            Ok::<_, io::Error>(Some((text, (next, sent))))
        }
    });
    let whole = futures_util::StreamExt::chain(stream::iter([Ok(names)]), rows);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    Ok((headers, Body::from_stream(whole)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_filter_is_read_in_each_form_of_a_browser() {
        let read = |text: &str| moment("since", Some(&text.to_owned())).map(|at| at.map(time));
        for (text, at) in [
            ("2026-11-28", "2026-11-28T00:00:00.000Z"),
            ("2026-11-28T17:54", "2026-11-28T17:54:00.000Z"),
            ("2026-11-28T17:54:20+09:00", "2026-11-28T08:54:20.000Z"),
        ] {
            assert_eq!(read(text).ok().flatten().as_deref(), Some(at));
        }
        assert!(read("yesterday").is_err());
    }
}
