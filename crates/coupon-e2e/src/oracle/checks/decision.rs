//! I5: one decision for each request, and no answer contradicts it.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    answers::State,
    oracle::{
        evidence::Evidence,
        violation::{Kind, Violation},
    },
};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut rows: BTreeMap<Uuid, usize> = BTreeMap::new();
    for row in &evidence.decisions {
        *rows.entry(row.request_id).or_default() += 1;
    }
    let twice = rows.into_iter().filter(|(_, rows)| *rows > 1);
    let mut found: Vec<_> =
        twice.map(|(id, rows)| Violation::new(Kind::DecidedTwice, format!("{id} in {rows} rows"))).collect();
    found.extend(contradicted(evidence));
    found
}

fn contradicted(evidence: &Evidence) -> Vec<Violation> {
    let decided = evidence.decided();
    let mut found = Vec::new();
    for answer in &evidence.answers {
        let (Some(state), Some(row)) = (answer.state, answer.request_id.and_then(|id| decided.get(&id))) else {
            continue;
        };
        let contrary = if row.is_issued() { State::Compensated } else { State::Issued };
        let whose = row.member_id == answer.member;
        if state == contrary || !whose {
            let detail = format!(
                "{}: {} was told {state:?}, the row is {} of {}",
                row.request_id, answer.member, row.decision, row.member_id
            );
            found.push(Violation::new(Kind::AnswerContradicted, detail));
        }
    }
    found
}
