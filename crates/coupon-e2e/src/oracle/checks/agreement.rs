//! I4 and I6: holder entries in Redis and ISSUED rows are the same, request id by request id, and what was compensated is
//! given back.

use uuid::Uuid;

use crate::{
    oracle::{
        evidence::Evidence,
        violation::{Kind, Violation},
    },
    stock::CampaignStock,
};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for (code, stock) in &evidence.stock {
        found.extend(totals(evidence, code, stock));
        found.extend(holders(evidence, code, stock));
    }
    found.extend(rows(evidence));
    let open = evidence.decisions.iter().filter(|row| !row.is_issued() && row.given_back_at.is_none());
    found.extend(open.map(|row| Violation::new(Kind::GiveBackOpen, format!("{}: {}", row.code(), row.request_id))));
    found
}

fn totals(evidence: &Evidence, code: &str, stock: &CampaignStock) -> Option<Violation> {
    let campaign = evidence.campaigns.iter().find(|campaign| campaign.coupon_code == code)?;
    let (redis, postgres) = (stock.number("total")?, campaign.total_quantity);
    (redis != postgres)
        .then(|| Violation::new(Kind::TotalsDiffer, format!("{code}: {redis} in Redis, {postgres} in PostgreSQL")))
}

/// Each holder entry stands for an ISSUED row, or for a request that waits in the outbox or for an operator.
fn holders(evidence: &Evidence, code: &str, stock: &CampaignStock) -> Vec<Violation> {
    let (decided, set_aside) = (evidence.decided(), evidence.set_aside());
    let mut found = Vec::new();
    for (member, id) in &stock.issued {
        let waits = stock.outbox.iter().any(|entry| entry.starts_with(id.as_str()));
        let uuid: Option<Uuid> = id.parse().ok();
        let kind = match uuid.and_then(|id| decided.get(&id)) {
            Some(row) if row.is_issued() => continue,
            // Not finished yet, and reported as that.
            Some(row) if row.given_back_at.is_none() => continue,
            Some(_) => Kind::GiveBackUndone,
            None if waits || uuid.is_some_and(|id| set_aside.contains(&id)) => continue,
            None => Kind::HolderWithoutRow,
        };
        found.push(Violation::new(kind, format!("{code}: {id} of {member}")));
    }
    found
}

/// Each ISSUED row has its holder entry.
fn rows(evidence: &Evidence) -> Vec<Violation> {
    let decided = evidence.decided();
    let mut found = Vec::new();
    for row in evidence.decisions.iter().filter(|row| row.is_issued()) {
        let held_by = evidence.stock.get(row.code()).and_then(|stock| stock.holder_of(&row.member_id));
        if held_by == Some(row.request_id) {
            continue;
        }
        // Of two rows of one member only one can have the holder entry; that is another violation.
        let holder = held_by.and_then(|id| decided.get(&id));
        if holder.is_some_and(|holder| holder.is_issued() && holder.member_id == row.member_id) {
            continue;
        }
        let seen = held_by.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let detail = format!("{}: {} of {}, the holder entry is {seen}", row.code(), row.request_id, row.member_id);
        found.push(Violation::new(Kind::RowWithoutHolder, detail));
    }
    found
}
