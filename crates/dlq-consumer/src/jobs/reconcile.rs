//! The job that compares Redis with PostgreSQL, and raises an alarm about the drift that is left.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::alarms::Notice,
    runtime::{Tasks, chain},
};
use coupon_operations::{
    Operations, OperationsError,
    reconcile::{Drift, ReconcileOptions, Reconciled, Report, Verdict},
};
use tokio::time::sleep;

use crate::{alarm, config::ReconcileSettings};

/// Reconciles all campaigns every `reconcile.every_ms`, in one replica at a time; never if the setting is 0.
pub fn start(operations: Operations, settings: &ReconcileSettings, tasks: &Tasks) {
    if settings.every_ms == 0 {
        return;
    }
    let (apply, requeue, wait) = (settings.apply, settings.requeue, Duration::from_millis(settings.wait_ms));
    let (options, period) = (ReconcileOptions { apply, requeue, wait }, Duration::from_millis(settings.every_ms));
    // The stop drops a comparison midway, which is safe: each repair is atomic.
    tasks.spawn_until_stop("reconcile", async move {
        loop {
            sleep(period).await;
            if let Err(error) = reconcile_all(&operations, options).await {
                metrics::counter!("coupon_reconciliations_failed_total").increment(1);
                tracing::warn!("redis and postgresql cannot be compared now: {}", chain(&error));
            }
        }
    });
}

async fn reconcile_all(operations: &Operations, options: ReconcileOptions) -> Result<(), OperationsError> {
    // A replica that does not hold the lock shows no drift.
    let (mut left, mut unjudged, mut failed) = ([0; Drift::ALL.len()], 0, None);
    if let Some(lead) = operations.database.try_lock("reconcile").await? {
        for code in operations.live_campaigns().await? {
            // A campaign that cannot be compared does not keep the others from it.
            let reconciled = match operations.reconcile(&code, options, &|_, _| {}).await {
                Ok(reconciled) => reconciled,
                Err(error) => {
                    tracing::warn!(coupon = %code, "redis and postgresql cannot be compared for {code} now: {}", chain(&error));
                    failed = Some(error);
                    continue;
                }
            };
            if let Reconciled::Report(report) = reconciled {
                for (sum, drift) in left.iter_mut().zip(Drift::ALL) {
                    *sum += report.drift.get(&drift).map_or(0, |found| found.found - found.repaired);
                }
                if report.verdict == Verdict::Unjudged {
                    unjudged += report.in_flight;
                }
                raise_alarm(operations, &report).await?;
            }
        }
        lead.release().await;
        // A campaign that was not compared may have drift: the gauges stay, and this run does not count.
        if let Some(error) = failed {
            return Err(error);
        }
        metrics::counter!("coupon_reconciliations_total").increment(1);
    }
    metrics::gauge!("coupon_reconcile_unjudged").set(u32::try_from(unjudged).unwrap_or(u32::MAX));
    for (sum, drift) in left.into_iter().zip(Drift::ALL) {
        metrics::gauge!("coupon_drift", "kind" => drift.as_str()).set(u32::try_from(sum).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// Raises an alarm about drift that is left, and about requests that were published again.
async fn raise_alarm(operations: &Operations, report: &Report) -> Result<(), OperationsError> {
    let code = &report.coupon;
    if let Some(waiting_for) = &report.waiting_for {
        tracing::warn!(coupon = %code, in_flight = report.in_flight, "{} requests of {code} could not be compared: {waiting_for}", report.in_flight);
    }
    let requeued = report.drift.get(&Drift::Orphan).map_or(0, |orphans| orphans.repaired);
    if requeued > 0 {
        let message = format!(
            "{requeued} accepted requests of {code} were undecided, and kafka had nothing left of them; they are published again"
        );
        tracing::warn!(coupon = %code, requeued, "{message}");
        operations.database.alarms().notify(notice(operations, "REQUEUED", code, message)).await?;
    }
    if report.left() == 0 {
        if !report.is_clean() {
            tracing::warn!(coupon = %code, "redis and postgresql differed for {code}, and every difference is repaired");
        }
        return Ok(());
    }
    let kinds: Vec<String> = report.drift.iter().map(|(drift, found)| format!("{drift} {}", found.found)).collect();
    let kinds = kinds.join(", ");
    let installation = alarm::installation();
    tracing::error!(coupon = %code, installation, "[CRITICAL] redis and postgresql differ for {code}: {kinds}; look with `dlq-consumer reconcile {code}`");
    let message = format!("redis and postgresql differ for {code}: {kinds}");
    Ok(operations.database.alarms().notify(notice(operations, "DRIFT", code, message)).await?)
}

fn notice(operations: &Operations, kind: &str, code: &CouponCode, message: String) -> Notice {
    Notice {
        cause: format!("{kind} {code}"),
        coupon_code: Some(code.clone()),
        message,
        command: format!("dlq-consumer reconcile {code}"),
        now: operations.clock.now(),
    }
}
