//! What is stored of a request, and what a member has: the same answers for the command line and for the console.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::{RepoError, coupon_issues::DecisionDetails, dlq_events::DlqEvent, failed_coupon_issues::FailedCouponIssue},
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

/// The rows of a request, or of a member.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoredRows {
    /// Decisions in PostgreSQL.
    pub decisions: Vec<DecisionDetails>,
    /// Entries of the work list.
    pub entries: Vec<FailedCouponIssue>,
    /// Dead letters.
    pub dead_letters: Vec<DlqEvent>,
}

/// A holder entry in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderEntry {
    /// The campaign.
    pub coupon_code: CouponCode,
    /// The member.
    pub member_id: MemberId,
    /// The request that holds the unit.
    pub request_id: RequestId,
}

impl StoredRows {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        let Self { decisions, entries, dead_letters } = self;
        decisions.is_empty() && entries.is_empty() && dead_letters.is_empty()
    }
}

impl Operations {
    /// Reads what PostgreSQL has of a request.
    async fn stored_request(&self, request_id: Uuid) -> Result<StoredRows, RepoError> {
        Ok(StoredRows {
            decisions: self.database.coupon_issues().of_request(request_id).await?,
            entries: self.database.failed_coupon_issues().of_request(request_id).await?,
            dead_letters: self.database.dlq_events().of_request(request_id).await?,
        })
    }

    /// Returns the holder entries at these places as they are stored, also of a campaign that is SUSPECT or on its way to
    /// another node of a cluster, and whether Redis has told all.
    pub async fn stored_holders(
        &self,
        places: Vec<(CouponCode, MemberId)>,
    ) -> (Vec<HolderEntry>, Result<(), StockError>) {
        let mut found = Vec::new();
        for (coupon_code, member_id) in places {
            match self.stock.holders_of(&coupon_code, &[member_id.as_str()]).await {
                Ok(entries) => {
                    if let Some(request_id) = entries.into_iter().flatten().next().and_then(|id| id.parse().ok()) {
                        found.push(HolderEntry { coupon_code, member_id, request_id });
                    }
                }
                Err(error) => return (found, Err(error)),
            }
        }
        (found, Ok(()))
    }
}
