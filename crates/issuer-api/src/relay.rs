//! The relay: publishes the events of outbox entries again, whichever process made the reservations.

use std::{collections::HashSet, time::Duration};

use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    runtime::{Condition, Shutdown, chain},
    stock::{OutboxListing, Stock, StockError},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    config::OutboxSettings,
    outboxes::{Outbox, Outboxes, report_unlisted},
    publish::Publishing,
};

/// Greatest interval between two passes that has no other reason than that nothing waits.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between two batches of one outbox, so that acknowledged entries are deleted before the next listing.
const PUBLISH_BATCH_PAUSE: Duration = Duration::from_millis(25);
/// Greatest age of a listing that is published from: other processes have gone on meanwhile.
const MAX_LISTING_AGE: Duration = Duration::from_millis(500);
/// Longest wait of a stop until the leases are released; they end by themselves too.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Leases without an acknowledgement after which a process checks whether it alone is cut off from Kafka.
const CUT_OFF_LEASES: u32 = 2;
/// How long other processes must be seen to publish what this one cannot: more than the longest wait between two attempts
/// to connect to a broker (`reconnect.backoff.max.ms`, 2 s), so that the last one to reach Kafka after an outage refuses
/// nobody.
const CUT_OFF_GRACE: Duration = Duration::from_secs(4);

/// Publishes the entries of all outboxes again, each outbox by the one process that has its lease.
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
    outboxes: Outboxes,
    /// Whether the last pass found nothing to do, in outboxes and in flight.
    is_idle: bool,
    is_failing: bool,
}

impl Relay {
    /// A relay with an owner name of its own. `condition` is met while this process can publish.
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
            outboxes: Outboxes::default(),
            is_idle: false,
            is_failing: false,
        }
    }

    /// Works until the stop begins, and releases its leases then.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            // A pass in progress may be left at any await: what it has published goes on by itself.
            tokio::select! {
                () = shutdown.stopping() => break,
                () = async { sleep(self.pause()).await; self.pass().await } => {}
            }
        }
        if timeout(RELEASE_TIMEOUT, self.release_all()).await.is_err() {
            tracing::debug!("redis does not answer, the leases of this relay run out by themselves");
        }
    }

    /// Pause until the next pass. While nothing waits it is longer, and yet so short that no entry is due before the pass that
    /// finds it.
    fn pause(&self) -> Duration {
        if self.is_idle { self.interval.max(IDLE_INTERVAL.min(self.min_age / 2)) } else { self.interval }
    }

    /// Lists every outbox that has entries once, and publishes from those whose lease this process has.
    async fn pass(&mut self) {
        let codes = match self.stock.coupons().await {
            Ok(codes) => codes,
            Err(error) => return report_unlisted("the campaigns", &error),
        };
        self.check_cut_off().await;
        let mut has_failed = false;
        let mut may_publish = !self.is_stalled() && self.sits_out_until.is_none_or(|until| Instant::now() >= until);
        for code in self.outboxes.begin_pass(&self.stock, codes).await {
            match self.outbox(&code, may_publish).await {
                Ok(outbox) => {
                    // After one failure the others are only counted: each would wait for the same brokers.
                    may_publish &= !outbox.has_failed;
                    has_failed |= outbox.has_failed;
                    self.outboxes.note(code, outbox);
                }
                Err(error) => report_unlisted(code.as_str(), &error),
            }
        }
        if has_failed {
            // A process that cannot publish leaves the outboxes to those that can, for long enough that they notice.
            self.release_all().await;
            self.sits_out_until = Some(Instant::now() + self.lease);
        }
        self.measure(has_failed);
    }

    /// Whether Kafka has acknowledged nothing of this process for half a lease, although it publishes.
    fn is_unacknowledged(&self) -> bool {
        self.publishing.in_flight.unacknowledged_for(Instant::now()) > self.lease / 2
    }

    /// Whether a publication of this process is in flight for so long that another attempt would only add a copy.
    fn is_stalled(&self) -> bool {
        self.publishing.in_flight.has_unacknowledged() && self.is_unacknowledged()
    }

    /// Sets the condition, by whether this process alone cannot publish.
    async fn check_cut_off(&self) {
        let is_cut_off = self
            .publishing
            .check_cut_off(&self.stock, self.outboxes.oldest(), self.lease * CUT_OFF_LEASES, CUT_OFF_GRACE)
            .await;
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

    fn measure(&mut self, has_failed: bool) {
        let (waiting, oldest) = (self.outboxes.waiting(), self.outboxes.oldest());
        #[expect(clippy::cast_precision_loss, reason = "a number of entries is far below 2^53")]
        metrics::gauge!("coupon_outbox_entries").set(waiting as f64);
        metrics::gauge!("coupon_outbox_oldest_seconds").set(oldest.as_secs_f64());
        metrics::counter!("coupon_relay_passes_total").increment(1);
        let is_failing = has_failed || self.is_unacknowledged();
        let in_flight = &self.publishing.in_flight;
        self.is_idle = waiting == 0 && !is_failing && !in_flight.has_unacknowledged() && !in_flight.is_cut_off();
        if is_failing != self.is_failing {
            self.is_failing = is_failing;
            if is_failing {
                tracing::warn!(waiting, "kafka acknowledges nothing here, {waiting} reservations wait in the outbox");
            } else {
                tracing::info!("kafka acknowledges again, the outbox is being emptied");
            }
        }
    }

    /// Lists one outbox and, if this process may publish and has the lease, publishes what is due, batch after batch.
    async fn outbox(&mut self, code: &CouponCode, may_publish: bool) -> Result<Outbox, StockError> {
        let lease = if may_publish { self.lease } else { Duration::ZERO };
        let mut is_proven = false;
        loop {
            let listed = Instant::now();
            let OutboxListing { waiting, oldest, due } =
                self.stock.relay(code, &self.owner, lease, self.min_age, self.batch).await?;
            let Some(due) = due else {
                // The lease of an empty outbox stays as it was.
                if waiting > 0 {
                    self.leased.remove(code);
                }
                return Ok(Outbox { waiting, oldest, has_failed: false });
            };
            self.leased.insert(code.clone());
            let is_full = due.len() >= self.batch;
            // The oldest entry is in flight here, and Kafka does not acknowledge: another process shall publish it.
            let is_stuck = due.first().is_some_and(|event| self.publishing.in_flight.is_in_flight(event.request_id))
                && oldest > self.min_age + self.lease / 2;
            let mut fresh = due.into_iter().filter(|event| !self.publishing.in_flight.is_in_flight(event.request_id));
            let listed_as = |has_failed| Ok(Outbox { waiting, oldest, has_failed });
            if !is_proven {
                let Some(first) = fresh.next() else { return listed_as(is_stuck) };
                // One alone: while the broker is away, each pass must not queue another batch of copies.
                if !self.publish(&[first]).await {
                    return listed_as(true);
                }
                is_proven = true;
                if listed.elapsed() > MAX_LISTING_AGE {
                    continue;
                }
            }
            let rest: Vec<CouponIssued> = fresh.collect();
            // A whole batch that is on its way already: what is behind it has its turn in a later pass.
            let is_blocked = rest.is_empty() && is_full;
            if !self.publish(&rest).await {
                return listed_as(true);
            }
            if is_stuck || is_blocked || !is_full {
                return listed_as(is_stuck);
            }
            sleep(PUBLISH_BATCH_PAUSE).await;
        }
    }

    /// Publishes events; `true` when Kafka has acknowledged all within half a lease. Those that were not acknowledged stay in
    /// flight, and are skipped until they end.
    async fn publish(&self, events: &[CouponIssued]) -> bool {
        let end = Instant::now() + self.lease / 2;
        let mut queued = Vec::with_capacity(events.len());
        for event in events {
            match self.publishing.start(event, None) {
                Ok(acknowledgement) => queued.extend(acknowledgement),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "an outbox entry could not be queued");
                    return false;
                }
            }
        }
        for acknowledgement in queued {
            let Ok(Ok(())) = timeout_at(end, acknowledgement).await else { return false };
        }
        true
    }

    /// Releases every lease that this process may have.
    async fn release_all(&mut self) {
        for code in std::mem::take(&mut self.leased) {
            // A lease of 0 ms releases the lease; one that cannot be released ends by itself.
            if let Err(error) = self.stock.relay(&code, &self.owner, Duration::ZERO, self.min_age, 0).await {
                tracing::debug!(coupon = %code, error = %chain(&error), "a lease is not released");
            }
        }
    }
}
