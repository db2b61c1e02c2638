//! The figures of a campaign as they were seen a moment ago: asked for once a second, however many watch.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::{
        coupon_issues::CampaignCounts,
        coupons::{Coupon, CouponStatus, ShownStatus},
        reconciliations::ReconciliationRow,
    },
};
use coupon_operations::campaigns::{Funnel, InRedis};
use serde::Serialize;

use crate::{Console, access::Caller, answer::Failure, mask, tile::Tile};

/// How long a look is shown to others who ask.
const FRESH: Duration = Duration::from_millis(900);
/// Rates are the difference to the oldest look that is not older than this.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Campaigns whose looks are remembered, before those that nobody watches are dropped.
const MAX_WATCHED: usize = 200;

/// A campaign's row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Campaign {
    /// Code.
    pub code: CouponCode,
    /// Status at this time.
    pub status: ShownStatus,
    /// Status as it is stored.
    pub stored_status: CouponStatus,
    /// Number of units.
    pub total: i64,
    /// Number of requests decided ISSUED.
    pub issued: i64,
    /// Begin of the window.
    pub opens_at: DateTime<Utc>,
    /// End of the window.
    pub closes_at: Option<DateTime<Utc>>,
    /// Validity of a coupon, in days.
    pub valid_days: i32,
    /// Whether a unit is reserved only with a token of the waiting room.
    pub admission_required: bool,
    /// Epoch of the data in Redis.
    pub epoch: i64,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of archiving.
    pub archived_at: Option<DateTime<Utc>>,
    /// The next moment of the window, in words.
    pub countdown: String,
}

/// What was seen of a campaign.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    /// When.
    pub at: DateTime<Utc>,
    /// The row.
    pub campaign: Campaign,
    /// Units that nobody holds: by Redis, or by the rows while it is away.
    pub remaining: i64,
    /// What PostgreSQL counts.
    pub counts: Tile<CampaignCounts>,
    /// What Redis has; `null`: no data.
    pub redis: Tile<Option<InRedis>>,
    /// How far the requests have come; `null` while PostgreSQL does not answer.
    pub funnel: Option<Funnel>,
    /// Reservations a second over the last seconds, from the sequence; `null` before the second look.
    pub accepted_per_second: Option<f64>,
    /// Requests refused a second over the last seconds, as the processes of issuer-api count them; `null` before the second
    /// look.
    pub refused_per_second: Option<f64>,
    /// Decisions ISSUED a second over the last seconds; `null` before the second look.
    pub written_per_second: Option<f64>,
    /// When the last unit was reserved, where all are issued.
    pub sold_out_at: Option<DateTime<Utc>>,
    /// The last reconciliation.
    pub reconciled: Tile<Option<ReconciliationRow>>,
}

/// What rates are computed from.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// Epoch and sequence in Redis.
    reserved: Option<(i64, i64)>,
    /// Refused requests, by Redis.
    refused: Option<i64>,
    issued: i64,
}

/// What came in a second over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    accepted: Option<f64>,
    refused: Option<f64>,
    written: Option<f64>,
}

#[derive(Debug, Default)]
struct Watched {
    last: Option<(Instant, Look)>,
    samples: VecDeque<Sample>,
}

/// The looks of all campaigns that somebody watches.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<HashMap<CouponCode, Arc<tokio::sync::Mutex<Watched>>>>);

impl Looks {
    fn of(&self, code: &CouponCode) -> Arc<tokio::sync::Mutex<Watched>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_WATCHED {
            all.retain(|_, watched| Arc::strong_count(watched) > 1);
        }
        Arc::clone(all.entry(code.clone()).or_default())
    }
}

impl Look {
    /// Returns of it what an operator may see; it is kept for all who watch.
    #[must_use]
    pub(super) fn seen_by(mut self, caller: &Caller) -> Self {
        if let Tile::Known(Some(row)) = &mut self.reconciled {
            mask::drift(caller, &mut row.drift);
        }
        self
    }
}

impl Campaign {
    pub(crate) fn of(coupon: &Coupon, now: DateTime<Utc>) -> Self {
        Self {
            code: coupon.coupon_code.clone(),
            status: coupon.shown(now),
            stored_status: coupon.status,
            total: coupon.total_quantity,
            issued: coupon.issued_quantity,
            opens_at: coupon.opens_at,
            closes_at: coupon.closes_at,
            valid_days: coupon.valid_days,
            admission_required: coupon.admission_required,
            epoch: coupon.epoch,
            created_at: coupon.created_at,
            archived_at: coupon.archived_at,
            countdown: countdown(coupon, now),
        }
    }

    /// Class of the status on a page.
    pub(crate) fn badge(&self) -> &'static str {
        match self.status {
            ShownStatus::Open => "open",
            ShownStatus::Suspect => "suspect",
            ShownStatus::Draft | ShownStatus::Opening | ShownStatus::Scheduled => "pending",
            ShownStatus::Over | ShownStatus::Closed | ShownStatus::Archived => "closed",
        }
    }
}

fn countdown(coupon: &Coupon, now: DateTime<Utc>) -> String {
    let span = |at: DateTime<Utc>| crate::show::span(at - now);
    let (opens_at, closes_at) = (coupon.opens_at, coupon.closes_at);
    match (coupon.shown(now), closes_at) {
        (ShownStatus::Draft | ShownStatus::Opening, _) if opens_at > now => {
            format!("not opened yet; its window begins in {}", span(opens_at))
        }
        (ShownStatus::Draft | ShownStatus::Opening, _) => "not opened yet".to_owned(),
        (_, Some(closes_at)) if closes_at <= now => format!("ended {} ago", crate::show::ago(&closes_at, &now)),
        (ShownStatus::Closed | ShownStatus::Archived, _) => "closed by hand".to_owned(),
        _ if opens_at > now => format!("begins in {}", span(opens_at)),
        (_, Some(closes_at)) => format!("ends in {}", span(closes_at)),
        (_, None) => "until it is closed".to_owned(),
    }
}

/// Returns what was seen of a campaign at most a second ago; `None`: there is no such campaign.
pub(crate) async fn look(console: &Console, code: &CouponCode) -> Result<Option<Look>, Failure> {
    let watched = console.looks.of(code);
    let mut watched = watched.lock().await;
    if let Some((at, look)) = &watched.last
        && at.elapsed() < FRESH
    {
        return Ok(Some(look.clone()));
    }
    let database = &console.operations.database;
    let Some(coupon) = database.coupons().find(code).await? else { return Ok(None) };
    let campaigns = console.operations.campaigns();
    let (counts, redis, reconciled) = tokio::join!(
        Tile::of("PostgreSQL", Box::pin(database.coupon_issues().counts_of_coupon(code))),
        Tile::of("Redis", Box::pin(campaigns.in_redis(code))),
        Tile::of("PostgreSQL", Box::pin(database.reconciliations().list(Some(code), None, 1))),
    );
    let counts = match counts {
        Tile::Known(Some(counts)) => Tile::Known(counts),
        Tile::Known(None) => return Ok(None),
        Tile::Away(why) => Tile::Away(why),
    };
    let reconciled = reconciled.map(|rows| rows.into_iter().next());
    let in_redis = redis.known().and_then(Option::as_ref);
    let known = counts.known();
    let sample = Sample {
        at: Instant::now(),
        reserved: in_redis.map(|redis| (redis.epoch, redis.seq)),
        refused: in_redis.map(|redis| redis.refused.values().sum()),
        issued: coupon.issued_quantity,
    };
    let rates = rates(&mut watched.samples, sample);
    let now = console.operations.clock.now();
    let campaign = Campaign::of(&coupon, now);
    let look = Look {
        at: now,
        remaining: in_redis.map_or((campaign.total - campaign.issued).max(0), |redis| redis.remaining),
        funnel: known.map(|counts| Funnel::of(campaign.issued, counts, in_redis)),
        sold_out_at: known.filter(|_| campaign.issued >= campaign.total).and_then(|counts| counts.last_reserved_at),
        campaign,
        counts,
        redis,
        accepted_per_second: rates.accepted,
        refused_per_second: rates.refused,
        written_per_second: rates.written,
        reconciled,
    };
    watched.last = Some((sample.at, look.clone()));
    Ok(Some(look))
}

/// Adds a sample, and returns what came in a second since the oldest sample of the window.
fn rates(samples: &mut VecDeque<Sample>, new: Sample) -> Rates {
    samples.retain(|old| new.at.duration_since(old.at) <= RATE_WINDOW);
    let oldest = samples.front().copied();
    samples.push_back(new);
    let Some(oldest) = oldest else { return Rates::default() };
    let seconds = new.at.duration_since(oldest.at).as_secs_f64().max(0.1);
    #[expect(clippy::cast_precision_loss, reason = "a difference of some seconds is far below 2^53")]
    let a_second = |difference: i64| difference.max(0) as f64 / seconds;
    let accepted = match (oldest.reserved, new.reserved) {
        (Some((before, from)), Some((epoch, to))) if before == epoch => Some(a_second(to - from)),
        _ => None,
    };
    let refused = oldest.refused.zip(new.refused).map(|(from, to)| a_second(to - from));
    Rates { accepted, refused, written: Some(a_second(new.issued - oldest.issued)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_difference_within_one_epoch_and_some_seconds() {
        let (mut samples, begin) = (VecDeque::new(), Instant::now());
        let sample = |seconds, reserved, refused, issued| Sample {
            at: begin + Duration::from_secs(seconds),
            reserved,
            refused,
            issued,
        };
        let mut rates = |sample| {
            let Rates { accepted, refused, written } = rates(&mut samples, sample);
            (accepted, refused, written)
        };
        assert_eq!(rates(sample(0, Some((1, 100)), Some(0), 50)), (None, None, None));
        assert_eq!(rates(sample(2, Some((1, 300)), Some(20), 150)), (Some(100.0), Some(10.0), Some(50.0)));
        assert_eq!(rates(sample(4, Some((2, 0)), None, 150)), (None, None, Some(25.0)));
        // Nobody has looked for a while: nothing is known of the seconds between.
        assert_eq!(rates(sample(60, Some((2, 9)), Some(30), 999)), (None, None, None));
    }
}
