//! The gauges and the readiness of the engine: what is under way, what waits, how large the lag is. No label names a member or a
//! coupon.

use std::time::Duration;

use super::{Engine, Handler};
use crate::{
    failure::Class,
    kafka::BreakerStates,
    runtime::{Condition, admin::count_from_zero},
};

/// Longest outage of the dependency of attempts that leaves the service ready: a restart of the dependency takes less.
const UNREADY_AFTER: Duration = Duration::from_secs(10);

/// What an engine tells of its state: conditions of `/readyz`, and its circuit breakers.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Ready with the first assignment.
    pub joined: Condition,
    /// Unready while the dependency of attempts has been away for more than ten seconds.
    pub dependencies: Condition,
    /// The circuit breakers.
    pub breakers: BreakerStates,
}

impl<H: Handler> Engine<H> {
    /// Sets the counters of what has not happened yet to 0, so that a rate sees the first time.
    pub(super) fn measure_from_zero(breakers: &BreakerStates) {
        count_from_zero("coupon_attempts_total", "outcome", ["OK"].into_iter().chain(Class::WORDS.iter().copied()));
        count_from_zero("coupon_give_ups_failed_total", "class", Class::WORDS.iter().copied());
        metrics::counter!("coupon_partitions_rewound_total").increment(0);
        for dependency in [H::ATTEMPT_DEPENDENCY, H::EXHAUSTED_DEPENDENCY] {
            breakers.closed(dependency);
        }
    }

    /// Sets the conditions, and the gauges that no single event changes.
    pub(super) fn measure(&self) {
        match self.breakers.away() {
            Some((since, why)) if since.elapsed() >= UNREADY_AFTER => {
                self.readiness.dependencies.unready(format!("nothing can be written: {why}"));
            }
            Some(_) => {}
            None => self.readiness.dependencies.ready(),
        }
        let tracker = &self.tracker;
        self.assigned.set(tracker.assigned());
        let now = self.clock.now().timestamp_millis();
        let ages = tracker.entries().filter_map(|entry| Some(now - entry.work.record.timestamp_ms?));
        let lag = Duration::from_millis(ages.max().unwrap_or(0).max(0).unsigned_abs());
        metrics::gauge!("coupon_consumer_lag_seconds").set(lag.as_secs_f64());
        let oldest = tracker.entries().map(|entry| entry.taken_in.elapsed().as_secs_f64()).fold(0.0, f64::max);
        metrics::gauge!("coupon_consumer_partitions").set(count(tracker.partitions()));
        metrics::gauge!("coupon_consumer_paused_partitions").set(count(tracker.paused()));
        metrics::gauge!("coupon_consumer_outstanding_records").set(count(tracker.outstanding()));
        metrics::gauge!("coupon_consumer_window_fill_ratio").set(tracker.fill());
        metrics::gauge!("coupon_consumer_backoff_records").set(count(self.timers.len()));
        metrics::gauge!("coupon_consumer_running_records").set(count(self.running));
        metrics::gauge!("coupon_consumer_oldest_outstanding_seconds").set(oldest);
        metrics::gauge!("coupon_consumer_watermark_lag_records").set(tracker.watermark_lag());
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of records and partitions are far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}
