//! The archiving of a campaign: its data in Redis is deleted, its rows stay and change no more.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::{coupons::CouponStatus, rebuilds::Unfinished},
    stock::DeleteOutcome,
};

use crate::{
    Operations, OperationsError,
    reconcile::{Drift, ReconcileOptions, Reconciled},
};

/// The outcome of [`Operations::archive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archived {
    /// This call has archived the campaign.
    Now,
    /// The campaign was archived before; data that was left in Redis is deleted.
    Before,
}

impl Archived {
    /// Returns the outcome in a sentence.
    pub fn sentence(&self, code: &CouponCode) -> String {
        match self {
            Self::Now => format!("{code} has ended for good"),
            Self::Before => format!("{code} had ended for good before"),
        }
    }
}

impl Operations {
    /// Archives a CLOSED campaign of which no request is under way and Redis and PostgreSQL agree. May be repeated.
    pub async fn archive(&self, code: &CouponCode, wait: Duration, reason: &str) -> Result<Archived, OperationsError> {
        let archived = self.with_data_lock(code, Box::pin(self.archive_locked(code, wait, reason))).await?;
        archived.unwrap_or_else(|| Err(OperationsError::Busy(code.clone())))
    }

    async fn archive_locked(
        &self,
        code: &CouponCode,
        wait: Duration,
        reason: &str,
    ) -> Result<Archived, OperationsError> {
        let coupon = self.database.coupons().find(code).await?;
        let coupon = coupon.ok_or_else(|| OperationsError::Unknown(code.clone()))?;
        if coupon.archived_at.is_some() {
            self.delete_data(code).await?;
            return Ok(Archived::Before);
        }
        if coupon.status != CouponStatus::Closed {
            return Err(OperationsError::NotClosed { code: code.clone(), status: coupon.status });
        }
        // Also where the row was closed and the gate was not.
        self.stock.close(code, coupon.epoch).await?;
        self.must_be_finished(code).await?;
        match self.reconcile_locked(code, ReconcileOptions { apply: false, requeue: false, wait }, &|_, _| {}).await? {
            // Numbers of decisions are PostgreSQL's own, and stay; where rows were deleted by hand, they differ for good.
            Reconciled::Report(report) if report.drift.keys().any(|drift| *drift != Drift::NumbersDiffer) => {
                return Err(OperationsError::Drift(code.clone()));
            }
            Reconciled::Report(report) if report.in_flight > 0 => {
                let why = report.waiting_for.unwrap_or_else(|| "ask again in a moment".to_owned());
                return Err(OperationsError::UnderWay(report.in_flight, why));
            }
            Reconciled::Report(_) => {}
            Reconciled::Busy | Reconciled::Skipped { .. } | Reconciled::Unknown => {
                return Err(OperationsError::Changed(code.clone()));
            }
        }
        self.must_be_finished(code).await?;
        if !self.database.coupons().archive(code.clone(), coupon.epoch, self.me(), reason.to_owned()).await? {
            return Err(OperationsError::Changed(code.clone()));
        }
        self.delete_data(code).await?;
        Ok(Archived::Now)
    }

    async fn must_be_finished(&self, code: &CouponCode) -> Result<(), OperationsError> {
        let left = self.database.rebuilds().unfinished(code).await?;
        if left == Unfinished::default() {
            return Ok(());
        }
        Err(OperationsError::Unfinished { code: code.clone(), left })
    }

    async fn delete_data(&self, code: &CouponCode) -> Result<(), OperationsError> {
        match self.stock.delete_coupon(code).await? {
            DeleteOutcome::Done => Ok(()),
            DeleteOutcome::Unpublished(waiting) => Err(OperationsError::UnderWay(
                u64::try_from(waiting).unwrap_or(0),
                "they wait in the outbox".to_owned(),
            )),
            DeleteOutcome::NotClosed(_) => Err(OperationsError::Changed(code.clone())),
        }
    }
}
