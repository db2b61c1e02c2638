//! The report of a reconciliation: differences by kind, and the conclusion.

use std::collections::BTreeMap;

use coupon_core::ids::CouponCode;
use serde::{Deserialize, Serialize};

use super::Drift;

/// Examples kept of each kind of drift.
const MAX_EXAMPLES: usize = 5;

/// Drift of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftCount {
    /// Differences found.
    pub found: u64,
    /// Differences repaired, of those found.
    pub repaired: u64,
    /// Request ids, or values, of the first few.
    pub examples: Vec<String>,
}

impl DriftCount {
    /// Returns the number of differences of this kind that were not repaired.
    pub fn left(&self) -> u64 {
        self.found - self.repaired
    }
}

/// The result of the reconciliation of one campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The campaign.
    pub coupon: CouponCode,
    /// Holder entries read from Redis; `marks` in JSON.
    #[serde(rename = "marks")]
    pub holder_entries: u64,
    /// ISSUED rows read from PostgreSQL.
    pub issued_rows: u64,
    /// Requests that were under way to the end and could not be verified.
    pub in_flight: u64,
    /// Differences by kind.
    pub drift: BTreeMap<Drift, DriftCount>,
    /// The consumer lag because of which requests could not be verified.
    pub waiting_for: Option<String>,
    /// The conclusion.
    pub verdict: Verdict,
}

/// The conclusion of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Redis and PostgreSQL agree, except for requests under way.
    Agree,
    /// Redis and PostgreSQL differed, and every difference was repaired.
    Mended,
    /// Differences are left.
    Differ,
    /// No difference was found, and not every request could be verified.
    Unjudged,
}

impl Report {
    /// Returns a report without differences.
    pub(super) fn new(coupon: &CouponCode) -> Self {
        Self {
            coupon: coupon.clone(),
            holder_entries: 0,
            issued_rows: 0,
            in_flight: 0,
            drift: BTreeMap::new(),
            waiting_for: None,
            verdict: Verdict::Agree,
        }
    }

    /// Adds one difference; `repaired` says whether it has been repaired.
    pub(super) fn note(&mut self, drift: Drift, example: impl std::fmt::Display, repaired: bool) {
        let found = self.drift.entry(drift).or_default();
        found.found += 1;
        found.repaired += u64::from(repaired);
        if found.examples.len() < MAX_EXAMPLES {
            found.examples.push(example.to_string());
        }
        self.conclude();
    }

    /// Sets the verdict by the differences and the consumer lag.
    pub(super) fn conclude(&mut self) {
        self.verdict = match (self.left(), &self.waiting_for) {
            (0, Some(_)) => Verdict::Unjudged,
            (0, None) if self.is_clean() => Verdict::Agree,
            (0, None) => Verdict::Mended,
            _ => Verdict::Differ,
        };
    }

    /// Returns the number of differences that were not repaired.
    pub fn left(&self) -> u64 {
        self.drift.values().map(DriftCount::left).sum()
    }

    /// Whether no difference was found.
    pub fn is_clean(&self) -> bool {
        self.drift.is_empty()
    }
}
