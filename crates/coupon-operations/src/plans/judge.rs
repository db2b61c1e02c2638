//! What a change would hit: rows that would change, rows that would not and why, examples. And the job it becomes.

use std::collections::BTreeMap;

use coupon_core::{
    event::VERSION,
    ids::CouponCode,
    repo::{
        coupons::{Coupon, CouponStatus},
        failed_coupon_issues::FailedIssueStatus,
        jobs::NewServiceJob,
        plans::NewPlanJob,
        replay_jobs::JobKind,
        replays::{Plan, SampledRow},
        work_list::List,
    },
};
use serde_json::json;

use super::{Change, SampleRow};
use crate::{Operations, OperationsError, replay::Request};

/// A change, with what it would hit.
pub(crate) struct Judged {
    /// The change, with its upper number fixed.
    pub change: Change,
    /// The same in words.
    pub predicate: String,
    /// Highest number among its rows.
    pub up_to: Option<i64>,
    /// Rows that would change.
    pub eligible: Option<i64>,
    /// Rows that would not, by reason.
    pub refused: BTreeMap<String, i64>,
    /// Whether only a part of the rows was counted.
    pub at_least: bool,
    /// Up to ten of those that would.
    pub sample: Vec<SampleRow>,
}

impl Operations {
    /// Finds out what a change would hit. Where somebody waits for a page, with examples, and very many rows are not counted to
    /// their end.
    pub(crate) async fn judge(&self, mut change: Change, for_page: bool) -> Result<Judged, OperationsError> {
        if let Change::Replay { list, filter, per_second, .. } = &mut change {
            *per_second = per_second.clamp(0.01, 10_000.0);
            if *list == List::Requests && filter.ids.is_empty() && filter.status.is_none() {
                filter.status = Some(FailedIssueStatus::Pending.as_str().to_owned());
            }
        }
        let (plan, sample) = match change.rows() {
            None => (None, Vec::new()),
            Some(_) if for_page => self.count(&change).await.map(|(plan, sample)| (Some(plan), sample))?,
            Some(_) => (Some(self.plan_of(&change).await?), Vec::new()),
        };
        if let (Some(filter), Some(plan)) = (change.filter_mut(), &plan) {
            filter.up_to = Some(plan.up_to);
        }
        let list = change.rows().map_or(List::Requests, |(list, _)| list);
        let (up_to, eligible) = (plan.as_ref().map(|plan| plan.up_to), plan.as_ref().map(|plan| plan.eligible));
        let at_least = plan.as_ref().is_some_and(|plan| plan.at_least);
        let refused = match (plan, &change) {
            (Some(plan), _) => plan.refused,
            (None, Change::Archive { code }) => self.unfinished(code).await?,
            (None, _) => BTreeMap::new(),
        };
        let sample = sample.into_iter().map(|row| SampleRow {
            number: list.number(row.id).to_string(),
            coupon_code: row.coupon_code,
            member_id: row.member_id,
            cause: row.cause,
        });
        let sample = sample.collect();
        Ok(Judged { predicate: self.describe(&change).await?, change, up_to, eligible, refused, at_least, sample })
    }

    /// Returns a change in words, with the state of the campaign that it rebuilds or archives; an error where that is
    /// impossible.
    pub(crate) async fn describe(&self, change: &Change) -> Result<String, OperationsError> {
        let (Change::Rebuild { code, .. } | Change::Archive { code }) = change else {
            return Ok(change.predicate(None));
        };
        let coupon = self.database.coupons().find(code).await?;
        let coupon: Coupon = coupon.ok_or_else(|| OperationsError::Unknown(code.clone()))?;
        match change {
            Change::Rebuild { .. } if coupon.archived_at.is_some() => Err(OperationsError::Nothing(code.clone())),
            Change::Archive { .. } if coupon.archived_at.is_none() && coupon.status != CouponStatus::Closed => {
                Err(OperationsError::NotClosed { code: code.clone(), status: coupon.status })
            }
            _ => Ok(change.predicate(Some(&coupon))),
        }
    }

    /// Counts the rows of a change.
    pub(super) async fn plan_of(&self, change: &Change) -> Result<Plan, OperationsError> {
        let Some((list, filter)) = change.rows() else { return Ok(Plan::default()) };
        if let Some(verb) = change.settles() {
            return Ok(self.database.work_list().plan_settling(list, verb, filter).await?);
        }
        let mut plan = match request(change, "") {
            Some(request) => self.plan_replay(&request).await?,
            None => self.plan_compensation(filter).await?,
        };
        if filter.ids.is_empty() {
            // A filter means what is undecided.
            plan.refused.remove("DECIDED");
        }
        Ok(plan)
    }

    /// Returns up to ten of the rows that would change.
    pub(super) async fn sample_of(&self, change: &Change) -> Result<Vec<SampledRow>, OperationsError> {
        let Some((list, filter)) = change.rows() else { return Ok(Vec::new()) };
        if let Some(verb) = change.settles() {
            return Ok(self.database.work_list().sample_settling(list, verb, filter).await?);
        }
        Ok(match change {
            Change::Replay { list: List::Requests, after_close, .. } => {
                self.database.replays().sample(filter, *after_close, self.clock.now()).await?
            }
            _ => self.database.dlq_events().sample_replay(filter, VERSION, self.events.refused_codes()).await?,
        })
    }

    /// Returns what an archive would be refused for, in words.
    async fn unfinished(&self, code: &CouponCode) -> Result<BTreeMap<String, i64>, OperationsError> {
        let left = self.database.rebuilds().unfinished(code).await?;
        let all = [
            ("HELD", left.held),
            ("PARKED", left.parked),
            ("PENDING", left.pending),
            ("NOT_GIVEN_BACK", left.give_backs),
            ("UNDER_WAY", left.replays),
        ];
        Ok(all.into_iter().filter(|(_, count)| *count > 0).map(|(why, count)| (why.to_owned(), count)).collect())
    }
}

/// Returns the request of a replay; `None` for another change.
fn request(change: &Change, reason: &str) -> Option<Request> {
    let Change::Replay { list, filter, per_second, after_close } = change else { return None };
    let kind = match list {
        List::Requests => JobKind::Requests,
        List::DlqEvents => JobKind::DlqEvents,
    };
    let (filter, reason) = (filter.clone(), reason.to_owned());
    Some(Request { kind, filter, after_close: *after_close, per_second: *per_second, reason })
}

/// Returns the job of the services that makes a change, of which `plan` is known. `wait` is the longest wait for the consumers,
/// in seconds.
pub(crate) fn new_job(change: &Change, reason: &str, plan: &Plan, wait: Option<u64>) -> NewPlanJob {
    let Some(kind) = change.kind() else {
        let request = request(change, reason).expect("a change without a kind of job is a replay");
        return NewPlanJob::Replay(Box::new(request.into_job(plan, true)));
    };
    let mut parameters = serde_json::to_value(change).unwrap_or_default();
    if let Some(wait) = wait {
        parameters["wait_seconds"] = wait.into();
    }
    let progress = match change.rows() {
        // Of a part nobody can say how far the whole is.
        Some(_) => {
            json!({ "done": 0, "total": (!plan.at_least).then_some(plan.eligible), "refused": plan.refused })
        }
        None => json!({}),
    };
    let (verb, reason) = (change.verb().to_owned(), reason.to_owned());
    NewPlanJob::Service(NewServiceJob { kind, verb, parameters, progress, reason })
}
