//! Deleting a campaign that was never opened: its code was mistyped.

use coupon_core::{ids::CouponCode, repo::coupons::CouponStatus};

use super::{CampaignError, Campaigns};

impl Campaigns {
    /// Deletes a campaign that was never opened; nobody can hold anything of it.
    pub async fn delete(&self, code: &CouponCode) -> Result<(), CampaignError> {
        if self.database.coupons().delete_draft(code.clone(), self.actor()).await? {
            return Ok(());
        }
        let status = self.find(code).await?.status;
        Err(CampaignError::NotDeleted { code: code.clone(), is_draft: status == CouponStatus::Draft })
    }
}
