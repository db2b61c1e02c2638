//! What a member has and why, from facts, and the sentence to tell them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::{
        RepoError,
        coupon_issues::DecisionDetails,
        coupons::ShownStatus,
        failed_coupon_issues::{FailedCouponIssue, FailedIssueStatus},
        work_list::Filter,
    },
    stock::{Holder, StockError},
};
use serde::Serialize;
use uuid::Uuid;

use super::{CampaignWithout, HolderEntry, StoredRows, without::without_request};
use crate::Operations;

/// Most entries, and most dead letters, read of one member.
const MAX_ROWS: i64 = 1_000;
/// Most campaigns that are told about, and most undecided requests.
const MAX_CAMPAIGNS: i64 = 50;

/// A member's requests, and the newest campaigns without one.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStanding {
    /// Requests that PostgreSQL knows, newest first.
    pub requests: Vec<RequestOfMember>,
    /// The newest campaigns without a request that PostgreSQL knows.
    pub campaigns: Vec<CampaignWithout>,
    /// Whether there are older campaigns without a request.
    pub has_more_campaigns: bool,
}

/// A request of the member.
#[derive(Clone, Debug, Serialize)]
pub struct RequestOfMember {
    /// Request id.
    pub request_id: Uuid,
    /// Campaign.
    pub coupon_code: String,
    /// ISSUED, COMPENSATED, or HELD while a dead letter waits for an operator.
    pub state: &'static str,
    /// Time of the reservation, where it is known.
    pub reserved_at: Option<DateTime<Utc>>,
    /// Time of the decision.
    pub decided_at: Option<DateTime<Utc>>,
    /// Entry of the work list.
    pub entry: Option<i64>,
    /// What became of it, for the operator.
    pub facts: String,
    /// What to tell the member.
    pub sentence: String,
}

impl Operations {
    /// Returns why a member has coupons or has none, from PostgreSQL alone.
    pub async fn member_standing(&self, member: &MemberId) -> Result<MemberStanding, RepoError> {
        // First what is undecided: a request that is decided in between is then in both answers, not in none.
        let undecided = self.database.dlq_events().undecided_of_member(member, None, None, MAX_CAMPAIGNS).await?;
        let decisions = self.database.coupon_issues().of_member(member).await?;
        let lost: Vec<Uuid> =
            decisions.iter().filter(|row| row.decision != "ISSUED").map(|row| row.request_id).collect();
        let entries = self.database.failed_coupon_issues().of_requests(&lost).await?;
        let mut campaigns = self.database.coupons().without_request_of(member, MAX_CAMPAIGNS + 1).await?;
        let has_more_campaigns = campaigns.len() > usize::try_from(MAX_CAMPAIGNS).unwrap_or(usize::MAX);
        campaigns.truncate(usize::try_from(MAX_CAMPAIGNS).unwrap_or(usize::MAX));
        campaigns.retain(|row| !undecided.iter().any(|held| held.coupon_code == row.coupon.coupon_code));

        let held = undecided.iter().filter(|held| {
            let id = held.request_id.as_uuid();
            !decisions.iter().any(|row| row.request_id == id)
        });
        let held = held.map(|held| held_request(held.request_id.as_uuid(), &held.coupon_code));
        let decided = decisions.iter().map(|row| {
            let entry =
                entries.iter().find(|entry| entry.request_id == row.request_id && entry.coupon_code == row.coupon_code);
            decided_request(row, entry)
        });
        let mut requests: Vec<RequestOfMember> = held.chain(decided).collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.request_id));
        let now = self.clock.now();
        let campaigns = campaigns.iter().map(|row| without_request(row, now)).collect();
        Ok(MemberStanding { requests, campaigns, has_more_campaigns })
    }

    /// Asks Redis for the holder entries of a member in the campaigns of its standing. One whose request the standing does not
    /// have is of an accepted request that is not written yet.
    pub async fn holders_of_member(
        &self,
        member: &MemberId,
        standing: &MemberStanding,
    ) -> Result<Vec<HolderEntry>, StockError> {
        let has_data = |campaign: &&CampaignWithout| {
            !matches!(campaign.status, ShownStatus::Draft | ShownStatus::Opening | ShownStatus::Archived)
        };
        let without = standing.campaigns.iter().filter(has_data).map(|campaign| campaign.coupon_code.clone());
        let with = standing.requests.iter().filter_map(|request| request.coupon_code.parse().ok());
        let codes: Vec<CouponCode> = with.chain(without).collect::<HashSet<_>>().into_iter().collect();
        let holders = self.stock.holders(&codes, member).await?;
        let found = codes.into_iter().zip(holders).filter_map(|(coupon_code, holder)| match holder {
            Holder::Holds { request_id, .. } => {
                Some(HolderEntry { coupon_code, member_id: member.clone(), request_id })
            }
            _ => None,
        });
        let mut found: Vec<HolderEntry> = found.collect();
        found.sort_by(|one, other| one.coupon_code.as_str().cmp(other.coupon_code.as_str()));
        Ok(found)
    }

    /// Returns the rows of a member: all decisions, and the newest entries and dead letters.
    pub async fn rows_of_member(&self, member: &MemberId) -> Result<StoredRows, RepoError> {
        let filter = Filter { member: Some(member.clone()), ..Filter::default() };
        Ok(StoredRows {
            decisions: self.database.coupon_issues().of_member(member).await?,
            entries: self.database.failed_coupon_issues().list(&filter, None, MAX_ROWS).await?,
            dead_letters: self.database.dlq_events().list(&filter, None, MAX_ROWS).await?,
        })
    }
}

fn held_request(request_id: Uuid, code: &CouponCode) -> RequestOfMember {
    RequestOfMember {
        request_id,
        coupon_code: code.to_string(),
        state: "HELD",
        reserved_at: None,
        decided_at: None,
        entry: None,
        facts: "A dead letter holds it, and an operator decides.".to_owned(),
        sentence:
            "We have received your request, and it is safe. It needs a check on our side before the coupon appears."
                .to_owned(),
    }
}

fn decided_request(row: &DecisionDetails, entry: Option<&FailedCouponIssue>) -> RequestOfMember {
    let is_issued = row.decision == "ISSUED";
    let (facts, sentence) = if let Some(expires_at) = row.expires_at {
        (format!("Issued, valid until {} UTC.", when(expires_at)), issued_sentence(expires_at))
    } else {
        compensated(row, entry)
    };
    RequestOfMember {
        request_id: row.request_id,
        coupon_code: row.coupon_code.clone(),
        state: if is_issued { "ISSUED" } else { "COMPENSATED" },
        reserved_at: Some(row.reserved_at),
        decided_at: Some(row.decided_at),
        entry: entry.map(|entry| entry.id),
        facts,
        sentence,
    }
}

fn issued_sentence(expires_at: DateTime<Utc>) -> String {
    format!("You have this coupon. It is valid until {} UTC.", spoken(expires_at))
}

fn compensated(row: &DecisionDetails, entry: Option<&FailedCouponIssue>) -> (String, String) {
    if let Some(other) = row.superseded_by {
        let facts = format!("Compensated, because the member holds the coupon by the request {other}.");
        return (facts, "You have this coupon already, from another request of yours.".to_owned());
    }
    let unit = match row.given_back_at {
        Some(at) => format!("its unit was given back at {} UTC", when(at)),
        None => "its unit still has to be given back".to_owned(),
    };
    let (of_entry, sentence) = match entry {
        Some(entry) if entry.status == FailedIssueStatus::Pending => (
            format!("; entry E{} waits for an operator", entry.id),
            "We have received your request, and something went wrong on our side. We are looking into it, and we are sorry.",
        ),
        Some(entry) => (
            format!("; entry E{} is {}, replayed {} times", entry.id, entry.status, entry.replay_count),
            "We have received your request, but could not complete it because of a fault on our side. We are very sorry.",
        ),
        None => (
            String::new(),
            "We have received your request, but could not complete it because of a fault on our side. We are very sorry.",
        ),
    };
    (format!("Compensated; {unit}{of_entry}."), sentence.to_owned())
}

/// Returns a time for operators.
pub(super) fn when(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns a time for members.
pub(super) fn spoken(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M:%S").to_string()
}
