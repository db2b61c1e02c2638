//! Setting the window: absolute times under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{CouponStatus, NewWindow, WindowRefusal, WindowSet},
    stock::SetWindow,
};

use super::{CampaignError, Campaigns, Changed, Remark};

impl Campaigns {
    /// Changes the row first, then Redis; what Redis has no data of, the next filling takes over.
    pub async fn set_window(&self, code: &CouponCode, new: NewWindow) -> Result<Changed, CampaignError> {
        let set = self.database.coupons().set_window(code.clone(), new, self.actor()).await?;
        let coupon = match set.ok_or_else(|| CampaignError::Unknown(code.clone()))? {
            WindowSet::Set(coupon) => coupon,
            WindowSet::Refused(why, wanted) => {
                return Err(match why {
                    WindowRefusal::Archived => CampaignError::Archived(code.clone()),
                    WindowRefusal::Opening => CampaignError::Filling(code.clone()),
                    WindowRefusal::Backwards => CampaignError::Backwards(Box::new(wanted)),
                });
            }
        };
        let closes_at = coupon.closes_at.map(|at| at.timestamp_millis());
        let opens_at = coupon.opens_at.timestamp_millis();
        let remarks = match self.stock.set_window(code, opens_at, closes_at, coupon.window_version).await? {
            SetWindow::Set => Vec::new(),
            SetWindow::Newer => return Err(CampaignError::WindowSuperseded(code.clone())),
            SetWindow::Missing if coupon.status == CouponStatus::Draft => Vec::new(),
            SetWindow::Missing => vec![Remark::WindowAwaitsRebuild(code.clone())],
        };
        Ok(Changed { coupon, remarks })
    }
}
