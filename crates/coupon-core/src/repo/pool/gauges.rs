//! The connections of the pool as metrics.

use std::sync::{Arc, PoisonError};

use super::Database;
use crate::runtime::on_scrape;

impl Database {
    /// Measures the connections of this process whenever `/metrics` is asked for.
    pub fn measure_on_scrape(&self) {
        let inner = Arc::downgrade(&self.0);
        on_scrape(move || {
            let Some(inner) = inner.upgrade() else { return };
            let pool = inner.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            for (state, connections) in [("idle", idle), ("used", pool.size().saturating_sub(idle))] {
                metrics::gauge!("coupon_database_connections", "state" => state).set(connections);
            }
            metrics::gauge!("coupon_database_max_connections").set(pool.options().get_max_connections());
        });
    }
}
