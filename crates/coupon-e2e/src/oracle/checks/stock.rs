//! I1: never more than the total, and the counter says how many.

use crate::oracle::{
    evidence::{Campaign, Evidence},
    violation::{Kind, Violation},
};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    evidence.campaigns.iter().flat_map(|campaign| of(evidence, campaign)).collect()
}

/// Coupons beyond the totals of their campaigns.
pub(in crate::oracle) fn oversold(evidence: &Evidence) -> i64 {
    evidence.campaigns.iter().map(|campaign| (issued(evidence, campaign) - campaign.total_quantity).max(0)).sum()
}

fn of(evidence: &Evidence, campaign: &Campaign) -> Vec<Violation> {
    let (code, issued) = (&campaign.coupon_code, issued(evidence, campaign));
    let mut found = Vec::new();
    if issued > campaign.total_quantity {
        found.push(Violation::new(Kind::Oversold, format!("{code}: {issued} of {}", campaign.total_quantity)));
    }
    if issued != campaign.issued_quantity {
        let counter = campaign.issued_quantity;
        found.push(Violation::new(Kind::CounterWrong, format!("{code}: {issued} rows, the counter says {counter}")));
    }
    found
}

fn issued(evidence: &Evidence, campaign: &Campaign) -> i64 {
    let rows = evidence.decisions.iter().filter(|row| row.is_issued() && row.code() == campaign.coupon_code);
    i64::try_from(rows.count()).unwrap_or(i64::MAX)
}
