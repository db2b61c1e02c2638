//! The job that shows as gauges how many entries and dead letters wait, and the sums of the campaigns. Every replica shows the
//! same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    repo::{
        Database, RepoError,
        coupon_issues::CompensationOutcome,
        coupons::ShownStatus,
        dlq_events::DlqEventStatus,
        work_list::{Campaigns, Counts},
    },
    runtime::{Tasks, admin::count_from_zero, chain},
};
use coupon_operations::reconcile::Drift;

use crate::repair::outcome_label;

/// Time between two counts: less than the usual scrape interval of Prometheus.
const COUNT_PERIOD: Duration = Duration::from_secs(10);

/// Creates all metrics with 0, and counts every ten seconds. While PostgreSQL is away the gauges stay as they were.
pub fn start(database: Database, clock: Arc<dyn Clock>, tasks: &Tasks) {
    measure_from_zero();
    tasks.every("gauges", COUNT_PERIOD, move || {
        let (database, clock) = (database.clone(), clock.clone());
        async move {
            if let Err(error) = count(&database, clock.as_ref()).await {
                tracing::debug!("the work list cannot be counted now: {}", chain(&error));
            }
        }
    });
}

/// Creates counters with 0, so that a rate includes their first event.
fn measure_from_zero() {
    let outcomes = [
        CompensationOutcome::Compensated { failed_issue_id: 0 },
        CompensationOutcome::CompensatedBefore,
        CompensationOutcome::Issued,
        CompensationOutcome::Held,
        CompensationOutcome::Parked,
    ];
    count_from_zero("coupon_give_ups_total", "outcome", outcomes.map(outcome_label));
    count_from_zero("coupon_dead_letters_total", "status", DlqEventStatus::WORDS.iter().copied());
    for name in ["coupon_reconciliations_total", "coupon_reconciliations_failed_total", "coupon_sweeps_failed_total"] {
        metrics::counter!(name).increment(0);
    }
    for kind in Drift::ALL {
        metrics::gauge!("coupon_drift", "kind" => kind.as_str()).set(0);
    }
    metrics::gauge!("coupon_reconcile_unjudged").set(0);
}

async fn count(database: &Database, clock: &dyn Clock) -> Result<(), RepoError> {
    show_work(&database.work_list().counts().await?, clock);
    show_campaigns(database.work_list().campaigns(clock.now()).await?);
    Ok(())
}

fn show_work(counts: &Counts, clock: &dyn Clock) {
    let oldest = counts.oldest_pending_at.map_or(Duration::ZERO, |at| (clock.now() - at).to_std().unwrap_or_default());
    metrics::gauge!("coupon_work_list_pending").set(float(counts.pending));
    metrics::gauge!("coupon_work_list_oldest_seconds").set(oldest.as_secs_f64());
    for (status, count) in [(DlqEventStatus::Held, counts.held), (DlqEventStatus::Parked, counts.parked)] {
        metrics::gauge!("coupon_dead_letters_undecided", "status" => status.as_str()).set(float(count));
    }
    metrics::gauge!("coupon_alarms_unsent").set(float(counts.alarms_unsent));
}

fn show_campaigns(campaigns: Vec<Campaigns>) {
    let found: HashMap<&str, Campaigns> = campaigns.into_iter().map(|of| (of.status.as_str(), of)).collect();
    for status in ShownStatus::WORDS.iter().filter(|status| **status != ShownStatus::Archived.as_str()) {
        let sums = found.get(status).map_or((0, 0, 0), |of| (of.campaigns, of.coupons, of.issued));
        metrics::gauge!("coupon_campaigns", "status" => *status).set(float(sums.0));
        metrics::gauge!("coupon_campaign_coupons", "status" => *status).set(float(sums.1));
        metrics::gauge!("coupon_campaign_issued", "status" => *status).set(float(sums.2));
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows and coupons are far below 2^53")]
fn float(number: i64) -> f64 {
    number as f64
}
