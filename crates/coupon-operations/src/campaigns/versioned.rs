//! The total and the window: absolute values under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{CouponStatus, NewWindow, TotalInRedis, WindowRefusal, WindowSet},
    stock::{SetTotal, SetWindow},
};

use super::{CampaignError, Campaigns, Changed, Remark};

impl Campaigns {
    /// Sets the number of coupons. PostgreSQL is raised first and lowered last, so that its total is never below the one in
    /// Redis. Where Redis has no data, a higher total is set in PostgreSQL alone, with a remark; the rebuild takes it over.
    pub async fn set_total(&self, code: &CouponCode, total: i64) -> Result<Changed, CampaignError> {
        self.find_unarchived(code).await?;
        let claimed = self.database.coupons().claim_total(code.clone(), total, self.me()).await?;
        let claimed = claimed.ok_or_else(|| CampaignError::Unknown(code.clone()))?;
        let version = claimed.coupon.total_version;
        let settle = async |in_redis| {
            self.database.coupons().settle_total(code.clone(), total, version, in_redis, self.me()).await
        };
        let mut remarks = Vec::new();
        match self.stock.set_total(code, total, version).await? {
            SetTotal::Set => {
                if !settle(TotalInRedis::Set).await? {
                    return Err(CampaignError::Superseded(code.clone()));
                }
            }
            SetTotal::Newer => {
                settle(TotalInRedis::Refused("SUPERSEDED")).await?;
                return Err(CampaignError::Superseded(code.clone()));
            }
            SetTotal::BelowIssued(held) => {
                settle(TotalInRedis::Refused("BELOW_ISSUED")).await?;
                return Err(CampaignError::BelowIssued { code: code.clone(), held });
            }
            SetTotal::Missing
                if claimed.coupon.status == CouponStatus::Draft && settle(TotalInRedis::Nothing).await? => {}
            SetTotal::Missing if claimed.coupon.total_quantity == total => {
                remarks.push(Remark::TotalAwaitsRebuild(code.clone()));
            }
            SetTotal::Missing => {
                settle(TotalInRedis::Refused("NO_DATA")).await?;
                return Err(CampaignError::NoData(code.clone()));
            }
        }
        Ok(Changed { coupon: self.find(code).await?, remarks })
    }

    /// Sets the window in the row first, then in Redis. Where Redis has no data, the next filling takes it over.
    pub async fn set_window(&self, code: &CouponCode, new: NewWindow) -> Result<Changed, CampaignError> {
        let set = self.database.coupons().set_window(code.clone(), new, self.me()).await?;
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
