//! `/jobs`, `/jobs/{id}`: what services do for operators, other than replays.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{jobs::ServiceJobStatus, work_list::List};
use coupon_operations::{jobs::ServiceJob, plans::Change};
use serde::Serialize;
use serde_json::Value;

use super::{Asked, PAGE_ROWS, SILENT_SECONDS, number, progress};
use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    mask, params,
};

/// A job.
#[derive(Debug, Serialize)]
struct JobView {
    /// The job as it is stored.
    #[serde(flatten)]
    job: Value,
    /// Seconds until it has come to its end, at the rate so far; absent where that is not known.
    seconds_left: Option<i64>,
    #[serde(skip)]
    row: ServiceJob,
    #[serde(skip)]
    words: Vec<(&'static str, String)>,
    #[serde(skip)]
    refused: Vec<(String, i64)>,
    #[serde(skip)]
    done: Option<i64>,
    #[serde(skip)]
    total: Option<i64>,
    #[serde(skip)]
    others: Vec<(String, String)>,
}

/// The list.
#[derive(Debug, Serialize)]
struct JobsView {
    /// Jobs, newest first.
    jobs: Vec<JobView>,
    /// Path and query of the next page.
    older: Option<String>,
    #[serde(skip)]
    now: DateTime<Utc>,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage<'a> {
    frame: &'a Frame,
    page: &'a JobsView,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage<'a> {
    frame: &'a Frame,
    page: &'a JobView,
    is_reconcile: bool,
    may_cancel: bool,
    silent: Option<i64>,
}

impl View for JobsView {
    fn title(&self) -> String {
        "Jobs".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        JobsPage { frame, page: self }.render()
    }
}

impl View for JobView {
    fn title(&self) -> String {
        format!("Job {}", self.row.job_id)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let may_cancel = frame.can(&Role::Operator) && self.row.status == ServiceJobStatus::Running;
        let silent = self.row.idle_seconds.filter(|seconds| *seconds > SILENT_SECONDS);
        let is_reconcile = matches!(self.row.change, Change::Reconcile { .. });
        JobPage { frame, page: self, is_reconcile, may_cancel, silent }.render()
    }
}

impl JobView {
    fn of(caller: &Caller, mut row: ServiceJob, now: DateTime<Utc>) -> Self {
        let job = mask::job(caller, &mut row);
        let count = |name: &str| row.progress[name].as_i64();
        let (done, total) = (count("done"), count("total"));
        let elapsed = (now - row.created_at).num_seconds();
        let left = |(done, total): (i64, i64)| (done > 0).then(|| (total - done).max(0) * elapsed / done);
        let is_running = row.status == ServiceJobStatus::Running;
        // The campaigns of `codes` are among the words, and what is `read` is of use to the worker alone.
        let others = row.progress.as_object().into_iter().flatten();
        let others = others.filter(|(name, value)| {
            !matches!(name.as_str(), "done" | "total" | "refused" | "codes" | "read")
                && !value.is_null()
                && !value.is_object()
        });
        let others = others.map(|(name, value)| (name.replace('_', " "), text(value)));
        Self {
            seconds_left: done.zip(total).and_then(left).filter(|_| is_running),
            words: words(&row.change, &job["change"]),
            refused: progress::by_reason(&row.progress["refused"]),
            others: others.filter(|(_, value)| !value.is_empty()).collect(),
            done,
            total,
            job,
            row,
        }
    }
}

/// Returns a part of the progress in words; a campaign's part is its code with the verdict, or with why there is none.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(item) => match (item.get("coupon"), item.get("why").or_else(|| item.get("verdict"))) {
            (Some(coupon), Some(what)) => format!("{}: {}", text(coupon), text(what)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Returns what a change is about, as names and values. `shown` is its JSON as the operator may see it.
fn words(change: &Change, shown: &Value) -> Vec<(&'static str, String)> {
    match change {
        Change::Replay { list, .. }
        | Change::Resolve { list, .. }
        | Change::Ignore { list, .. }
        | Change::Reopen { list, .. } => progress::words(*list, &shown["filter"]),
        Change::Compensate { .. } => progress::words(List::DlqEvents, &shown["filter"]),
        Change::Reconcile { codes, apply } => {
            let codes: Vec<&str> = codes.iter().map(coupon_core::ids::CouponCode::as_str).collect();
            let campaigns = if codes.is_empty() { "all".to_owned() } else { codes.join(", ") };
            vec![("campaigns", campaigns), ("repairs", if *apply { "yes" } else { "no, it only compares" }.to_owned())]
        }
        Change::Rebuild { code, .. } | Change::Archive { code } => vec![("campaign", code.to_string())],
    }
}

pub(in crate::pages) async fn list(
    State(console): State<Console>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = list_page(&console, &caller, query.as_deref()).await;
    console.answer(&caller, answer)
}

async fn list_page(console: &Console, caller: &Caller, query: Option<&str>) -> Result<Response, Failure> {
    let Asked { before } = params::query(query)?;
    let rows = console.operations.service_jobs(before, PAGE_ROWS).await?;
    let now = console.operations.clock.now();
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == PAGE_ROWS);
    let older = rows.last().filter(|_| is_full).map(|row| format!("/jobs?before={}", row.job_id));
    let jobs = rows.into_iter().map(|row| JobView::of(caller, row, now)).collect();
    Ok(console.show(caller, &JobsView { jobs, older, now }))
}

pub(in crate::pages) async fn show(State(console): State<Console>, caller: Caller, Path(id): Path<String>) -> Response {
    let answer = page(&console, &caller, &id).await;
    console.answer(&caller, answer)
}

async fn page(console: &Console, caller: &Caller, id: &str) -> Result<Response, Failure> {
    let id = number(id, "job")?;
    let row = console.operations.service_job(id).await?;
    let row = row.ok_or_else(|| Failure::not_found(format!("there is no job {id}")))?;
    Ok(console.show(caller, &JobView::of(caller, row, console.operations.clock.now())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_is_told_in_words() {
        let reports =
            json!([{"coupon": "SPRING", "drift": {}, "verdict": "AGREE"}, {"coupon": "NIGHT", "why": "SUSPECT"}]);
        assert_eq!(text(&reports), "SPRING: AGREE, NIGHT: SUSPECT");
        assert_eq!(
            (text(&json!([])), text(&json!(["A", "B"])), text(&json!(7))),
            (String::new(), "A, B".to_owned(), "7".to_owned())
        );
    }
}
