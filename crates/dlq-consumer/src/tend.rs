//! What the service does for operators on its own: settles replays, and compares Redis with PostgreSQL.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::alarms::Notice,
    runtime::{Shutdown, chain},
};
use tokio::time::sleep;

use crate::{
    alarm,
    desk::{
        Desk, DeskError,
        reconcile::{Drift, ReconcileOptions, Reconciled, Report, Verdict},
    },
};

/// Between two looks at replays.
const SETTLE: Duration = Duration::from_secs(1);

/// Settles replays until the shutdown begins, so that a row whose coupon exists is RESOLVED whoever replayed it.
pub async fn settle_replays(desk: Desk, shutdown: Shutdown) {
    loop {
        match desk.settle_replays().await {
            Ok(settled) => metrics::counter!("coupon_replays_settled_total").increment(settled as u64),
            Err(error) => tracing::debug!("replays cannot be settled now: {}", chain(&error)),
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = sleep(SETTLE) => {}
        }
    }
}

/// Reconciles all campaigns every `every`, on one replica at a time, until the shutdown begins.
pub async fn reconcile(desk: Desk, options: ReconcileOptions, every: Duration, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.stopping() => return,
            () = sleep(every) => {}
        }
        // A comparison that is left half-way has changed nothing but what each repair changed whole.
        tokio::select! {
            () = shutdown.stopping() => return,
            passed = pass(&desk, options) => if let Err(error) = passed {
                metrics::counter!("coupon_reconciliations_failed_total").increment(1);
                tracing::warn!("redis and postgresql cannot be compared now: {}", chain(&error));
            }
        }
    }
}

async fn pass(desk: &Desk, options: ReconcileOptions) -> Result<(), DeskError> {
    // Whoever does not lead has nothing to tell.
    let (mut left, mut unjudged, mut failed) = ([0; Drift::ALL.len()], 0, None);
    if let Some(lead) = desk.database.try_lock("reconcile").await? {
        for code in desk.live_campaigns().await? {
            // One campaign that cannot be compared says nothing about the others.
            let reconciled = match desk.reconcile(&code, options, &|_, _| {}).await {
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
                tell(desk, &report).await?;
            }
        }
        lead.release().await;
        // What was not looked at is not known to agree: the gauges stay, and this pass does not count.
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

/// Drift that is left is somebody's business.
async fn tell(desk: &Desk, report: &Report) -> Result<(), DeskError> {
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
        desk.database.alarms().notify(notice(desk, "REQUEUED", code, message)).await?;
    }
    if report.left() == 0 {
        if !report.is_clean() {
            tracing::warn!(coupon = %code, "redis and postgresql differed for {code}, and everything was put right");
        }
        return Ok(());
    }
    let kinds: Vec<String> = report.drift.iter().map(|(drift, found)| format!("{drift} {}", found.found)).collect();
    let kinds = kinds.join(", ");
    let installation = alarm::installation();
    tracing::error!(coupon = %code, installation, "[CRITICAL] redis and postgresql differ for {code}: {kinds}; look with `dlq-consumer reconcile {code}`");
    let message = format!("redis and postgresql differ for {code}: {kinds}");
    Ok(desk.database.alarms().notify(notice(desk, "DRIFT", code, message)).await?)
}

fn notice(desk: &Desk, kind: &str, code: &CouponCode, message: String) -> Notice {
    Notice {
        cause: format!("{kind} {code}"),
        coupon_code: Some(code.clone()),
        message,
        command: format!("dlq-consumer reconcile {code}"),
        now: desk.clock.now(),
    }
}
