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
    params,
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
        JobPage { frame, page: self, may_cancel, silent }.render()
    }
}

impl JobView {
    fn of(caller: &Caller, row: ServiceJob, now: DateTime<Utc>) -> Self {
        let mut job = serde_json::to_value(&row).unwrap_or_default();
        progress::mask(caller, &mut job["change"]["filter"]);
        let count = |name: &str| row.progress[name].as_i64();
        let (done, total) = (count("done"), count("total"));
        let elapsed = (now - row.created_at).num_seconds();
        let left = |(done, total): (i64, i64)| (done > 0).then(|| (total - done).max(0) * elapsed / done);
        let is_running = row.status == ServiceJobStatus::Running;
        let others = row.progress.as_object().into_iter().flatten();
        let others = others.filter(|(name, value)| {
            !matches!(name.as_str(), "done" | "total" | "refused") && !value.is_null() && !value.is_object()
        });
        Self {
            seconds_left: done.zip(total).and_then(left).filter(|_| is_running),
            words: words(caller, &row.change),
            refused: progress::by_reason(&row.progress["refused"]),
            others: others.map(|(name, value)| (name.replace('_', " "), text(value))).collect(),
            done,
            total,
            job,
            row,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn words(caller: &Caller, change: &Change) -> Vec<(&'static str, String)> {
    match change {
        Change::Replay { list, filter, .. }
        | Change::Resolve { list, filter }
        | Change::Ignore { list, filter }
        | Change::Reopen { list, filter } => progress::words(caller, *list, filter),
        Change::Compensate { filter } => progress::words(caller, List::DlqEvents, filter),
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
