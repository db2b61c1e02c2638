//! `/causes`: what waits, by cause, and how often each cause has struck in the last hour.

use std::{collections::BTreeMap, fmt::Write as _};

use askama::Template;
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    RepoError,
    work_list::{List, MAX_COUNTED_OF_CAUSE, Number, Waiting, WaitingCause},
};
use serde::Serialize;

use super::work::{Asked, path};
use crate::{
    Console,
    access::Caller,
    answer::{Frame, View},
    tile::Tile,
};

/// Height of a sparkline, in its own units; a minute is one unit wide.
const SPARK_HEIGHT: i64 = 16;

/// The page.
#[derive(Debug, Serialize)]
struct CausesView {
    /// Causes of what waits, most first.
    causes: Tile<Vec<CauseRow>>,
    /// A count that reaches this may be higher.
    counted_up_to: i64,
}

/// A cause.
#[derive(Debug, Default, Serialize)]
struct CauseRow {
    /// Error fingerprint.
    cause: String,
    /// Entries of the work list that are PENDING.
    pending: i64,
    /// Dead letters that are HELD.
    held: i64,
    /// Dead letters that are PARKED.
    parked: i64,
    /// Time of the first that waits.
    first_seen: Option<DateTime<Utc>>,
    /// Time of the last that waits.
    last_seen: Option<DateTime<Utc>>,
    /// Campaigns of the newest.
    campaigns: Vec<String>,
    /// Number of the newest, such as `E17`.
    sample: String,
    /// Failures of the last hour by minute, oldest first, whatever became of them.
    minutes: Vec<i64>,
    #[serde(skip)]
    sample_view: String,
}

#[derive(Template)]
#[template(path = "causes.html")]
struct CausesPage<'a> {
    frame: &'a Frame,
    page: &'a CausesView,
}

impl View for CausesView {
    fn title(&self) -> String {
        "Causes".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        CausesPage { frame, page: self }.render()
    }
}

impl CauseRow {
    /// Path and query of what waits of this cause in this status.
    fn view(&self, status: &str) -> String {
        let list = if status == Waiting::Pending.as_str() { List::Requests } else { List::DlqEvents };
        let asked = Asked { status: Some(status.to_owned()), cause: Some(self.cause.clone()), ..Asked::default() };
        asked.at(path(list))
    }

    /// Failures of the last hour.
    fn last_hour(&self) -> i64 {
        self.minutes.iter().sum()
    }

    /// The line of the sparkline, as the path of an SVG.
    fn line(&self) -> String {
        let highest = self.minutes.iter().copied().max().unwrap_or(0).max(1);
        self.minutes.iter().enumerate().fold(String::new(), |mut line, (minute, count)| {
            let height = SPARK_HEIGHT - count * SPARK_HEIGHT / highest;
            write!(line, "{}{minute} {height}", if minute == 0 { 'M' } else { 'L' })
                .expect("a string takes everything");
            line
        })
    }

    fn add(&mut self, waiting: Waiting, of: WaitingCause) {
        match waiting {
            Waiting::Pending => self.pending = of.count,
            Waiting::Held => self.held = of.count,
            Waiting::Parked => self.parked = of.count,
        }
        if self.last_seen.is_none_or(|last| last < of.last_seen) {
            let number: Number = waiting.list().number(of.sample_id);
            self.sample_view = format!("{}/{number}", path(number.list));
            self.sample = number.to_string();
        }
        self.first_seen = Some(self.first_seen.map_or(of.first_seen, |first| first.min(of.first_seen)));
        self.last_seen = Some(self.last_seen.map_or(of.last_seen, |last| last.max(of.last_seen)));
        self.campaigns.extend(of.campaigns);
        self.campaigns.sort();
        self.campaigns.dedup();
    }
}

pub(super) async fn list(State(console): State<Console>, caller: Caller) -> Response {
    let now = console.operations.clock.now();
    let causes = Tile::of("PostgreSQL", causes(&console, now)).await;
    console.show(&caller, &CausesView { causes, counted_up_to: MAX_COUNTED_OF_CAUSE })
}

async fn causes(console: &Console, now: DateTime<Utc>) -> Result<Vec<CauseRow>, RepoError> {
    let work_list = console.operations.database.work_list();
    let (pending, held, parked, minutes) = tokio::try_join!(
        work_list.waiting_causes(Waiting::Pending),
        work_list.waiting_causes(Waiting::Held),
        work_list.waiting_causes(Waiting::Parked),
        work_list.failures_by_minute(now),
    )?;
    let mut minutes: BTreeMap<String, Vec<i64>> = minutes.into_iter().collect();
    let mut rows: BTreeMap<String, CauseRow> = BTreeMap::new();
    for (waiting, causes) in [(Waiting::Pending, pending), (Waiting::Held, held), (Waiting::Parked, parked)] {
        for of in causes {
            let row = rows.entry(of.cause.clone()).or_insert_with(|| CauseRow {
                cause: of.cause.clone(),
                minutes: minutes.remove(&of.cause).unwrap_or_default(),
                ..CauseRow::default()
            });
            row.add(waiting, of);
        }
    }
    let mut rows: Vec<CauseRow> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.pending + row.held + row.parked));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_its_highest_minute_on_top() {
        let row = CauseRow { minutes: vec![0, 4, 2], ..CauseRow::default() };
        assert_eq!((row.line().as_str(), row.last_hour()), ("M0 16L1 0L2 8", 6));
    }
}
