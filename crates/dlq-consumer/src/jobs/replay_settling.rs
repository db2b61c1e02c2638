//! The job that settles replays, so that a row whose coupon exists is RESOLVED whoever replayed it.

use std::time::Duration;

use coupon_core::runtime::{Tasks, chain};
use coupon_operations::Operations;

/// Between two runs.
const SETTLING_PERIOD: Duration = Duration::from_secs(1);

/// Settles replays every second.
pub fn start(operations: Operations, tasks: &Tasks) {
    tasks.every("replay settling", SETTLING_PERIOD, move || {
        let operations = operations.clone();
        async move {
            match operations.settle_replays().await {
                Ok(settled) => metrics::counter!("coupon_replays_settled_total").increment(settled as u64),
                Err(error) => tracing::debug!("replays cannot be settled now: {}", chain(&error)),
            }
        }
    });
}
