//! Creating a campaign.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, NewCoupon},
};

use super::{CampaignError, Campaigns, Changed, Remark};

/// What a campaign is created with.
#[derive(Clone, Debug)]
pub struct CreateCampaign {
    /// Public name.
    pub code: CouponCode,
    /// Coupons in all, at most [`MAX_TOTAL`](super::MAX_TOTAL).
    pub total: i64,
    /// First moment requests are accepted; `None`: now.
    pub opens_at: Option<DateTime<Utc>>,
    /// First moment no request is accepted any more; `None`: when it is closed by hand.
    pub closes_at: Option<DateTime<Utc>>,
    /// Days a coupon is valid from its reservation.
    pub valid_days: i32,
    /// Whether a campaign that is there already with these values is no error.
    pub if_absent: bool,
}

impl Campaigns {
    /// Creates a DRAFT. A code that is taken is left as it is.
    pub async fn create(&self, wanted: CreateCampaign) -> Result<Changed, CampaignError> {
        let actor = self.actor();
        let opens_at = wanted.opens_at.unwrap_or(actor.now);
        if let Some(closes_at) = wanted.closes_at.filter(|closes_at| *closes_at <= opens_at) {
            return Err(CampaignError::ClosesBeforeItOpens { opens_at, closes_at });
        }
        let new = NewCoupon {
            coupon_code: wanted.code.clone(),
            total_quantity: wanted.total,
            opens_at,
            closes_at: wanted.closes_at,
            valid_days: wanted.valid_days,
        };
        let is_new = self.database.coupons().create(new, actor).await?;
        let coupon = self.find(&wanted.code).await?;
        if is_new {
            return Ok(Changed { coupon, remarks: Vec::new() });
        }
        if wanted.if_absent && wanted.is_met_by(&coupon) {
            return Ok(Changed { coupon, remarks: vec![Remark::ExistedBefore(wanted.code)] });
        }
        Err(CampaignError::Taken(wanted.code))
    }
}

impl CreateCampaign {
    fn is_met_by(&self, found: &Coupon) -> bool {
        found.total_quantity == self.total
            && found.valid_days == self.valid_days
            && found.closes_at == self.closes_at
            && self.opens_at.is_none_or(|opens_at| opens_at == found.opens_at)
    }
}
