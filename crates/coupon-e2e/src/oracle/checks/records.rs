//! I3, I7 and I10, record by record: each is decided or kept, no offset is committed before that, and a dead letter equals
//! its origin.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    kafka::record::Record,
    oracle::{
        evidence::Evidence,
        violation::{Kind, Violation},
    },
};

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let settled = settled(evidence);
    let kept: BTreeSet<_> = evidence.dead_letters.iter().map(|row| (row.dlq_partition, row.dlq_offset)).collect();
    let main: BTreeMap<_, _> =
        evidence.main.iter().map(|record| ((i64::from(record.partition), record.offset), record)).collect();
    let mut found = main_topic(evidence, &settled);
    for letter in &evidence.dlq {
        found.extend(unheard(evidence, letter, &settled, &kept));
        found.extend(unlike_origin(&main, letter));
    }
    found
}

/// Checks that a record of the main topic is decided, held, parked, or unchanged in the dead letter topic.
fn main_topic(evidence: &Evidence, settled: &BTreeSet<Uuid>) -> Vec<Violation> {
    let copies: BTreeSet<_> = evidence.dlq.iter().map(|record| (&record.key, &record.value)).collect();
    let is_handled = |record: &&Record| {
        copies.contains(&(&record.key, &record.value)) || id_of(record).is_some_and(|id| settled.contains(&id))
    };
    let open = evidence.main.iter().filter(|record| !is_handled(record));
    open.map(|record| {
        let kind = late(&evidence.main_committed, record).unwrap_or(Kind::EventUndecided);
        Violation::new(kind, place("main", record))
    })
    .collect()
}

/// Checks that a dead letter is decided, or has its row of `dlq_events`.
fn unheard(
    evidence: &Evidence,
    letter: &Record,
    settled: &BTreeSet<Uuid>,
    kept: &BTreeSet<(i32, i64)>,
) -> Option<Violation> {
    let on_record = kept.contains(&(letter.partition, letter.offset));
    let decided = id_of(letter).is_some_and(|id| settled.contains(&id));
    if on_record || decided {
        return None;
    }
    let kind = late(&evidence.dlq_committed, letter).unwrap_or(Kind::DeadLetterUnheard);
    Some(Violation::new(kind, place("dlq", letter)))
}

/// Checks that a dead letter names its origin, and has its key, value and timestamp.
fn unlike_origin(main: &BTreeMap<(i64, i64), &Record>, letter: &Record) -> Option<Violation> {
    let number = |name: &str| letter.header(name)?.parse::<i64>().ok();
    let origin = number("__dlq.errors.partition").zip(number("__dlq.errors.offset"));
    let Some((partition, offset)) = origin.filter(|_| letter.header("__dlq.errors.topic").is_some()) else {
        return Some(Violation::new(Kind::DeadLetterUnlabelled, place("dlq", letter)));
    };
    let same = main.get(&(partition, offset)).is_some_and(|origin| {
        (&origin.key, &origin.value, origin.timestamp_ms) == (&letter.key, &letter.value, letter.timestamp_ms)
    });
    (!same).then(|| Violation::new(Kind::DeadLetterChanged, place("dlq", letter)))
}

/// Request ids that are decided or wait for an operator.
fn settled(evidence: &Evidence) -> BTreeSet<Uuid> {
    let mut settled = evidence.set_aside();
    settled.extend(evidence.decisions.iter().map(|row| row.request_id));
    settled
}

fn id_of(record: &Record) -> Option<Uuid> {
    Some(record.event()?.request_id)
}

fn late(committed: &BTreeMap<i32, i64>, record: &Record) -> Option<Kind> {
    let offset = committed.get(&record.partition)?;
    (*offset > record.offset).then_some(Kind::OffsetAhead)
}

fn place(topic: &str, record: &Record) -> String {
    let id = id_of(record).map(|id| format!(" ({id})")).unwrap_or_default();
    format!("{topic} partition {} offset {}{id}", record.partition, record.offset)
}
