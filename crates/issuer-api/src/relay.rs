//! The relay: publishes again what was reserved and not acknowledged, whoever reserved it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    runtime::{Condition, Shutdown, Throttle, chain},
    stock::{Relay as Listing, Stock, StockError},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    config::OutboxSettings,
    publish::{PublishStart, Publishing},
};

/// Between two batches of one outbox, so that what was acknowledged has been deleted before the next look.
const BREATH: Duration = Duration::from_millis(25);
/// A listing older than this is not believed any more: other processes have gone on meanwhile.
const FRESH: Duration = Duration::from_millis(500);
/// Longest time a stop waits until the leases are given up; they end by themselves too.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// Leases without an acknowledgement after which a process looks whether it alone is cut off from Kafka.
const PATIENCE_LEASES: u32 = 2;
/// How long others must have been seen to publish what this process cannot: more than the longest wait between two attempts
/// to connect to a broker (`reconnect.backoff.max.ms`, 2 s), so that the last one to reach Kafka after an outage refuses
/// nobody.
const GRACE: Duration = Duration::from_secs(4);

/// Looks after the outboxes of all coupons, one process at a time for each by its lease.
pub struct Relay {
    stock: Stock,
    publishing: Publishing,
    condition: Condition,
    owner: String,
    interval: Duration,
    lease: Duration,
    min_age: Duration,
    batch: usize,
    /// Until when no lease is taken, after a publication of the relay failed.
    sits_out_until: Option<Instant>,
    /// Outboxes whose lease may be ours.
    leased: HashSet<CouponCode>,
    /// What was last seen of each outbox: one that cannot be listed is not empty.
    seen: HashMap<CouponCode, Look>,
    is_failing: bool,
    passes: usize,
}

/// What one look at an outbox showed.
#[derive(Clone, Copy, Default)]
struct Look {
    waiting: u64,
    oldest: Duration,
    /// Kafka did not acknowledge what was published.
    has_failed: bool,
}

impl Relay {
    /// A relay with a name of its own for the lease. `condition` says whether this process can publish.
    pub fn new(stock: Stock, publishing: Publishing, condition: Condition, settings: &OutboxSettings) -> Self {
        for counter in ["coupon_relay_passes_total", "coupon_relay_failures_total"] {
            metrics::counter!(counter).increment(0);
        }
        condition.ready();
        Self {
            stock,
            publishing,
            condition,
            owner: uuid::Uuid::now_v7().to_string(),
            interval: Duration::from_millis(settings.interval_ms),
            lease: Duration::from_millis(settings.lease_ms),
            min_age: Duration::from_millis(settings.min_age_ms),
            batch: settings.batch,
            sits_out_until: None,
            leased: HashSet::new(),
            seen: HashMap::new(),
            is_failing: false,
            passes: 0,
        }
    }

    /// Works until the stop begins, and gives up its leases then.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            // A pass in progress may be left at any await: what it has published goes on by itself.
            tokio::select! {
                () = shutdown.stopping() => break,
                () = async { sleep(self.interval).await; self.pass().await } => {}
            }
        }
        if timeout(RELEASE_WITHIN, self.release_all()).await.is_err() {
            tracing::debug!("redis does not answer, the leases of this relay run out by themselves");
        }
    }

    /// Looks at every outbox once.
    async fn pass(&mut self) {
        let mut codes = match self.stock.coupons().await {
            Ok(codes) => codes,
            Err(error) => return Self::say_unlisted("the campaigns", &error),
        };
        self.judge().await;
        // Beginning with another one each time: where a pass ends early, the same coupons must not be served every time.
        self.passes = self.passes.wrapping_add(1);
        let first = self.passes % codes.len().max(1);
        codes.rotate_left(first);
        let mut may_publish = !self.is_stalled() && self.sits_out_until.is_none_or(|until| Instant::now() >= until);
        let mut looks = HashMap::with_capacity(codes.len());
        for code in codes {
            match self.outbox(&code, may_publish).await {
                Ok(look) => {
                    // After one failure the others are only counted: each would wait for the same brokers.
                    may_publish &= !look.has_failed;
                    looks.insert(code, look);
                }
                Err(error) => {
                    Self::say_unlisted(code.as_str(), &error);
                    let last = self.seen.get(&code).copied().unwrap_or_default();
                    looks.insert(code, Look { has_failed: false, ..last });
                }
            }
        }
        self.seen = looks;
        let has_failed = self.seen.values().any(|look| look.has_failed);
        if has_failed {
            // Who cannot publish leaves the outboxes to those who can, for long enough that they notice.
            self.release_all().await;
            self.sits_out_until = Some(Instant::now() + self.lease);
        }
        self.measure(has_failed);
    }

    /// Whether something of this process is on its way for so long that another attempt would only add a copy.
    fn is_stalled(&self) -> bool {
        self.publishing.is_waiting() && self.publishing.unacknowledged_for() > self.lease / 2
    }

    /// Says by the condition whether this process alone cannot publish.
    async fn judge(&self) {
        let is_cut_off = self.publishing.judge(&self.stock, self.oldest(), self.lease * PATIENCE_LEASES, GRACE).await;
        metrics::gauge!("coupon_publishing_cut_off").set(u8::from(is_cut_off));
        if is_cut_off {
            self.condition.unready(
                "kafka acknowledges nothing that this process publishes, while other processes publish: \
                 new requests are refused here",
            );
        } else {
            self.condition.ready();
        }
    }

    /// How long the oldest promise of all outboxes has waited, by the last look at each.
    fn oldest(&self) -> Duration {
        self.seen.values().map(|look| look.oldest).max().unwrap_or_default()
    }

    fn measure(&mut self, has_failed: bool) {
        let waiting: u64 = self.seen.values().map(|look| look.waiting).sum();
        let oldest = self.oldest();
        #[expect(clippy::cast_precision_loss, reason = "a number of promises is far below 2^53")]
        metrics::gauge!("coupon_outbox_entries").set(waiting as f64);
        metrics::gauge!("coupon_outbox_oldest_seconds").set(oldest.as_secs_f64());
        metrics::counter!("coupon_relay_passes_total").increment(1);
        let is_failing = has_failed || self.publishing.unacknowledged_for() > self.lease / 2;
        if is_failing != self.is_failing {
            self.is_failing = is_failing;
            if is_failing {
                tracing::warn!(waiting, "kafka acknowledges nothing here, {waiting} reservations wait in the outbox");
            } else {
                tracing::info!("kafka acknowledges again, the outbox is being emptied");
            }
        }
    }

    /// Counts what waits in one outbox and, unless it is to be left alone, publishes what is due, batch after batch.
    async fn outbox(&mut self, code: &CouponCode, may_publish: bool) -> Result<Look, StockError> {
        let lease = if may_publish { self.lease } else { Duration::ZERO };
        let mut is_proven = false;
        loop {
            let listed = Instant::now();
            let (due, waiting, oldest) =
                match self.stock.relay(code, &self.owner, lease, self.min_age, self.batch).await? {
                    Listing::Leased { due, waiting, oldest } => (due, waiting, oldest),
                    Listing::Empty => return Ok(Look::default()),
                    Listing::Counted { waiting, oldest } => {
                        self.leased.remove(code);
                        return Ok(Look { waiting, oldest, has_failed: false });
                    }
                };
            self.leased.insert(code.clone());
            let is_full = due.len() >= self.batch;
            // The oldest is this process's own to publish, and Kafka is silent: others shall try.
            let is_stuck = due.first().is_some_and(|event| self.publishing.is_in_flight(event.request_id))
                && oldest > self.min_age + self.lease / 2;
            let mut fresh = due.into_iter().filter(|event| !self.publishing.is_in_flight(event.request_id));
            let look = |has_failed| Ok(Look { waiting, oldest, has_failed });
            if !is_proven {
                let Some(first) = fresh.next() else { return look(is_stuck) };
                // One alone: while the broker is away, each pass must not queue another batch of copies.
                if !self.publish(&[first]).await {
                    return look(true);
                }
                is_proven = true;
                if listed.elapsed() > FRESH {
                    continue;
                }
            }
            let rest: Vec<CouponIssued> = fresh.collect();
            // A whole batch that is on its way already: what is behind it has its turn in a later pass.
            let is_blocked = rest.is_empty() && is_full;
            if !self.publish(&rest).await {
                return look(true);
            }
            if is_stuck || is_blocked || !is_full {
                return look(is_stuck);
            }
            sleep(BREATH).await;
        }
    }

    /// Whether all were acknowledged within half a lease. Those that were not go on, and are skipped until they end.
    async fn publish(&self, events: &[CouponIssued]) -> bool {
        let end = Instant::now() + self.lease / 2;
        let mut queued = Vec::with_capacity(events.len());
        for event in events {
            match self.publishing.start(event) {
                PublishStart::Queued(tell) => queued.push(tell),
                PublishStart::InFlight => {}
                PublishStart::Refused(error) => {
                    tracing::debug!(error = %chain(&error), "a promise could not be queued");
                    return false;
                }
            }
        }
        for tell in queued {
            let left = end.saturating_duration_since(Instant::now());
            if !timeout(left, tell).await.is_ok_and(|told| told.is_ok()) {
                return false;
            }
        }
        true
    }

    /// Gives up every lease that this process may have.
    async fn release_all(&mut self) {
        for code in std::mem::take(&mut self.leased) {
            // A lease of no time gives up the one there is; a lease that Redis cannot be told of runs out.
            if let Err(error) = self.stock.relay(&code, &self.owner, Duration::ZERO, self.min_age, 0).await {
                tracing::debug!(coupon = %code, error = %chain(&error), "a lease is not given up");
            }
        }
    }

    /// What cannot be listed is not empty: it is counted, and said once a minute.
    fn say_unlisted(what: &str, error: &StockError) {
        static UNLISTED: Throttle = Throttle::new();
        metrics::counter!("coupon_relay_failures_total").increment(1);
        if let Some(count) = UNLISTED.admit("") {
            tracing::warn!(
                count,
                error = %chain(error),
                "the outbox of {what} cannot be listed, and what waits in it is not published again ({count} times)"
            );
        }
    }
}
