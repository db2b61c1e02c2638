//! `coupon set-total`: an absolute number under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus, TotalInRedis},
    stock::SetTotal,
};

use super::{CommandError, Desk, say};

impl Desk {
    /// Raises PostgreSQL first and lowers it last, so that its total is never below the one in Redis. Where Redis has no
    /// data, a higher total stays set in PostgreSQL, and is said to be; the rebuild takes it over.
    pub(super) async fn set_total(&self, code: &CouponCode, total: i64) -> Result<Coupon, CommandError> {
        self.living(code).await?;
        let claimed = self.database.claim_total(code.clone(), total, self.actor()).await?;
        let claimed = claimed.ok_or_else(|| CommandError::Unknown(code.clone()))?;
        let version = claimed.coupon.total_version;
        let settle =
            async |in_redis| self.database.settle_total(code.clone(), total, version, in_redis, self.actor()).await;
        match self.stock.set_total(code, total, version).await? {
            SetTotal::Set => {
                if !settle(TotalInRedis::Set).await? {
                    return Err(CommandError::Superseded(code.clone()));
                }
                say(format_args!("the total of {code} is {total}"));
            }
            SetTotal::Newer => {
                settle(TotalInRedis::Refused("SUPERSEDED")).await?;
                return Err(CommandError::Superseded(code.clone()));
            }
            SetTotal::BelowIssued(held) => {
                settle(TotalInRedis::Refused("BELOW_ISSUED")).await?;
                return Err(CommandError::BelowIssued { code: code.clone(), held });
            }
            SetTotal::Missing
                if claimed.coupon.status == CouponStatus::Draft && settle(TotalInRedis::Nothing).await? =>
            {
                say(format_args!("the total of {code} is {total}"));
            }
            SetTotal::Missing if claimed.coupon.total_quantity == total => say(format_args!(
                "the total of {code} is {total} in PostgreSQL; Redis has no data of it, and takes the total over with \
                 `dlq-consumer rebuild {code} --by NAME`"
            )),
            SetTotal::Missing => {
                settle(TotalInRedis::Refused("NO_DATA")).await?;
                return Err(CommandError::NoData(code.clone()));
            }
        }
        self.coupon(code).await
    }
}
