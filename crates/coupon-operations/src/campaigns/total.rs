//! Setting the total: an absolute number under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{CouponStatus, TotalInRedis},
    stock::SetTotal,
};

use super::{CampaignError, Campaigns, Changed, Remark};

impl Campaigns {
    /// Raises PostgreSQL first and lowers it last, so that its total is never below the one in Redis. Where Redis has no
    /// data, a higher total stays set in PostgreSQL, and is said to be; the rebuild takes it over.
    pub async fn set_total(&self, code: &CouponCode, total: i64) -> Result<Changed, CampaignError> {
        self.find_unarchived(code).await?;
        let claimed = self.database.coupons().claim_total(code.clone(), total, self.actor()).await?;
        let claimed = claimed.ok_or_else(|| CampaignError::Unknown(code.clone()))?;
        let version = claimed.coupon.total_version;
        let settle = async |in_redis| {
            self.database.coupons().settle_total(code.clone(), total, version, in_redis, self.actor()).await
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
}
