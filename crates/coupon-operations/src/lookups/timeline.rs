//! What became of a request, in the order of time: from facts only.

use chrono::{DateTime, Utc};
use coupon_core::{
    clock::from_unix_ms,
    ids::{CouponCode, MemberId},
    repo::{
        RepoError,
        failed_coupon_issues::{FailedIssueStatus, ReplayLink},
    },
    stock::{Holder, StockError},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    Outcome, Step, StoredRows,
    steps::{attempts, beginning, decided, replayed},
};
use crate::Operations;

/// A request with its steps.
#[derive(Clone, Debug, Serialize)]
pub struct RequestTimeline {
    /// Request id.
    pub request_id: Uuid,
    /// Campaign, where it is known.
    pub coupon_code: Option<String>,
    /// Member, where it is known.
    pub member_id: Option<String>,
    /// Decision; `None` while there is none.
    pub decision: Option<String>,
    /// End of the coupon's validity.
    pub expires_at: Option<DateTime<Utc>>,
    /// The steps, oldest first.
    pub steps: Vec<Step>,
    /// The rows that tell of them. They name the member, so a page shows none of them.
    #[serde(skip)]
    pub rows: StoredRows,
}

/// What Redis says of a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedRedis {
    /// The request holds its unit; `pending`: its event is still in the outbox.
    Holds {
        /// Whether Kafka has not acknowledged the event.
        pending: bool,
    },
    /// Another request of the same member holds a unit.
    Other {
        /// That request.
        request_id: Uuid,
    },
    /// The member holds nothing of this campaign.
    Nothing,
    /// Redis cannot tell: it has no data of the campaign, is being filled, or is SUSPECT.
    CannotTell,
    /// PostgreSQL knows neither campaign nor member of the request, by which alone Redis finds it.
    NoPlace,
}

impl RequestTimeline {
    /// Returns campaign and member, where both are known: by them alone Redis finds the request.
    pub fn place(&self) -> Option<(CouponCode, MemberId)> {
        Some((self.coupon_code.as_deref()?.parse().ok()?, self.member_id.as_deref()?.parse().ok()?))
    }
}

impl Operations {
    /// Returns what became of a request; `None`: PostgreSQL knows nothing of it.
    pub async fn request_timeline(&self, request_id: Uuid) -> Result<Option<RequestTimeline>, RepoError> {
        let found = self.stored_request(request_id).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let mut replays = Vec::new();
        for entry in found.entries.iter().filter(|entry| entry.request_id == request_id) {
            replays.extend(self.database.failed_coupon_issues().replay_links(entry.id).await?);
        }
        let event = found.dead_letters.iter().find_map(|row| self.event_of(&row.clone().into()).ok());
        let reserved_at = event.map(|event| from_unix_ms(event.reserved_at));
        let timeline = timeline(request_id, &found, &replays, reserved_at);
        Ok(Some(RequestTimeline { rows: found, ..timeline }))
    }

    /// Asks Redis what the member of a request holds now.
    pub async fn ask_redis(&self, request: &RequestTimeline) -> Result<AskedRedis, StockError> {
        let Some((code, member)) = request.place() else { return Ok(AskedRedis::NoPlace) };
        Ok(match self.stock.holder(&code, &member).await? {
            Holder::Holds { request_id, pending } if request_id.as_uuid() == request.request_id => {
                AskedRedis::Holds { pending }
            }
            Holder::Holds { request_id, .. } => AskedRedis::Other { request_id: request_id.as_uuid() },
            Holder::Nothing => AskedRedis::Nothing,
            Holder::Missing | Holder::Filling | Holder::Suspect => AskedRedis::CannotTell,
        })
    }
}

fn timeline(
    request_id: Uuid,
    found: &StoredRows,
    replays: &[ReplayLink],
    reserved_at: Option<DateTime<Utc>>,
) -> RequestTimeline {
    let decision = found.decisions.first();
    let own = found.entries.iter().find(|entry| entry.request_id == request_id);
    let letter = found.dead_letters.iter().find(|letter| letter.member_id.is_some());
    let mut steps = Vec::new();
    for letter in &found.dead_letters {
        attempts(&mut steps, letter);
    }
    for row in &found.decisions {
        decided(&mut steps, row, own);
    }
    if let Some(entry) = own.filter(|entry| entry.status != FailedIssueStatus::Pending) {
        let by = entry.resolved_by.as_deref().unwrap_or("somebody");
        let detail = format!("{} by {by}", entry.status);
        let step = Step::new(entry.resolved_at, "Settled on the work list", detail, Outcome::Done);
        steps.push(Step { entry: Some(entry.id), ..step });
    }
    steps.extend(replays.iter().map(replayed));
    // What has no time stays behind the step before it. The beginning is first, whatever the clocks of its servers say.
    let mut last = DateTime::<Utc>::MIN_UTC;
    let mut timed: Vec<(DateTime<Utc>, Step)> = Vec::with_capacity(steps.len());
    for step in steps {
        last = step.at.unwrap_or(last);
        timed.push((last, step));
    }
    timed.sort_by_key(|(at, _)| *at);
    let mut steps = beginning(request_id, found, decision.map(|row| row.reserved_at).or(reserved_at));
    steps.extend(timed.into_iter().map(|(_, step)| step));
    RequestTimeline {
        request_id,
        coupon_code: (decision.map(|row| row.coupon_code.clone()))
            .or_else(|| own.map(|row| row.coupon_code.clone()))
            .or_else(|| letter.and_then(|row| row.coupon_code.clone())),
        member_id: (decision.map(|row| row.member_id.clone()))
            .or_else(|| own.map(|row| row.member_id.clone()))
            .or_else(|| letter.and_then(|row| row.member_id.clone())),
        decision: decision.map(|row| row.decision.clone()),
        expires_at: decision.and_then(|row| row.expires_at),
        steps,
        rows: StoredRows::default(),
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::repo::coupon_issues::DecisionDetails;

    use super::*;

    fn decision(decision: &str, given_back_at: Option<&str>) -> DecisionDetails {
        DecisionDetails {
            coupon_code: "SPRING".to_owned(),
            member_id: "alice".to_owned(),
            request_id: "018f3f5e-7b1a-7000-8000-000000000001".parse().unwrap(),
            decision: decision.to_owned(),
            reserved_at: "2024-05-03T17:00:00Z".parse().unwrap(),
            decided_at: "2024-05-03T17:00:01Z".parse().unwrap(),
            expires_at: None,
            superseded_by: None,
            given_back_at: given_back_at.map(|at| at.parse().unwrap()),
        }
    }

    fn steps_of(row: DecisionDetails) -> Vec<(&'static str, Outcome)> {
        let (id, found) = (row.request_id, StoredRows { decisions: vec![row], ..StoredRows::default() });
        timeline(id, &found, &[], None).steps.into_iter().map(|step| (step.what, step.outcome)).collect()
    }

    #[test]
    fn a_request_is_told_in_the_order_of_time_and_only_what_is_known() {
        let issued = steps_of(decision("ISSUED", None));
        let words: Vec<&str> = issued.iter().map(|(what, _)| *what).collect();
        assert_eq!(words[1..], ["Reserved a unit", "Published", "Decided ISSUED"]);
        assert_eq!(words[0], "Asked for");
        let due = steps_of(decision("COMPENSATED", None));
        assert_eq!(due.last(), Some(&("Unit given back", Outcome::Waits)));
        let back = steps_of(decision("COMPENSATED", Some("2024-05-03T17:00:02Z")));
        assert_eq!(back.last(), Some(&("Unit given back", Outcome::Done)));
    }
}
