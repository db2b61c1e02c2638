//! `/reconcile`: where Redis and PostgreSQL differ, by kind, what each kind means and what to do; the history; a dry run and
//! its repair as jobs. `/reconcile/{id}`: one comparison of the history.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::{ids::CouponCode, repo::reconciliations::ReconciliationRow};
use coupon_operations::{jobs::JobRef, plans::Change, reconcile::Drift as Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Console,
    access::Caller,
    answer::{Failure, Frame, View},
    mask,
    params::{self, Form, reason},
    show::points,
};

/// Comparisons on a page.
const PAGE_ROWS: usize = 50;
/// Campaigns named of one kind of drift.
const MAX_CAMPAIGNS: usize = 10;

/// The choice and the place in the history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// Only this campaign.
    coupon: Option<String>,
    /// Only comparisons with a lower number.
    before: Option<i64>,
}

/// The page.
#[derive(Debug, Serialize)]
struct Reconcile {
    now: DateTime<Utc>,
    /// Only this campaign.
    coupon: Option<String>,
    /// Campaigns that were compared.
    campaigns: usize,
    /// What the last comparison of each campaign has found.
    drift: Vec<Drift>,
    /// The history, newest first.
    runs: Vec<Run>,
    /// The number before which the next page begins; `None`: there is none.
    next_before: Option<i64>,
}

/// Differences of one kind.
#[derive(Debug, Serialize)]
struct Drift {
    /// Kind.
    kind: String,
    /// What it means, and what to do.
    meaning: &'static str,
    /// Campaigns that have it, at most ten.
    campaigns: Vec<String>,
    /// Differences found.
    found: i64,
    /// Differences repaired, of those found.
    repaired: i64,
    /// Request ids, or values, of the first few.
    sample: Vec<String>,
    /// The end of the oldest of the last comparisons that found it.
    found_at: DateTime<Utc>,
}

/// A comparison of the history.
#[derive(Debug, Serialize)]
struct Run {
    id: i64,
    coupon_code: String,
    started_by: String,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    /// Whether it repaired.
    applied: bool,
    /// Holder entries read from Redis.
    holder_entries: i64,
    /// ISSUED rows read from PostgreSQL.
    issued_rows: i64,
    /// Requests that were under way, and could not be verified.
    in_flight: i64,
    /// Differences found.
    found: i64,
    /// Differences that were not repaired.
    left: i64,
}

/// One comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    run: Run,
    drift: Vec<Drift>,
}

/// The form of a dry run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// Codes of campaigns, separated by commas or spaces; absent: all that can be compared.
    codes: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Template)]
#[template(path = "reconcile.html")]
struct ReconcilePage<'a> {
    frame: &'a Frame,
    page: &'a Reconcile,
}

#[derive(Template)]
#[template(path = "reconcile_show.html")]
struct ComparisonPage<'a> {
    frame: &'a Frame,
    page: &'a Comparison,
}

impl View for Reconcile {
    fn title(&self) -> String {
        self.coupon.as_ref().map_or_else(|| "Reconcile".to_owned(), |code| format!("Reconcile {code}"))
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        ReconcilePage { frame, page: self }.render()
    }
}

impl View for Comparison {
    fn title(&self) -> String {
        format!("Comparison {} of {}", self.run.id, self.run.coupon_code)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        ComparisonPage { frame, page: self }.render()
    }
}

impl Reconcile {
    /// Whether one of the comparisons shown left differences.
    fn has_differences(&self) -> bool {
        self.runs.iter().any(|run| run.left > 0)
    }

    /// Returns the points of a sparkline: the differences left by the comparisons shown, the oldest first.
    fn points(&self) -> String {
        points(&self.runs.iter().rev().map(|run| run.left).collect::<Vec<i64>>())
    }
}

impl From<&ReconciliationRow> for Run {
    fn from(row: &ReconciliationRow) -> Self {
        let sum = |name: &str| kinds(row).map(|(_, drift)| number(drift, name)).sum::<i64>();
        let found = sum("found");
        Self {
            id: row.id,
            coupon_code: row.coupon_code.clone(),
            started_by: row.started_by.clone(),
            started_at: row.started_at,
            finished_at: row.finished_at,
            applied: row.applied,
            holder_entries: row.marks,
            issued_rows: row.issued_rows,
            in_flight: row.in_flight,
            found,
            left: found - sum("repaired"),
        }
    }
}

fn kinds(row: &ReconciliationRow) -> impl Iterator<Item = (&String, &Value)> {
    row.drift.as_object().into_iter().flatten()
}

fn number(drift: &Value, name: &str) -> i64 {
    drift.get(name).and_then(Value::as_i64).unwrap_or(0)
}

fn kind_of(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// Returns the differences that these comparisons have found, by kind, as far as an operator may see them.
fn by_kind(rows: &mut [ReconciliationRow], caller: &Caller) -> Vec<Drift> {
    for row in rows.iter_mut() {
        mask::drift(caller, &mut row.drift);
    }
    let mut found = BTreeMap::<&String, Drift>::new();
    for row in &*rows {
        for (name, drift) in kinds(row) {
            let kind = kind_of(name);
            let of = found.entry(name).or_insert_with(|| Drift {
                kind: name.clone(),
                meaning: kind.map_or("a kind that this build does not know", Kind::meaning),
                campaigns: Vec::new(),
                found: 0,
                repaired: 0,
                sample: Vec::new(),
                found_at: row.finished_at,
            });
            of.found += number(drift, "found");
            of.repaired += number(drift, "repaired");
            of.found_at = of.found_at.min(row.finished_at);
            if of.campaigns.len() < MAX_CAMPAIGNS {
                of.campaigns.push(row.coupon_code.clone());
            }
            let examples = drift.get("examples").and_then(Value::as_array).into_iter().flatten();
            let examples = examples.filter_map(Value::as_str).map(str::to_owned);
            of.sample.extend(examples.take(5_usize.saturating_sub(of.sample.len())));
        }
    }
    found.into_values().collect()
}

pub(super) async fn list(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let answer = async {
        let Asked { coupon, before } = params::query(query.as_deref())?;
        let code = coupon.as_deref().map(str::parse::<CouponCode>).transpose();
        let code = code.map_err(|error| Failure::bad_input(format!("coupon: {error}")))?;
        let history = console.operations.database.reconciliations();
        let limit = i64::try_from(PAGE_ROWS + 1).unwrap_or(i64::MAX);
        let mut rows = history.list(code.as_ref(), before, limit).await?;
        let mut last = match &code {
            Some(code) => history.list(Some(code), None, 1).await?,
            None => history.last_of_each().await?,
        };
        let is_last = rows.len() <= PAGE_ROWS;
        rows.truncate(PAGE_ROWS);
        let page = Reconcile {
            now: console.operations.clock.now(),
            coupon,
            campaigns: last.len(),
            drift: by_kind(&mut last, &caller),
            next_before: rows.last().filter(|_| !is_last).map(|row| row.id),
            runs: rows.iter().map(Run::from).collect(),
        };
        Ok::<_, Failure>(console.show(&caller, &page))
    };
    console.answer(&caller, answer.await)
}

pub(super) async fn show(State(console): State<Console>, caller: Caller, Path(id): Path<String>) -> Response {
    let answer = async {
        let number = id.parse::<i64>();
        let number = number.map_err(|_| Failure::not_found(format!("{id} is no number of a comparison")))?;
        let row = console.operations.database.reconciliations().find(number).await?;
        let mut row = row.ok_or_else(|| Failure::not_found(format!("there is no comparison {number}")))?;
        let page = Comparison { run: Run::from(&row), drift: by_kind(std::slice::from_mut(&mut row), &caller) };
        Ok::<_, Failure>(console.show(&caller, &page))
    };
    console.answer(&caller, answer.await)
}

pub(super) async fn check(State(console): State<Console>, caller: Caller, Form(form): Form<Check>) -> Response {
    let answer = async {
        let Check { codes, reason: why } = form?;
        let why = reason(&why)?;
        let codes = codes.as_deref().unwrap_or_default().split([',', ' ', '\n']).map(str::trim);
        let codes = codes.filter(|code| !code.is_empty()).map(str::parse::<CouponCode>).collect::<Result<Vec<_>, _>>();
        let codes = codes.map_err(|error| Failure::bad_input(format!("codes: {error}")))?;
        let operations = console.operations.in_the_name_of(caller.identity(&why));
        let job = operations.start(Change::Reconcile { codes, apply: false }, &why, None).await?;
        let (path, id) = match job {
            JobRef::Job(id) => (format!("/jobs/{id}"), id),
            JobRef::Replay(id) => (format!("/replays/{id}"), id),
        };
        Ok::<_, Failure>(console.done(&caller, &path, "started", &serde_json::json!({ "path": path, "job_id": id })))
    };
    console.answer(&caller, answer.await)
}
