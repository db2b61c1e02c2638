//! Reconciliation: compares the holder entries in Redis with the ISSUED rows in PostgreSQL, request id by request id, in
//! both directions, and repairs the differences.
//!
//! Nothing is decided by a guessed time. A difference found while scanning is verified after the consumers have caught up
//! with everything that Kafka had acknowledged: a request that is undecided then is lost, not under way. Hashes and tables
//! are read in pages and only differences are kept, so memory does not grow with the campaign.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::{
        Database,
        coupons::{Coupon, CouponStatus},
        reconciliations::ReconciliationRow,
    },
    stock::Stock,
};

use crate::{Operations, OperationsError};

mod campaign;
mod drift;
mod report;
mod scan;
mod verify;

pub use drift::Drift;
pub use report::{DriftCount, Report, Verdict};

/// How to reconcile.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileOptions {
    /// Whether differences are repaired; otherwise nothing is changed.
    pub apply: bool,
    /// Whether a lost request (undecided, and Kafka has no record of it left) is requeued, also without `apply`.
    pub requeue: bool,
    /// Longest wait for the consumers to catch up.
    pub wait: Duration,
}

/// The outcome of [`Operations::reconcile`].
#[derive(Clone, Debug)]
pub enum Reconciled {
    /// The campaign was compared.
    Report(Report),
    /// Another process holds the lock of the campaign's data: a reconciliation, a rebuild or an archive.
    Busy,
    /// The campaign cannot be compared.
    Skipped {
        /// The reason, for operators.
        why: &'static str,
        /// Whether a later reconciliation cannot compare it either.
        for_good: bool,
    },
    /// Neither PostgreSQL nor Redis knows the campaign.
    Unknown,
}

/// The comparison of one campaign, under the lock of its data.
pub(crate) struct Comparison<'a> {
    operations: &'a Operations,
    database: &'a Database,
    stock: &'a Stock,
    coupon: &'a Coupon,
    options: ReconcileOptions,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    pub(crate) report: Report,
}

impl Operations {
    /// Returns the campaigns that can be compared.
    pub async fn live_campaigns(&self) -> Result<Vec<CouponCode>, OperationsError> {
        let all = self.database.coupons().list().await?.into_iter();
        Ok(all.filter(Coupon::is_live).map(|coupon| coupon.coupon_code).collect())
    }

    /// Returns the campaigns that can be compared, and those that only Redis knows.
    pub async fn all_campaigns(&self) -> Result<Vec<CouponCode>, OperationsError> {
        let mut codes = self.live_campaigns().await?;
        for code in self.stock.coupons().await? {
            if !codes.contains(&code) && self.database.coupons().find(&code).await?.is_none() {
                codes.push(code);
            }
        }
        Ok(codes)
    }

    /// Reconciles one campaign and records the report in the history. `progress` gets the numbers of holder entries and
    /// of ISSUED rows read so far.
    pub async fn reconcile(
        &self,
        code: &CouponCode,
        options: ReconcileOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Reconciled, OperationsError> {
        let reconciled = self.with_data_lock(code, Box::pin(self.reconcile_locked(code, options, progress))).await?;
        reconciled.unwrap_or(Ok(Reconciled::Busy))
    }

    /// Reconciles a campaign whose data lock the caller holds.
    pub(crate) async fn reconcile_locked(
        &self,
        code: &CouponCode,
        options: ReconcileOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Reconciled, OperationsError> {
        let started_at = self.clock.now();
        let report = match self.database.coupons().find(code).await? {
            None if !self.stock.has_data(code).await? => return Ok(Reconciled::Unknown),
            None => {
                let mut report = Report::new(code);
                report.note(Drift::UnknownCoupon, code, false);
                report
            }
            Some(coupon) => {
                if let Some((why, for_good)) = self.cannot_compare(&coupon).await? {
                    return Ok(Reconciled::Skipped { why, for_good });
                }
                Comparison::new(self, &coupon, options, progress).compare().await?
            }
        };
        self.record(&report, options, started_at).await?;
        Ok(Reconciled::Report(report))
    }

    async fn cannot_compare(&self, coupon: &Coupon) -> Result<Option<(&'static str, bool)>, OperationsError> {
        Ok(if coupon.archived_at.is_some() {
            Some(("it was ended for good", true))
        } else if coupon.epoch == 0 {
            Some(("it was never opened", true))
        } else if coupon.status == CouponStatus::Opening {
            Some(("it is being filled", false))
        } else if self.database.rebuilds().find_under_way(&coupon.coupon_code).await?.is_some() {
            Some(("a rebuild of it is under way: finish it with `dlq-consumer rebuild CODE --by NAME`", false))
        } else {
            None
        })
    }

    async fn record(
        &self,
        report: &Report,
        options: ReconcileOptions,
        started_at: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), OperationsError> {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let row = ReconciliationRow {
            id: 0,
            coupon_code: report.coupon.as_str().to_owned(),
            started_by: self.by.name.clone(),
            started_at,
            finished_at: self.clock.now(),
            applied: options.apply,
            marks: count(report.holder_entries),
            issued_rows: count(report.issued_rows),
            in_flight: count(report.in_flight),
            drift: serde_json::to_value(&report.drift).unwrap_or_default(),
        };
        self.database.reconciliations().record(row).await?;
        Ok(())
    }
}

impl<'a> Comparison<'a> {
    /// Returns a comparison with an empty report.
    pub(crate) fn new(
        operations: &'a Operations,
        coupon: &'a Coupon,
        options: ReconcileOptions,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Self {
        let (database, stock) = (&operations.database, &operations.stock);
        let report = Report::new(&coupon.coupon_code);
        Self { operations, database, stock, coupon, options, progress, report }
    }

    async fn compare(mut self) -> Result<Report, OperationsError> {
        if self.compare_campaign().await? {
            // A requeued request meets the counter: while the counter is wrong, the request would be compensated. The window
            // does not matter to requests that were accepted.
            let window = self.report.drift.get(&Drift::WindowDiffers).map_or(0, DriftCount::left);
            let is_counted = self.report.left() == window || self.options.apply;
            self.options.requeue &= is_counted;
            self.scan_holder_entries().await?;
            self.scan_rows().await?;
        }
        Ok(self.report)
    }

    fn code(&self) -> &'a CouponCode {
        &self.coupon.coupon_code
    }
}
