//! I2 and I3: one coupon each, and every accepted request has a decision.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::oracle::{
    evidence::Evidence,
    violation::{Kind, Violation},
};

/// Code of a campaign, and a member.
type Place<'a> = (&'a str, &'a str);

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let promised = promised(evidence);
    let mut found = issued_twice(evidence);
    found.extend(accepted_twice(evidence, &promised));
    found.extend(lost(evidence, &promised));
    found.extend(unrecorded(evidence));
    found.extend(from_nothing(evidence));
    for (code, stock) in &evidence.stock {
        found.extend(stock.outbox.iter().map(|entry| Violation::new(Kind::OutboxLeft, format!("{code}: {entry}"))));
    }
    found
}

/// Returns the request ids that an answer accepts.
fn promised(evidence: &Evidence) -> BTreeMap<Place<'_>, BTreeSet<Uuid>> {
    let mut promised: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for answer in evidence.answers.iter().filter(|answer| answer.is_held()) {
        promised.entry((&*answer.coupon, &*answer.member)).or_default().extend(answer.request_id);
    }
    promised
}

fn issued_twice(evidence: &Evidence) -> Vec<Violation> {
    let mut rows: BTreeMap<Place<'_>, usize> = BTreeMap::new();
    for row in evidence.decisions.iter().filter(|row| row.is_issued()) {
        *rows.entry((row.code(), &row.member_id)).or_default() += 1;
    }
    let twice = rows.into_iter().filter(|(_, rows)| *rows > 1);
    twice
        .map(|((code, member), rows)| Violation::new(Kind::IssuedTwice, format!("{code}: {member} has {rows}")))
        .collect()
}

fn accepted_twice(evidence: &Evidence, promised: &BTreeMap<Place<'_>, BTreeSet<Uuid>>) -> Vec<Violation> {
    let decided = evidence.decided();
    let taken_back = |id: &Uuid| decided.get(id).is_some_and(|row| !row.is_issued());
    let mut found = Vec::new();
    for ((code, member), ids) in promised {
        let standing: Vec<_> = ids.iter().filter(|id| !taken_back(id)).collect();
        // Two rows of one member are reported as such.
        let issued = standing.iter().filter(|id| decided.contains_key(id)).count();
        if standing.len() > 1 && issued < 2 {
            found.push(Violation::new(Kind::AcceptedTwice, format!("{code}: {member} was promised {standing:?}")));
        }
    }
    found
}

fn lost(evidence: &Evidence, promised: &BTreeMap<Place<'_>, BTreeSet<Uuid>>) -> Vec<Violation> {
    let (decided, set_aside) = (evidence.decided(), evidence.set_aside());
    let mut found = Vec::new();
    for ((code, member), ids) in promised {
        for id in ids.iter().filter(|id| !decided.contains_key(id) && !set_aside.contains(id)) {
            found.push(Violation::new(Kind::Lost, format!("{code}: {id} of {member}")));
        }
    }
    found
}

fn unrecorded(evidence: &Evidence) -> Vec<Violation> {
    let failures: BTreeSet<_> = evidence.failures.iter().map(|failure| failure.request_id).collect();
    let compensated = evidence.decisions.iter().filter(|row| !row.is_issued());
    let given_up: BTreeSet<_> = compensated.map(|row| row.request_id).collect();
    let unrecorded = given_up.difference(&failures).map(|id| Violation::new(Kind::FailureUnrecorded, id.to_string()));
    let unfounded = failures.difference(&given_up).map(|id| Violation::new(Kind::FailureUnfounded, id.to_string()));
    unrecorded.chain(unfounded).collect()
}

fn from_nothing(evidence: &Evidence) -> Vec<Violation> {
    let events: BTreeSet<_> = evidence.main.iter().filter_map(|record| Some(record.event()?.request_id)).collect();
    let rows = evidence.decisions.iter().filter(|row| row.is_issued() && !events.contains(&row.request_id));
    rows.map(|row| Violation::new(Kind::IssuedFromNothing, format!("{}: {}", row.code(), row.request_id))).collect()
}
