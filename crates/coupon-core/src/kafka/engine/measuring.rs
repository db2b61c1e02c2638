//! The gauges of the engine: what is under way, what waits, how far behind. None names a member or a coupon.

use super::{Engine, Handler};

impl<H: Handler> Engine<H> {
    /// Sets the gauges that are not a matter of a single event.
    pub(super) fn measure(&self) {
        let lanes = &self.lanes;
        let oldest = lanes.entries().map(|entry| entry.taken_in.elapsed().as_secs_f64()).fold(0.0, f64::max);
        metrics::gauge!("coupon_consumer_partitions").set(count(lanes.partitions()));
        metrics::gauge!("coupon_consumer_paused_partitions").set(count(lanes.paused()));
        metrics::gauge!("coupon_consumer_outstanding_records").set(count(lanes.outstanding()));
        metrics::gauge!("coupon_consumer_window_fill_ratio").set(lanes.fill());
        metrics::gauge!("coupon_consumer_backoff_records").set(count(self.timers.len()));
        metrics::gauge!("coupon_consumer_running_records").set(count(self.running.len()));
        metrics::gauge!("coupon_consumer_oldest_outstanding_seconds").set(oldest);
        metrics::gauge!("coupon_consumer_watermark_lag_records").set(lanes.watermark_lag());
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of records and partitions are far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}
