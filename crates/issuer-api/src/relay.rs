//! The relay: publishes again what was reserved and not acknowledged, whoever reserved it.

use std::time::Duration;

use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    retry::Backoff,
    runtime::{Shutdown, chain},
    stock::{Relay as Listing, Stock},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    config::OutboxSettings,
    publish::{Publishing, Start},
};

/// Between two batches of one outbox, so that what was acknowledged has been deleted before the next look.
const BREATH: Duration = Duration::from_millis(25);
/// A listing older than this is not believed any more: other processes have gone on meanwhile.
const FRESH: Duration = Duration::from_millis(500);

/// Looks after the outboxes of all coupons, one process at a time for each by its lease.
pub struct Relay {
    stock: Stock,
    publishing: Publishing,
    owner: String,
    interval: Duration,
    lease: Duration,
    min_age: Duration,
    batch: usize,
    backoff: Backoff,
    is_failing: bool,
    passes: usize,
}

/// What one look at an outbox showed.
#[derive(Default)]
struct Look {
    waiting: u64,
    oldest: Duration,
    /// Kafka did not acknowledge what was published.
    has_failed: bool,
}

impl Relay {
    /// A relay with a name of its own for the lease.
    pub fn new(stock: Stock, publishing: Publishing, settings: &OutboxSettings) -> Self {
        metrics::counter!("coupon_relay_passes_total").increment(0);
        Self {
            stock,
            publishing,
            owner: uuid::Uuid::now_v7().to_string(),
            interval: Duration::from_millis(settings.interval_ms),
            lease: Duration::from_millis(settings.lease_ms),
            min_age: Duration::from_millis(settings.min_age_ms),
            batch: settings.batch,
            // 0.5 s, 1 s, 2 s, 4 s, 4 s, …
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(4)),
            is_failing: false,
            passes: 0,
        }
    }

    /// Works until the stop begins.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut pause = self.interval;
        loop {
            tokio::select! {
                () = shutdown.stopping() => return,
                () = sleep(pause) => {}
            }
            // A pass in progress may be left at any await: what it has published goes on by itself.
            pause = tokio::select! {
                () = shutdown.stopping() => return,
                pause = self.pass() => pause,
            };
        }
    }

    /// Looks at every outbox once; gives the time until the next look.
    async fn pass(&mut self) -> Duration {
        let mut codes = match self.stock.coupons().await {
            Ok(codes) => codes,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the relay does not reach redis");
                return self.interval;
            }
        };
        // Beginning with another one each time: where a pass ends early, the same coupons must not be served every time.
        self.passes = self.passes.wrapping_add(1);
        let first = self.passes % codes.len().max(1);
        codes.rotate_left(first);
        let mut all = Look::default();
        for code in codes {
            // After one failure the others are only counted: each would wait for the same brokers.
            let look = self.outbox(&code, !all.has_failed).await;
            all.waiting += look.waiting;
            all.oldest = all.oldest.max(look.oldest);
            all.has_failed |= look.has_failed;
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of promises is far below 2^53")]
        metrics::gauge!("coupon_outbox_entries").set(all.waiting as f64);
        metrics::gauge!("coupon_outbox_oldest_seconds").set(all.oldest.as_secs_f64());
        metrics::counter!("coupon_relay_passes_total").increment(1);
        if all.has_failed != self.is_failing {
            self.is_failing = all.has_failed;
            if all.has_failed {
                tracing::warn!(
                    waiting = all.waiting,
                    "kafka acknowledges nothing, {} reservations wait in the outbox",
                    all.waiting
                );
            } else {
                tracing::info!("kafka acknowledges again, the outbox is being emptied");
            }
        }
        if all.has_failed {
            return self.backoff.next_wait();
        }
        self.backoff.reset();
        self.interval
    }

    /// Counts what waits in one outbox and, unless it is to be left alone, publishes what is due, batch after batch.
    async fn outbox(&self, code: &CouponCode, may_publish: bool) -> Look {
        let mut is_proven = false;
        loop {
            let listed = Instant::now();
            let listing = self.stock.relay(code, &self.owner, self.lease, self.min_age, self.batch).await;
            let (due, waiting, oldest) = match listing {
                Ok(Listing::Leased { due, waiting, oldest }) => (due, waiting, oldest),
                Ok(Listing::Empty | Listing::Others) => return Look::default(),
                Err(error) => {
                    tracing::debug!(coupon = %code, error = %chain(&error), "an outbox cannot be listed");
                    return Look::default();
                }
            };
            let (is_full, is_due) = (due.len() >= self.batch, !due.is_empty());
            let mut fresh = due.into_iter().filter(|event| !self.publishing.is_in_flight(event.request_id));
            let look = |has_failed| Look { waiting, oldest, has_failed };
            if !may_publish {
                return look(false);
            }
            if !is_proven {
                let Some(first) = fresh.next() else {
                    // Everything due is on its way already; if it has been for long, Kafka is away.
                    return look(is_due && oldest > self.min_age + self.lease);
                };
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
            if is_proven && rest.is_empty() && is_full {
                // A whole batch is on its way already: what is behind it has its turn in a later pass.
                return look(oldest > self.min_age + self.lease);
            }
            if !self.publish(&rest).await {
                return look(true);
            }
            if !is_full {
                return look(false);
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
                Start::Queued(tell) => queued.push(tell),
                Start::InFlight => {}
                Start::Refused(error) => {
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
}
