//! `reconcile --apply` and `rebuild` as jobs of the services, followed from the terminal.

use std::{cell::Cell, process::ExitCode, time::Duration};

use anyhow::ensure;
use coupon_core::{ids::CouponCode, repo::jobs::ServiceJobStatus, runtime::Escaped};
use coupon_operations::{
    Operations,
    jobs::{RebuildSteps, Reconciliations, ServiceJob},
    plans::Change,
    rebuild::{RebuildOptions, RebuildProgress},
    terminal::Progress,
};

use super::{EXIT_NOT_VERIFIED, print_unknown, show_progress};
use crate::cli::follow;

/// Lets a service compare and repair, and follows it.
pub(super) async fn reconcile(
    operations: &Operations,
    codes: Vec<CouponCode>,
    wait: Duration,
) -> anyhow::Result<Reconciliations> {
    let bar = Progress::new("holder entries and rows");
    let sum = |job: &ServiceJob| serde_json::from_value::<Reconciliations>(job.progress.clone()).unwrap_or_default();
    let on_progress = |job: &ServiceJob| {
        let (entries, rows) = sum(job).read;
        bar.both(entries, rows);
    };
    let change = Change::Reconcile { codes, apply: true };
    let job = follow::change(operations, change, "", Some(wait), &on_progress).await;
    bar.end();
    let job = job?;
    ensure!(job.status == ServiceJobStatus::Done, "{}", Escaped(&job.note));
    let sum = sum(&job);
    sum.unknown.iter().for_each(print_unknown);
    Ok(sum)
}

/// Lets a service rebuild, and follows it.
pub(super) async fn rebuild(
    operations: &Operations,
    code: CouponCode,
    RebuildOptions { wait, leave_undecided }: RebuildOptions,
) -> anyhow::Result<ExitCode> {
    let bar = Progress::new("holder entries");
    let shown = Cell::new(0_usize);
    let on_progress = |job: &ServiceJob| {
        let RebuildSteps { steps, .. } = serde_json::from_value(job.progress.clone()).unwrap_or_default();
        // The last one may have been a wait, which goes on.
        for (at, step) in steps.iter().enumerate().skip(shown.get().saturating_sub(1)) {
            if at >= shown.get() || matches!(step, RebuildProgress::Outbox(1..) | RebuildProgress::Copied(..)) {
                show_progress(&bar, step);
            }
        }
        shown.set(steps.len());
    };
    let job = follow::change(operations, Change::Rebuild { code, leave_undecided }, "", Some(wait), &on_progress).await;
    bar.end();
    let job = job?;
    if job.status == ServiceJobStatus::Failed && job.progress["retryable"] == true {
        eprintln!("error: {}", Escaped(&job.note));
        return Ok(ExitCode::from(EXIT_NOT_VERIFIED));
    }
    ensure!(job.status == ServiceJobStatus::Done, "{}", Escaped(&job.note));
    eprintln!("{}", Escaped(&job.note));
    Ok(ExitCode::SUCCESS)
}
