//! Ending a campaign for good: its data in Redis goes, its rows stay and change no more.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::{coupons::CouponStatus, rebuilds::Unfinished},
    stock::DeleteOutcome,
};

use crate::{
    Operations, OperationsError,
    reconcile::{ReconcileOptions, Reconciled, Report},
    server_errors,
};

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Ended by this call.
    Now,
    /// Was ended before; what was left of its data is gone now too.
    Before,
}

/// Why a campaign was not ended.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No such campaign.
    #[error("there is no coupon {0}; `issuer-api coupon list` shows them all")]
    Unknown(CouponCode),
    /// Not closed.
    #[error("{code} is {status}: close it first with `issuer-api coupon close {code} --by NAME`")]
    NotClosed {
        /// The campaign.
        code: CouponCode,
        /// Where it stands.
        status: CouponStatus,
    },
    /// Somebody else is at it.
    #[error("somebody else is at the data of {0} now: a rebuild, or a reconciliation; ask again when it has ended")]
    Busy(CouponCode),
    /// Not everything is decided and done.
    #[error(
        "{code} is not finished: {} held, {} parked, {} pending on the work list, {} units to be given back, \
         {} replays under way; settle these first",
        left.held, left.parked, left.pending, left.give_backs, left.replays
    )]
    Unfinished {
        /// The campaign.
        code: CouponCode,
        /// What is left.
        left: Unfinished,
    },
    /// Redis and PostgreSQL differ.
    #[error("redis and postgresql differ for {}: `dlq-consumer reconcile {} --apply --by NAME` first", report.coupon, report.coupon)]
    Drift {
        /// In this.
        report: Box<Report>,
    },
    /// Some requests could not be judged.
    #[error("{0} requests are still under way: {1}")]
    UnderWay(u64, String),
    /// Something changed on the way.
    #[error("{0} was changed by somebody else meanwhile; look at it with `issuer-api coupon show {0}`, then ask again")]
    Changed(CouponCode),
    /// A server.
    #[error(transparent)]
    Operations(#[from] OperationsError),
}

server_errors!(ArchiveError);

impl Operations {
    /// Ends a CLOSED campaign of which nothing is under way and both sides agree. May be repeated.
    pub async fn archive(&self, code: &CouponCode, wait: Duration, reason: &str) -> Result<Archived, ArchiveError> {
        let Some(lock) = self.database.try_lock(&Self::data_lock(code)).await? else {
            return Err(ArchiveError::Busy(code.clone()));
        };
        let archived = self.archive_locked(code, wait, reason).await;
        lock.release().await;
        archived
    }

    async fn archive_locked(&self, code: &CouponCode, wait: Duration, reason: &str) -> Result<Archived, ArchiveError> {
        let coupon = self.database.coupons().find(code).await?;
        let coupon = coupon.ok_or_else(|| ArchiveError::Unknown(code.clone()))?;
        if coupon.archived_at.is_some() {
            self.forget(code).await?;
            return Ok(Archived::Before);
        }
        if coupon.status != CouponStatus::Closed {
            return Err(ArchiveError::NotClosed { code: code.clone(), status: coupon.status });
        }
        // Also where the row was closed and the gate was not.
        self.stock.close(code, coupon.epoch).await?;
        self.is_finished(code).await?;
        match self.reconcile_locked(code, ReconcileOptions { apply: false, requeue: false, wait }, &|_, _| {}).await? {
            Reconciled::Report(report) if !report.is_clean() => {
                return Err(ArchiveError::Drift { report: Box::new(report) });
            }
            Reconciled::Report(report) if report.in_flight > 0 => {
                let why = report.waiting_for.unwrap_or_else(|| "ask again in a moment".to_owned());
                return Err(ArchiveError::UnderWay(report.in_flight, why));
            }
            Reconciled::Report(_) => {}
            Reconciled::Busy | Reconciled::Skipped { .. } | Reconciled::Unknown => {
                return Err(ArchiveError::Changed(code.clone()));
            }
        }
        self.is_finished(code).await?;
        if !self.database.coupons().archive(code.clone(), coupon.epoch, self.me(), reason.to_owned()).await? {
            return Err(ArchiveError::Changed(code.clone()));
        }
        self.forget(code).await?;
        Ok(Archived::Now)
    }

    async fn is_finished(&self, code: &CouponCode) -> Result<(), ArchiveError> {
        let left = self.database.rebuilds().unfinished(code).await?;
        if left == Unfinished::default() {
            return Ok(());
        }
        Err(ArchiveError::Unfinished { code: code.clone(), left })
    }

    async fn forget(&self, code: &CouponCode) -> Result<(), ArchiveError> {
        match self.stock.delete_coupon(code).await? {
            DeleteOutcome::Done => Ok(()),
            DeleteOutcome::Unpublished(waiting) => {
                Err(ArchiveError::UnderWay(u64::try_from(waiting).unwrap_or(0), "they wait in the outbox".to_owned()))
            }
            DeleteOutcome::NotClosed(_) => Err(ArchiveError::Changed(code.clone())),
        }
    }
}
