//! The housekeeper: retention by itself, in every replica, as `purge` does it by hand.

use std::time::Duration;

use coupon_core::runtime::{Shutdown, chain};

use crate::desk::{Desk, retention::Purged};

/// Between two looks.
const EVERY: Duration = Duration::from_hours(1);
/// In the audit.
const BY: &str = "dlq-consumer";

/// Purges what is old and done.
pub struct Housekeeper {
    /// What it works with.
    pub desk: Desk,
    /// How old is old.
    pub days: u32,
}

impl Housekeeper {
    /// Purges at once and then every hour, until the shutdown begins. Replicas leave each other's rows alone.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let told = |Purged { table, rows }: Purged| {
                metrics::counter!("coupon_purged_rows_total", "table" => table.as_str())
                    .increment(u64::try_from(rows).unwrap_or(0));
                if rows > 0 {
                    tracing::info!(%table, rows, "{rows} old rows of {table} purged");
                }
                !shutdown.is_stopping()
            };
            if let Err(error) = self.desk.purge(self.desk.days_ago(self.days), BY, told).await {
                tracing::warn!("old rows cannot be purged now: {}", chain(&error));
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}
