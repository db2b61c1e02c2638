//! The verdict: the counts, each taken from the store that owns it, and the promises that do not hold.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, bail};
use uuid::Uuid;

use super::{
    checks,
    evidence::Evidence,
    violation::{Kind, Violation},
};
use crate::answers::Answer;

/// The result of the oracle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Requests that an answer accepts (answers).
    pub accepted: usize,
    /// Members who asked and never got one (answers).
    pub refused: usize,
    /// ISSUED rows (PostgreSQL).
    pub issued: usize,
    /// COMPENSATED rows (PostgreSQL).
    pub compensated: usize,
    /// Dead letters that wait undecided for an operator (PostgreSQL).
    pub held: usize,
    /// Coupons that no member holds (Redis).
    pub stock: i64,
    /// Accepted requests without a decision, neither held nor parked.
    pub lost: usize,
    /// Coupons issued beyond the totals.
    pub oversold: i64,
    /// Members who hold more than one, or have more than one accepted request.
    pub duplicates: usize,
    /// Every violation of a promise, with its evidence.
    pub violations: Vec<Violation>,
}

/// Checks the evidence against every promise.
pub fn verdict(evidence: &Evidence) -> Verdict {
    let violations = checks::all(evidence);
    let count = |kinds: &[Kind]| violations.iter().filter(|violation| kinds.contains(&violation.kind)).count();
    let held_by: BTreeSet<(&str, &str)> = held(evidence).map(|answer| (&*answer.coupon, &*answer.member)).collect();
    let asked: BTreeSet<(&str, &str)> = evidence
        .answers
        .iter()
        .filter(|answer| answer.status.is_some())
        .map(|answer| (&*answer.coupon, &*answer.member))
        .collect();
    let promised: BTreeSet<Uuid> = held(evidence).filter_map(|answer| answer.request_id).collect();
    Verdict {
        accepted: promised.len(),
        refused: asked.difference(&held_by).count(),
        issued: evidence.decisions.iter().filter(|row| row.is_issued()).count(),
        compensated: evidence.decisions.iter().filter(|row| !row.is_issued()).count(),
        held: evidence.dead_letters.iter().filter(|row| row.status == "HELD").count(),
        stock: evidence.stock.values().filter_map(crate::stock::CampaignStock::left).sum(),
        lost: count(&[Kind::Lost, Kind::EventUndecided, Kind::FailureUnrecorded]),
        oversold: checks::stock::oversold(evidence),
        duplicates: count(&[Kind::IssuedTwice, Kind::AcceptedTwice]),
        violations,
    }
}

fn held(evidence: &Evidence) -> impl Iterator<Item = &Answer> {
    evidence.answers.iter().filter(|answer| answer.is_held())
}

impl Verdict {
    /// Fails with every violation, if there is one.
    pub fn must_hold(&self) -> Result<()> {
        self.must_hold_except(&[])
    }

    /// The same, where a test has broken something itself.
    pub fn must_hold_except(&self, expected: &[Kind]) -> Result<()> {
        let broken = self.violations.iter().filter(|violation| !expected.contains(&violation.kind));
        let broken: Vec<String> = broken.map(ToString::to_string).collect();
        if broken.is_empty() {
            return Ok(());
        }
        bail!("{self}\n{}", broken.join("\n"))
    }

    /// The kinds of the violations, each once.
    pub fn kinds(&self) -> Vec<Kind> {
        self.violations.iter().map(|violation| violation.kind).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "verdict: accepted={} refused={} issued={} compensated={} stock={} lost={} oversold={} duplicates={}",
            self.accepted,
            self.refused,
            self.issued,
            self.compensated,
            self.stock,
            self.lost,
            self.oversold,
            self.duplicates
        )
    }
}
