//! Drafts: a campaign is created, or deleted before it was ever opened.

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus, NewCoupon},
};

use super::{CampaignError, Campaigns, Changed, Remark};

/// The values of a new campaign.
#[derive(Clone, Debug)]
pub struct CreateCampaign {
    /// The campaign's public name.
    pub code: CouponCode,
    /// The number of coupons, at most [`MAX_TOTAL`](super::MAX_TOTAL).
    pub total: i64,
    /// Start of the window; `None` is now.
    pub opens_at: Option<DateTime<Utc>>,
    /// End of the window, exclusive; `None` leaves it open until the campaign is closed.
    pub closes_at: Option<DateTime<Utc>>,
    /// Days a coupon is valid from its reservation.
    pub valid_days: i32,
    /// Whether a unit is reserved only with a token of a waiting room.
    pub admission_required: bool,
    /// Whether an existing campaign with these values is a success.
    pub if_absent: bool,
}

impl Campaigns {
    /// Creates a DRAFT campaign. An existing campaign of this code is not changed.
    pub async fn create(&self, wanted: CreateCampaign) -> Result<Changed, CampaignError> {
        let actor = self.me();
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
            admission_required: wanted.admission_required,
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

    /// Deletes a campaign that was never opened, of which nobody can hold a coupon.
    pub async fn delete(&self, code: &CouponCode) -> Result<(), CampaignError> {
        if self.database.coupons().delete_draft(code.clone(), self.me()).await? {
            return Ok(());
        }
        let status = self.find(code).await?.status;
        Err(CampaignError::NotDeleted { code: code.clone(), is_draft: status == CouponStatus::Draft })
    }
}

impl CreateCampaign {
    fn is_met_by(&self, found: &Coupon) -> bool {
        found.total_quantity == self.total
            && found.valid_days == self.valid_days
            && found.admission_required == self.admission_required
            && found.closes_at == self.closes_at
            && self.opens_at.is_none_or(|opens_at| opens_at == found.opens_at)
    }
}
