//! The job that settles replays: an entry of the work list whose coupon exists becomes RESOLVED, whoever replayed it.

use std::time::Duration;

use coupon_core::runtime::{Tasks, chain};
use coupon_operations::Operations;

/// Time between two runs.
const SETTLING_PERIOD: Duration = Duration::from_secs(1);

/// Settles decided replays every second, as [`Operations::settle_replays`].
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
