//! Decisions as events: each decision has exactly one number, each number an event that says what was decided, and in a
//! partition the numbers of a campaign grow, but for events that come once more.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    kafka::record::Record,
    oracle::{
        evidence::Evidence,
        violation::{Kind, Violation},
    },
};

/// What the headers of an event say.
struct Told<'e> {
    code: &'e str,
    number: i64,
    id: Uuid,
    is_issued: bool,
}

/// Numbers shown of those that are missing.
const SHOWN: usize = 5;

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let Some(events) = &evidence.events else { return Vec::new() };
    let decided = evidence.decided();
    let mut found = Vec::new();
    let mut by_number: BTreeMap<(&str, i64), Uuid> = BTreeMap::new();
    let mut highest: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for record in events {
        let place = format!("partition {} offset {}", record.partition, record.offset);
        let Some(told) = told(record) else {
            found.push(Violation::new(Kind::EventWrong, format!("{place} is no event of a decision")));
            continue;
        };
        let Told { code, number, id, is_issued } = told;
        let is_true = decided.get(&id).is_some_and(|row| {
            (row.code(), row.is_issued(), Some(row.member_id.as_bytes())) == (code, is_issued, record.key.as_deref())
        });
        if !is_true || !says_the_same(record, number, id) {
            found.push(Violation::new(
                Kind::EventWrong,
                format!("{code} {number} at {place}: {id} is decided otherwise"),
            ));
        }
        match by_number.get(&(code, number)) {
            Some(first) if *first == id => {}
            Some(first) => {
                let detail = format!("{code} {number} at {place}: {id}, and {first} before");
                found.push(Violation::new(Kind::EventWrong, detail));
            }
            None => {
                by_number.insert((code, number), id);
                let highest = highest.entry((code, record.partition)).or_default();
                if number < *highest {
                    let detail = format!("{code} {number} at {place} comes after {highest}");
                    found.push(Violation::new(Kind::EventOutOfOrder, detail));
                }
                *highest = (*highest).max(number);
            }
        }
    }
    found.extend(missing(evidence, &by_number));
    found
}

/// The numbers up to that of the decisions that no event has, and the decisions that have none.
fn missing(evidence: &Evidence, by_number: &BTreeMap<(&str, i64), Uuid>) -> Vec<Violation> {
    let told: BTreeSet<Uuid> = by_number.values().copied().collect();
    let mut found = Vec::new();
    for campaign in &evidence.campaigns {
        let code = campaign.coupon_code.as_str();
        let mine = evidence.decisions.iter().filter(|row| row.code() == code);
        let (mut last, mut untold) = (0, Vec::new());
        for row in mine {
            last += 1;
            if !told.contains(&row.request_id) {
                untold.push(row.request_id.to_string());
            }
        }
        let holes: Vec<String> = (1..=last)
            .filter(|number| !by_number.contains_key(&(code, *number)))
            .map(|number| number.to_string())
            .collect();
        for (what, which) in [("numbers without an event", holes), ("decisions without an event", untold)] {
            if !which.is_empty() {
                let shown = which.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
                let detail = format!("{code}: {} of {last} {what}: {shown}", which.len());
                found.push(Violation::new(Kind::EventMissing, detail));
            }
        }
    }
    found
}

fn told(record: &Record) -> Option<Told<'_>> {
    Some(Told {
        code: record.header("ce_source")?.strip_prefix("/coupons/")?,
        number: record.header("ce_decisionno")?.parse().ok().filter(|number| *number > 0)?,
        id: record.header("ce_id")?.parse().ok()?,
        is_issued: match record.header("ce_type")? {
            "coupon.issue.issued.v1" => true,
            "coupon.issue.compensated.v1" => false,
            _ => return None,
        },
    })
}

/// Whether the value says what the headers say.
fn says_the_same(record: &Record, number: i64, id: Uuid) -> bool {
    let value = record.value.as_deref().and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
    value.is_some_and(|value| value["number"] == number && value["request_id"] == id.to_string())
}
