//! The lookup of everything that is stored of a request, or of a member.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{
        RepoError, coupon_issues::DecisionDetails, dlq_events::DlqEvent, failed_coupon_issues::FailedCouponIssue,
        work_list::Filter,
    },
    stock::StockError,
};
use serde::Serialize;
use uuid::Uuid;

use crate::Operations;

mod member;
mod steps;
mod timeline;
mod without;

pub use member::{MemberStanding, RequestOfMember};
pub use steps::{Outcome, Step};
pub use timeline::{AskedRedis, RequestTimeline};
pub use without::{CampaignWithout, Why};

/// Most entries, and most dead letters, read of one member.
const MAX_ROWS_OF_MEMBER: i64 = 1_000;

/// The result of a lookup.
#[derive(Debug, Default, Serialize)]
pub struct LookupResult {
    /// Decisions in PostgreSQL.
    pub decisions: Vec<DecisionDetails>,
    /// Entries of the work list.
    pub entries: Vec<FailedCouponIssue>,
    /// Dead letters.
    pub dead_letters: Vec<DlqEvent>,
    /// Holder entries in Redis, decided or not.
    pub holders: Vec<Holder>,
    /// The error because of which `holders` is not complete.
    #[serde(skip)]
    pub redis_is_away: Option<StockError>,
}

/// A holder entry in Redis.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// The campaign.
    pub coupon_code: CouponCode,
    /// The member.
    pub member_id: MemberId,
    /// The request that holds the unit.
    pub request_id: RequestId,
}

impl LookupResult {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        let Self { decisions, entries, dead_letters, holders, redis_is_away: _ } = self;
        decisions.is_empty() && entries.is_empty() && dead_letters.is_empty() && holders.is_empty()
    }
}

impl Operations {
    /// Looks up a request. Its holder entry is found by the campaign and the member that PostgreSQL has of the request.
    pub async fn find_request(&self, request_id: Uuid) -> Result<LookupResult, RepoError> {
        let mut found = self.find_stored_request(request_id).await?;
        let decided = found.decisions.iter().map(|row| (Some(&row.coupon_code), Some(&row.member_id)));
        let entries = found.entries.iter().map(|row| (Some(&row.coupon_code), Some(&row.member_id)));
        let dead_letters = found.dead_letters.iter().map(|row| (row.coupon_code.as_ref(), row.member_id.as_ref()));
        let named = decided.chain(entries).chain(dead_letters);
        let mut places: Vec<(CouponCode, MemberId)> =
            named.filter_map(|(code, member)| Some((code?.parse().ok()?, member?.parse().ok()?))).collect();
        places.sort_by(|(a, one), (b, other)| (a.as_str(), one.as_str()).cmp(&(b.as_str(), other.as_str())));
        places.dedup();
        self.find_holders(&mut found, places).await;
        Ok(found)
    }

    /// Looks up what PostgreSQL has of a request.
    async fn find_stored_request(&self, request_id: Uuid) -> Result<LookupResult, RepoError> {
        Ok(LookupResult {
            decisions: self.database.coupon_issues().of_request(request_id).await?,
            entries: self.database.failed_coupon_issues().of_request(request_id).await?,
            dead_letters: self.database.dlq_events().of_request(request_id).await?,
            ..LookupResult::default()
        })
    }

    /// Looks up everything a member holds and requested.
    pub async fn find_member(&self, member: &MemberId) -> Result<LookupResult, RepoError> {
        let filter = Filter { member: Some(member.clone()), ..Filter::default() };
        let entries = self.database.failed_coupon_issues().list(&filter, None, MAX_ROWS_OF_MEMBER).await?;
        let dead_letters = self.database.dlq_events().list(&filter, None, MAX_ROWS_OF_MEMBER).await?;
        let decisions = self.database.coupon_issues().of_member(member).await?;
        let mut found = LookupResult { decisions, entries, dead_letters, ..LookupResult::default() };
        let coupons =
            self.database.coupons().list().await?.into_iter().filter(coupon_core::repo::coupons::Coupon::is_live);
        let places = coupons.map(|coupon| (coupon.coupon_code, member.clone())).collect();
        self.find_holders(&mut found, places).await;
        Ok(found)
    }

    async fn find_holders(&self, found: &mut LookupResult, places: Vec<(CouponCode, MemberId)>) {
        for (coupon_code, member_id) in places {
            match self.stock.holders_of(&coupon_code, &[member_id.as_str()]).await {
                Ok(entries) => {
                    if let Some(request_id) = entries.into_iter().flatten().next().and_then(|id| id.parse().ok()) {
                        found.holders.push(Holder { coupon_code, member_id, request_id });
                    }
                }
                Err(error) => {
                    found.redis_is_away = Some(error);
                    return;
                }
            }
        }
    }
}
