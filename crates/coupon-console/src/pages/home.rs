//! `/`: what is wrong, what waits, why, and what runs. Each part fails alone.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use axum::{extract::State, response::Response};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    repo::{
        RepoError,
        alarms::OpenAlarm,
        coupons::{Coupon, ShownStatus},
        overview::{CauseMinute, MAX_COUNT, RecentDecisions, UnderWay, Waiting},
    },
    runtime::ConditionReport,
};
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Console,
    access::Caller,
    answer::{Frame, View},
    tile::Tile,
};

/// Causes shown, the most frequent ones.
const MAX_CAUSES: usize = 12;
/// Share of requests that the objective `written` of the README promises, in percent.
const OBJECTIVE_PERCENT: f64 = 99.0;
/// How long the share of the last day is shown before it is counted anew.
const BUDGET_AGE: Duration = Duration::from_mins(1);

/// The page.
#[derive(Debug, Serialize)]
struct Home {
    now: DateTime<Utc>,
    /// Conditions of this service that are not met.
    waits_for: Vec<ConditionReport>,
    /// Causes of which an alarm was sent, and no all-clear.
    alarms: Tile<Vec<OpenAlarm>>,
    /// What waits for somebody.
    waiting: Tile<Waiting>,
    /// Dead letters of the last hour by cause.
    causes: Tile<Vec<CauseOfHour>>,
    /// Campaigns that run, or are SUSPECT.
    campaigns: Tile<Vec<Campaign>>,
    /// Replays and jobs that are not at their end.
    under_way: Tile<Vec<UnderWay>>,
    /// The error budget of the objective `written`.
    budget: Tile<Spent>,
}

/// Dead letters of one cause in the last hour.
#[derive(Debug, Default, Serialize)]
struct CauseOfHour {
    /// Error fingerprint.
    cause: String,
    /// Number of dead letters.
    count: i64,
    /// Those of them that are HELD or PARKED.
    undecided: i64,
    /// Number in each minute, the oldest first.
    by_minute: Vec<i64>,
}

/// A campaign that runs.
#[derive(Debug, Serialize)]
struct Campaign {
    coupon_code: String,
    status: ShownStatus,
    total: i64,
    issued: i64,
    opens_at: DateTime<Utc>,
    closes_at: Option<DateTime<Utc>>,
}

/// What was spent of the error budget, as far as this process can know it: from rows, of the last 24 h.
#[derive(Debug, Serialize)]
struct Spent {
    #[serde(flatten)]
    decided: RecentDecisions,
    /// Whether there are more decisions than were counted.
    is_at_least: bool,
    /// Share of the requests that were compensated, or written later than 10 s after their reservation, in percent.
    bad_percent: f64,
    /// Share that may be bad, in percent.
    allowed_percent: f64,
}

/// The decisions of the last day, kept for a minute, because counting them reads many rows.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<Option<(Instant, RecentDecisions)>>);

impl Budget {
    async fn decided(&self, console: &Console, now: DateTime<Utc>) -> Result<RecentDecisions, RepoError> {
        let mut kept = self.0.lock().await;
        if let Some((at, decided)) = *kept
            && at.elapsed() < BUDGET_AGE
        {
            return Ok(decided);
        }
        let decided = console.operations.database.overview().decided(now - TimeDelta::days(1)).await?;
        *kept = Some((Instant::now(), decided));
        Ok(decided)
    }
}

impl From<RecentDecisions> for Spent {
    fn from(decided: RecentDecisions) -> Self {
        let bad = decided.compensated + decided.late;
        #[expect(clippy::cast_precision_loss, reason = "counts are bounded by 100,001")]
        let bad_percent = bad as f64 * 100.0 / decided.decided.max(1) as f64;
        let is_at_least = decided.decided > MAX_COUNT;
        Self { decided, is_at_least, bad_percent, allowed_percent: 100.0 - OBJECTIVE_PERCENT }
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    frame: &'a Frame,
    home: &'a Home,
}

impl View for Home {
    fn title(&self) -> String {
        "Overview".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        HomePage { frame, home: self }.render()
    }
}

pub(super) async fn show(State(console): State<Console>, caller: Caller) -> Response {
    let now = console.operations.clock.now();
    let database = &console.operations.database;
    let (overview, server) = (database.overview(), "PostgreSQL");
    let since = now - TimeDelta::hours(1);
    let (alarms, waiting, causes, campaigns, under_way, budget) = tokio::join!(
        Tile::of(server, database.alarms().open()),
        Tile::of(server, overview.waiting()),
        Tile::of(server, async { overview.cause_minutes(since).await.map(by_cause) }),
        Tile::of(server, async {
            let running = overview.running_campaigns(now).await?;
            Ok::<_, RepoError>(running.into_iter().map(|coupon| campaign(&coupon, now)).collect())
        }),
        Tile::of(server, overview.under_way(now)),
        Tile::of(server, async { console.budget.decided(&console, now).await.map(Spent::from) }),
    );
    let waits_for = console.health.report().conditions.into_iter().filter(|condition| !condition.ready).collect();
    console.show(&caller, &Home { now, waits_for, alarms, waiting, causes, campaigns, under_way, budget })
}

fn campaign(coupon: &Coupon, now: DateTime<Utc>) -> Campaign {
    Campaign {
        status: coupon.shown(now),
        coupon_code: coupon.coupon_code.as_str().to_owned(),
        total: coupon.total_quantity,
        issued: coupon.issued_quantity,
        opens_at: coupon.opens_at,
        closes_at: coupon.closes_at,
    }
}

/// Returns the most frequent causes, the first one first. The minute that runs counts to the last whole one.
fn by_cause(minutes: Vec<CauseMinute>) -> Vec<CauseOfHour> {
    let mut causes = BTreeMap::<String, CauseOfHour>::new();
    for CauseMinute { cause, minute, count, undecided } in minutes {
        let of = causes.entry(cause.clone()).or_insert_with(|| CauseOfHour {
            cause,
            by_minute: vec![0; 60],
            ..CauseOfHour::default()
        });
        (of.count, of.undecided) = (of.count + count, of.undecided + undecided);
        of.by_minute[usize::try_from(minute).unwrap_or(0).min(59)] += count;
    }
    let mut causes: Vec<CauseOfHour> = causes.into_values().collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    causes.truncate(MAX_CAUSES);
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_cause_is_first_with_each_of_its_minutes() {
        let minute = |cause: &str, minute, count| CauseMinute { cause: cause.to_owned(), minute, count, undecided: 1 };
        let causes = by_cause(vec![minute("a", 0, 1), minute("b", 3, 5), minute("b", 60, 2)]);
        assert_eq!((causes[0].cause.as_str(), causes[0].count, causes[0].undecided), ("b", 7, 2));
        assert_eq!((causes[0].by_minute[3], causes[0].by_minute[59], causes[0].by_minute.len()), (5, 2, 60));
        assert_eq!(causes[1].by_minute[0], 1);
    }
}
