//! The job of retention: purges in every replica, as `dlq-consumer purge` does by hand.

use std::time::Duration;

use coupon_core::{
    repo::retention::Bound,
    runtime::{Shutdown, Tasks, chain},
};
use coupon_operations::{Operations, retention::Purged};

/// Time between two runs.
const PURGE_PERIOD: Duration = Duration::from_hours(1);

/// Purges at the start and then every hour the rows of what was done more than `days` days ago. Replicas skip rows that
/// another one purges. A run ends after the batch in which `stop` begins. Decisions that nobody was told of go too, unless
/// `publishing` says that they will be.
pub fn start(operations: Operations, days: u32, publishing: bool, tasks: &Tasks, stop: Shutdown) {
    tasks.every("retention", PURGE_PERIOD, move || {
        let (operations, stop) = (operations.clone(), stop.clone());
        async move {
            let on_batch = |Purged { table, rows }: Purged| {
                metrics::counter!("coupon_purged_rows_total", "table" => table.as_str())
                    .increment(u64::try_from(rows).unwrap_or(0));
                if rows > 0 {
                    tracing::info!(%table, rows, "{rows} old rows of {table} purged");
                }
                !stop.is_stopping()
            };
            let bound = Bound { before: operations.days_ago(days), unpublished: !publishing };
            if let Err(error) = operations.purge(bound, on_batch).await {
                tracing::warn!("old rows cannot be purged now: {}", chain(&error));
            }
        }
    });
}
