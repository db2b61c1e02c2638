//! `/replays`, `/replays/{id}`: how far each replay is.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    replay_jobs::{Job, JobKind, JobStatus},
    work_list::{CappedCount, Filter, List},
};
use serde::Serialize;
use serde_json::Value;

use super::{Asked, PAGE_ROWS, SILENT_SECONDS, number, progress};
use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    mask, params,
    tile::Tile,
};

/// New rows that are counted.
const MAX_NEW: i64 = 1_000;

/// A replay.
#[derive(Debug, Serialize)]
struct ReplayView {
    /// The replay as it is stored.
    #[serde(flatten)]
    job: Value,
    /// Rows a second since its begin.
    rows_per_second: f64,
    /// Seconds until every row is begun, at its rate; absent while it does not run.
    seconds_left: Option<i64>,
    /// Rows that its filter would choose and that came after it was begun.
    new_rows: Option<Tile<CappedCount>>,
    #[serde(skip)]
    row: Job,
    #[serde(skip)]
    words: Vec<(&'static str, String)>,
    #[serde(skip)]
    refused: Vec<(String, i64)>,
    #[serde(skip)]
    new_view: Option<String>,
}

/// The list.
#[derive(Debug, Serialize)]
struct ReplaysView {
    /// Replays, newest first.
    replays: Vec<ReplayView>,
    /// Path and query of the next page.
    older: Option<String>,
    #[serde(skip)]
    now: DateTime<Utc>,
}

#[derive(Template)]
#[template(path = "replays.html")]
struct ReplaysPage<'a> {
    frame: &'a Frame,
    page: &'a ReplaysView,
}

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage<'a> {
    frame: &'a Frame,
    page: &'a ReplayView,
    may_act: bool,
    may_pause: bool,
    may_resume: bool,
    may_cancel: bool,
    silent: Option<i64>,
}

impl View for ReplaysView {
    fn title(&self) -> String {
        "Replays".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        ReplaysPage { frame, page: self }.render()
    }
}

impl View for ReplayView {
    fn title(&self) -> String {
        format!("Replay {}", self.row.job_id)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let (may_act, status) = (frame.can(&Role::Operator), self.row.status);
        let may_pause = status == JobStatus::Running;
        let may_resume = matches!(status, JobStatus::Paused | JobStatus::Stopped);
        let silent = self.row.idle_seconds.filter(|seconds| *seconds > SILENT_SECONDS);
        let may_cancel = may_pause || may_resume;
        ReplayPage { frame, page: self, may_act, may_pause, may_resume, may_cancel, silent }.render()
    }
}

impl ReplayView {
    fn of(caller: &Caller, mut row: Job) -> Self {
        let job = mask::replay(caller, &mut row);
        let seconds = (row.updated_at - row.created_at).num_milliseconds().max(1);
        #[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
        let rows_per_second = row.begun as f64 * 1_000.0 / seconds as f64;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "shown in whole seconds")]
        let seconds_left = ((row.chosen - row.begun).max(0) as f64 / row.per_second).ceil() as i64;
        Self {
            words: progress::words(list_of(&row), &job["filter"]),
            job,
            rows_per_second: (rows_per_second * 10.0).round() / 10.0,
            seconds_left: (row.status == JobStatus::Running).then_some(seconds_left),
            new_rows: None,
            refused: progress::by_reason(&row.refused),
            new_view: None,
            row,
        }
    }
}

fn list_of(job: &Job) -> List {
    match job.kind {
        JobKind::Requests => List::Requests,
        JobKind::DlqEvents => List::DlqEvents,
    }
}

async fn list_page(console: &Console, caller: &Caller, query: Option<&str>) -> Result<Response, Failure> {
    let Asked { before } = params::query(query)?;
    let rows = console.operations.database.replay_jobs().list(before, PAGE_ROWS).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == PAGE_ROWS);
    let older = rows.last().filter(|_| is_full).map(|row| format!("/replays?before={}", row.job_id));
    let replays = rows.into_iter().map(|row| ReplayView::of(caller, row)).collect();
    Ok(console.show(caller, &ReplaysView { replays, older, now: console.operations.clock.now() }))
}

pub(in crate::pages) async fn list(
    State(console): State<Console>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = list_page(&console, &caller, query.as_deref()).await;
    console.answer(&caller, answer)
}

pub(in crate::pages) async fn show(State(console): State<Console>, caller: Caller, Path(id): Path<String>) -> Response {
    let answer = page(&console, &caller, &id).await;
    console.answer(&caller, answer)
}

async fn page(console: &Console, caller: &Caller, id: &str) -> Result<Response, Failure> {
    let row = console.operations.job(number(id, "replay")?).await?;
    let list = list_of(&row);
    let filter = Filter { up_to: None, ..row.filter.0.clone() };
    let up_to = row.up_to_id;
    let mut view = ReplayView::of(caller, row);
    // A replay of named rows has no new ones.
    if filter.ids.is_empty() {
        let work_list = console.operations.database.work_list();
        let counted = work_list.count_capped(list, &filter, Some(up_to), MAX_NEW);
        view.new_rows = Some(Tile::of("PostgreSQL", counted).await);
        // A link would name what the filter hides.
        let is_whole = serde_json::to_value(&view.row.filter).is_ok_and(|whole| view.job["filter"] == whole);
        view.new_view = is_whole.then(|| crate::pages::work::of_filter(list, &filter));
    }
    Ok(console.show(caller, &view))
}
