//! The job of retention: what `purge` does by hand, in every replica.

use std::time::Duration;

use coupon_core::runtime::{Shutdown, Tasks, chain};
use coupon_operations::{Operations, retention::Purged};

/// Between two runs.
const PURGE_PERIOD: Duration = Duration::from_hours(1);
/// Who purges, in the audit.
const AUDIT_NAME: &str = "dlq-consumer";

/// Purges at once and then every hour what was done with `days` ago. Replicas leave each other's rows alone, and a run ends
/// after the batch in which `stop` begins.
pub fn start(operations: Operations, days: u32, tasks: &Tasks, stop: Shutdown) {
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
            if let Err(error) = operations.purge(operations.days_ago(days), AUDIT_NAME, on_batch).await {
                tracing::warn!("old rows cannot be purged now: {}", chain(&error));
            }
        }
    });
}
