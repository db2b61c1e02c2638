//! `coupon set-total`: an absolute number under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{ids::CouponCode, repo::coupons::Coupon, stock::SetTotal};

use super::{CommandError, Desk, say};

impl Desk {
    /// Raises PostgreSQL first and lowers it last, so that its total is never below the one in Redis.
    pub(super) async fn set_total(&self, code: &CouponCode, total: i64) -> Result<Coupon, CommandError> {
        self.living(code).await?;
        let claimed = self.database.claim_total(code.clone(), total, self.actor()).await?;
        let version = claimed.ok_or_else(|| CommandError::Unknown(code.clone()))?.total_version;
        match self.stock.set_total(code, total, version).await? {
            SetTotal::Set => {
                if !self.database.settle_total(code.clone(), total, version, false).await? {
                    return Err(CommandError::Superseded(code.clone()));
                }
            }
            SetTotal::Newer => return Err(CommandError::Superseded(code.clone())),
            SetTotal::BelowIssued(held) => return Err(CommandError::BelowIssued { code: code.clone(), held }),
            SetTotal::Missing => {
                if !self.database.settle_total(code.clone(), total, version, true).await? {
                    return Err(CommandError::NoData(code.clone()));
                }
            }
        }
        say(format_args!("the total of {code} is {total}"));
        self.coupon(code).await
    }
}
