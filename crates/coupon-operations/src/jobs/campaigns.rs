//! Jobs about campaigns: reconciliation, rebuild, archive.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coupon_core::ids::CouponCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::work::Turn;
use crate::{
    OperationsError,
    rebuild::{RebuildOptions, RebuildProgress, rebuilt},
    reconcile::{ReconcileOptions, Reconciled, Report},
    terminal::counted,
};

/// Longest wait for the consumers where nobody has said another.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);

/// The progress of a reconciliation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconciliations {
    /// Campaigns to be compared.
    pub codes: Vec<CouponCode>,
    /// Campaigns done.
    pub done: usize,
    /// Campaigns in all.
    pub total: usize,
    /// Holder entries, and rows, that were read of the next one.
    pub read: (u64, u64),
    /// Results.
    pub reports: Vec<Report>,
    /// Campaigns that cannot be compared.
    pub skipped: Vec<Skipped>,
    /// Campaigns that do not exist.
    pub unknown: Vec<CouponCode>,
}

/// A campaign that cannot be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// The campaign.
    pub coupon: CouponCode,
    /// The reason.
    pub why: String,
    /// Whether a later reconciliation cannot compare it either.
    pub for_good: bool,
}

/// The progress of a rebuild.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RebuildSteps {
    /// What happened, in order; a wait and a copy are there once, with their last number.
    pub steps: Vec<RebuildProgress>,
    /// Holder entries copied.
    pub done: u64,
    /// Holder entries to be copied.
    pub total: u64,
}

impl RebuildSteps {
    fn add(&mut self, step: RebuildProgress) {
        use RebuildProgress::{Copied, Outbox};
        if let Copied(done, total) = step {
            (self.done, self.total) = (done, total);
        }
        match self.steps.last_mut() {
            Some(last) if *last == step => {}
            Some(last) if matches!((&*last, &step), (Copied(..), Copied(..)) | (Outbox(1..), Outbox(1..))) => {
                *last = step;
            }
            _ => self.steps.push(step),
        }
    }
}

impl Turn<'_> {
    pub(super) async fn reconcile(
        &self,
        codes: &[CouponCode],
        apply: bool,
        wait: Option<Duration>,
        progress: Value,
    ) -> Result<String, OperationsError> {
        let mut sum: Reconciliations = serde_json::from_value(progress).unwrap_or_default();
        if sum.total == 0 {
            sum.codes = if codes.is_empty() { self.operations.all_campaigns().await? } else { codes.to_vec() };
            sum.total = sum.codes.len();
        }
        let options = ReconcileOptions { apply, requeue: apply, wait: wait.unwrap_or(DEFAULT_WAIT) };
        while let Some(coupon) = sum.codes.get(sum.done).cloned() {
            let shown = Mutex::new(sum.clone());
            let on_page = |entries, rows| {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.read = (entries, rows);
                self.show(&*shown);
            };
            match self.operations.reconcile(&coupon, options, &on_page).await? {
                Reconciled::Report(report) => sum.reports.push(report),
                Reconciled::Skipped { why, for_good } => {
                    sum.skipped.push(Skipped { coupon, why: why.to_owned(), for_good });
                }
                Reconciled::Unknown => sum.unknown.push(coupon),
                Reconciled::Busy => return Err(OperationsError::Busy(coupon)),
            }
            (sum.done, sum.read) = (sum.done + 1, (0, 0));
            self.show(&sum);
        }
        let left: u64 = sum.reports.iter().map(Report::left).sum();
        let compared = counted(i64::try_from(sum.reports.len()).unwrap_or(0), "campaign", "campaigns");
        Ok(match left {
            0 if sum.reports.iter().all(Report::is_clean) => format!("{compared} compared, no difference"),
            0 => format!("{compared} compared, every difference repaired"),
            left => format!("{compared} compared, differences left: {left}"),
        })
    }

    pub(super) async fn rebuild(
        &self,
        code: &CouponCode,
        leave_undecided: bool,
        wait: Option<Duration>,
        progress: Value,
    ) -> Result<String, OperationsError> {
        let steps: Mutex<RebuildSteps> = Mutex::new(serde_json::from_value(progress).unwrap_or_default());
        let on_step = |step| {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.add(step);
            self.show(&*steps);
        };
        let options = RebuildOptions { wait: wait.unwrap_or(DEFAULT_WAIT), leave_undecided };
        let coupon = self.operations.rebuild(code, options, &on_step).await?;
        Ok(rebuilt(&coupon))
    }

    pub(super) async fn archive(
        &self,
        code: &CouponCode,
        wait: Option<Duration>,
        reason: &str,
    ) -> Result<String, OperationsError> {
        let archived = self.operations.archive(code, wait.unwrap_or(DEFAULT_WAIT), reason).await?;
        Ok(archived.sentence(code))
    }
}
