//! Reconciliation: compares the marks in Redis with the ISSUED rows in PostgreSQL, request id by request id, in both
//! directions, and puts right what differs.
//!
//! It guesses no time. What looks wrong on the way is looked at again after the consumers have passed everything that
//! Kafka had acknowledged: what is undecided then is not under way any more, it is lost. Maps and tables are read in
//! pages, and only what looks wrong is kept, so memory does not grow with the campaign.

use std::{collections::BTreeMap, time::Duration};

use coupon_core::{
    ids::CouponCode,
    repo::{
        coupons::{Coupon, CouponStatus},
        reconciliations::ReconciliationRow,
    },
};
use serde::Serialize;

use crate::{Operations, OperationsError, barrier::Passed};

mod drift;
mod judge;
mod scan;
mod whole;

pub use drift::Drift;

/// Examples kept of each kind of drift.
const EXAMPLES: usize = 5;

/// How to reconcile.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileOptions {
    /// Whether to put right what differs; otherwise nothing is changed.
    pub apply: bool,
    /// Whether what is undecided and of which Kafka has nothing left is published again, also without `apply`.
    pub requeue: bool,
    /// How long to wait for the consumers.
    pub wait: Duration,
}

/// Drift of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DriftCount {
    /// How often.
    pub found: u64,
    /// How many of these were put right.
    pub repaired: u64,
    /// The first few: request ids, or what else names them.
    pub examples: Vec<String>,
}

/// What a reconciliation of one campaign found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The campaign.
    pub coupon: CouponCode,
    /// Marks seen.
    pub marks: u64,
    /// ISSUED rows seen.
    pub issued_rows: u64,
    /// Requests that were under way to the end and could not be judged.
    pub in_flight: u64,
    /// What differs.
    pub drift: BTreeMap<Drift, DriftCount>,
    /// Why some could not be judged.
    pub waiting_for: Option<String>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What a reconciliation comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Redis and PostgreSQL agree, but for what is under way.
    Agree,
    /// They differed, and everything was put right.
    Mended,
    /// They differ.
    Differ,
    /// Nothing differs as far as could be judged, and not everything could.
    Unjudged,
}

/// What became of the attempt.
#[derive(Clone, Debug)]
pub enum Reconciled {
    /// Compared.
    Report(Report),
    /// Somebody else is at this campaign's data: another reconciliation, or a rebuild.
    Busy,
    /// It cannot be compared.
    Skipped {
        /// Why.
        why: &'static str,
        /// Whether there is nothing to compare, and not only now.
        for_good: bool,
    },
    /// PostgreSQL knows no such campaign, and neither does Redis.
    Unknown,
}

impl Report {
    pub(super) fn new(coupon: &CouponCode) -> Self {
        Self {
            coupon: coupon.clone(),
            marks: 0,
            issued_rows: 0,
            in_flight: 0,
            drift: BTreeMap::new(),
            waiting_for: None,
            verdict: Verdict::Agree,
        }
    }

    /// Notes one more difference; `repaired` when it has been put right.
    fn note(&mut self, drift: Drift, example: impl std::fmt::Display, repaired: bool) {
        let found = self.drift.entry(drift).or_default();
        found.found += 1;
        found.repaired += u64::from(repaired);
        if found.examples.len() < EXAMPLES {
            found.examples.push(example.to_string());
        }
        self.conclude();
    }

    fn conclude(&mut self) {
        self.verdict = match (self.left(), &self.waiting_for) {
            (0, Some(_)) => Verdict::Unjudged,
            (0, None) if self.is_clean() => Verdict::Agree,
            (0, None) => Verdict::Mended,
            _ => Verdict::Differ,
        };
    }

    /// Differences that were not put right.
    pub fn left(&self) -> u64 {
        self.drift.values().map(|found| found.found - found.repaired).sum()
    }

    /// Whether the two agree, as far as could be judged.
    pub fn is_clean(&self) -> bool {
        self.drift.is_empty()
    }

    fn blocked(&mut self, passed: &Passed) {
        self.waiting_for = Some(passed.to_string());
        self.conclude();
    }
}

impl Operations {
    /// The campaigns that can be compared.
    pub async fn live_campaigns(&self) -> Result<Vec<CouponCode>, OperationsError> {
        let all = self.database.coupons().list().await?.into_iter();
        Ok(all.filter(Coupon::is_live).map(|coupon| coupon.coupon_code).collect())
    }

    /// The same, and those of which only Redis knows.
    pub async fn all_campaigns(&self) -> Result<Vec<CouponCode>, OperationsError> {
        let mut codes = self.live_campaigns().await?;
        for code in self.stock.coupons().await? {
            if !codes.contains(&code) && self.database.coupons().find(&code).await?.is_none() {
                codes.push(code);
            }
        }
        Ok(codes)
    }

    /// Reconciles one campaign and puts the result into the history. `told` hears how many marks and rows were seen.
    pub async fn reconcile(
        &self,
        code: &CouponCode,
        options: ReconcileOptions,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Reconciled, OperationsError> {
        let Some(lock) = self.database.try_lock(&Self::data_lock(code)).await? else { return Ok(Reconciled::Busy) };
        let reconciled = self.reconcile_locked(code, options, told).await;
        lock.release().await;
        reconciled
    }

    /// The same for somebody who has the lock of the campaign's data.
    pub(crate) async fn reconcile_locked(
        &self,
        code: &CouponCode,
        options: ReconcileOptions,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Reconciled, OperationsError> {
        let started_at = self.clock.now();
        let mut report = Report::new(code);
        match self.database.coupons().find(code).await? {
            None if !self.stock.has_data(code).await? => return Ok(Reconciled::Unknown),
            None => report.note(Drift::UnknownCoupon, code, false),
            Some(coupon) => {
                if let Some((why, for_good)) = self.cannot_compare(&coupon).await? {
                    return Ok(Reconciled::Skipped { why, for_good });
                }
                self.compare(&coupon, options, told, &mut report).await?;
            }
        }
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

    async fn compare(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        told: &(dyn Fn(u64, u64) + Sync),
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        if !self.compare_whole(coupon, options, report).await? {
            return Ok(());
        }
        // What is published again meets the counter: while it is wrong, a request would be compensated for it. The window is
        // no matter of those who were accepted.
        let window = report.drift.get(&Drift::WindowDiffers).map_or(0, |found| found.found - found.repaired);
        let is_counted = report.left() == window || options.apply;
        let options = ReconcileOptions { requeue: options.requeue && is_counted, ..options };
        self.scan_holders(coupon, options, told, report).await?;
        self.scan_rows(coupon, options, told, report).await
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
            started_by: self.by.clone(),
            started_at,
            finished_at: self.clock.now(),
            applied: options.apply,
            marks: count(report.marks),
            issued_rows: count(report.issued_rows),
            in_flight: count(report.in_flight),
            drift: serde_json::to_value(&report.drift).unwrap_or_default(),
        };
        self.database.reconciliations().record(row).await?;
        Ok(())
    }
}
