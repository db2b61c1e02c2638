//! How the endpoints of the settings fare, for `/metrics`; the same in each replica.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use coupon_core::{
    clock::Clock,
    repo::{Database, webhooks::EndpointRow},
    runtime::{Tasks, chain},
};

/// Time between two measurements.
const MEASURE_PERIOD: Duration = Duration::from_secs(10);

/// Measures these endpoints. One that is in no settings any more is nobody's trouble.
pub(super) fn start(database: Database, clock: Arc<dyn Clock>, names: Vec<String>, tasks: &Tasks) {
    if names.is_empty() {
        return;
    }
    tasks.every("webhook gauges", MEASURE_PERIOD, move || {
        let (database, names, now) = (database.clone(), names.clone(), clock.now());
        async move {
            match database.webhooks().endpoints().await {
                Ok(rows) => rows.iter().filter(|row| names.contains(&row.endpoint)).for_each(|row| show(row, now)),
                Err(error) => tracing::debug!("webhooks cannot be measured now: {}", chain(&error)),
            }
        }
    });
}

fn show(row: &EndpointRow, now: DateTime<Utc>) {
    #[expect(clippy::cast_precision_loss, reason = "a number of deliveries is far below 2^53")]
    let waiting = row.pending as f64;
    metrics::gauge!("coupon_webhook_failing_seconds", "endpoint" => row.endpoint.clone())
        .set(failing_seconds(row, now));
    metrics::gauge!("coupon_webhook_deliveries_waiting", "endpoint" => row.endpoint.clone()).set(waiting);
}

/// Seconds since the endpoint took something, or was switched off; 0 while it works.
fn failing_seconds(row: &EndpointRow, now: DateTime<Utc>) -> f64 {
    let since = row.failing_since.or(row.off_at);
    since.map_or(0.0, |since| (now - since).as_seconds_f64().max(0.0))
}
