//! The steps of a request, each from one kind of row.

use chrono::{DateTime, Utc};
use coupon_core::{
    clock::from_unix_ms,
    repo::{
        coupon_issues::DecisionDetails,
        dlq_events::{DlqEvent, DlqEventStatus, UndecidedDlqEvent},
        failed_coupon_issues::{FailedCouponIssue, ReplayLink},
    },
};
use serde::Serialize;
use uuid::Uuid;

use super::StoredRows;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Done,
    /// It failed, or the request lost its unit.
    Failed,
    /// It is still to come, or waits for somebody.
    Waits,
}

/// A step of a request. It names no member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When; `None`: nothing keeps the time.
    pub at: Option<DateTime<Utc>>,
    /// What happened, in a few words.
    pub what: &'static str,
    /// What else is known of it.
    pub detail: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Entry of the work list that tells more.
    pub entry: Option<i64>,
    /// Dead letter that tells more.
    pub dead_letter: Option<i64>,
    /// Other request that it is about.
    pub request: Option<Uuid>,
}

impl Step {
    pub(super) fn new(
        at: Option<DateTime<Utc>>,
        what: &'static str,
        detail: impl Into<String>,
        outcome: Outcome,
    ) -> Self {
        Self { at, what, detail: detail.into(), outcome, entry: None, dead_letter: None, request: None }
    }
}

/// From the request to its record in Kafka.
pub(super) fn beginning(request_id: Uuid, found: &StoredRows, reserved_at: Option<DateTime<Utc>>) -> Vec<Step> {
    let mut steps = Vec::new();
    let made = request_id.get_timestamp().and_then(|made| {
        let (seconds, nanos) = made.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    });
    if made.is_some() {
        steps.push(Step::new(made, "Asked for", "issuer-api made the request id, by its own clock", Outcome::Done));
    }
    if let Some(of) = found.entries.iter().find(|entry| entry.request_id != request_id) {
        let step = Step::new(made, "Begun as a replay", "of the request of an older entry", Outcome::Done);
        steps.push(Step { entry: Some(of.id), request: Some(of.request_id), ..step });
    }
    if reserved_at.is_some() {
        let detail = "by the clock of Redis; an entry of the outbox keeps the event until Kafka has it";
        steps.push(Step::new(reserved_at, "Reserved a unit", detail, Outcome::Done));
    }
    let published = found.dead_letters.iter().map(|letter| letter.dlq_timestamp_ms).filter(|ms| *ms > 0).min();
    let detail = match published {
        Some(_) => "by the timestamp of the record",
        None => "Kafka has acknowledged the event; nothing keeps when",
    };
    if published.is_some() || !found.decisions.is_empty() {
        steps.push(Step::new(published.map(from_unix_ms), "Published", detail, Outcome::Done));
    }
    steps
}

/// What a dead letter tells of the attempts before and after it.
pub(super) fn attempts(steps: &mut Vec<Step>, letter: &DlqEvent) {
    let record = UndecidedDlqEvent::from(letter.clone()).record;
    let header = |name: &str| record.header(name).and_then(|value| String::from_utf8(value).ok());
    let time = |name: &str| header(name)?.parse::<DateTime<Utc>>().ok();
    let count = header("x-coupon-attempts").and_then(|text| text.parse::<u32>().ok());
    let code = header("x-coupon-error-code").filter(|code| code.len() <= 100).unwrap_or_default();
    let push = |steps: &mut Vec<Step>, step| steps.push(Step { dead_letter: Some(letter.id), ..step });
    if let Some(first) = time("x-coupon-first-failed-at") {
        let detail = "issue-consumer tries again, with a back-off between the attempts";
        push(steps, Step::new(Some(first), "First attempt failed", detail, Outcome::Failed));
    }
    if let Some(last) = time("x-coupon-last-failed-at") {
        let attempts = count.map_or_else(|| "its last attempt".to_owned(), |count| format!("attempt {count}"));
        let detail = format!("{code} after {attempts}, by the headers of the record");
        push(steps, Step::new(Some(last), "Dead-lettered", detail, Outcome::Failed));
    }
    let (what, outcome) = match letter.status {
        DlqEventStatus::Recovered => ("Written by dlq-consumer", Outcome::Done),
        DlqEventStatus::Compensated => ("Compensated by dlq-consumer", Outcome::Failed),
        DlqEventStatus::Duplicate => ("Found decided by dlq-consumer", Outcome::Done),
        DlqEventStatus::Held => ("Held for an operator", Outcome::Waits),
        DlqEventStatus::Parked => ("Parked for an operator", Outcome::Waits),
        DlqEventStatus::Resolved => ("Dead letter resolved by an operator", Outcome::Done),
        DlqEventStatus::Ignored => ("Dead letter ignored by an operator", Outcome::Done),
    };
    let is_settled = matches!(letter.status, DlqEventStatus::Resolved | DlqEventStatus::Ignored);
    let at = if is_settled { letter.updated_at } else { letter.created_at };
    let detail = format!("{} after {} attempts of dlq-consumer", letter.error_code, letter.attempts);
    push(steps, Step::new(Some(at), what, detail, outcome));
}

/// A decision, and what becomes of the unit.
pub(super) fn decided(steps: &mut Vec<Step>, row: &DecisionDetails, own: Option<&FailedCouponIssue>) {
    if row.decision == "ISSUED" {
        let detail = "the row in PostgreSQL is there: the member has the coupon";
        steps.push(Step::new(Some(row.decided_at), "Decided ISSUED", detail, Outcome::Done));
        return;
    }
    let detail = own.map_or_else(String::new, |entry| format!("because of {}", entry.error_code));
    let step = Step::new(Some(row.decided_at), "Decided COMPENSATED", detail, Outcome::Failed);
    steps.push(Step { entry: own.map(|entry| entry.id), ..step });
    let (what, still) = match row.superseded_by {
        Some(_) => ("Holder entry handed over", "the other request of the member holds the coupon"),
        None => ("Unit given back", "the unit can be reserved again"),
    };
    let step = match row.given_back_at {
        Some(at) => Step::new(Some(at), what, still, Outcome::Done),
        None => Step::new(None, what, "still to be done in Redis", Outcome::Waits),
    };
    steps.push(Step { request: row.superseded_by, ..step });
}

/// A replay of the request.
pub(super) fn replayed(link: &ReplayLink) -> Step {
    let (detail, outcome) = match link.outcome.as_deref() {
        None => ("Redis has not answered yet".to_owned(), Outcome::Waits),
        Some(word) => {
            let outcome = match word {
                "ISSUED" => Outcome::Done,
                "RESERVED" | "HOLDS_ONE" => Outcome::Waits,
                _ => Outcome::Failed,
            };
            (format!("{word}, job {}", link.job_id), outcome)
        }
    };
    Step { request: Some(link.request_id), ..Step::new(Some(link.created_at), "Replayed", detail, outcome) }
}
