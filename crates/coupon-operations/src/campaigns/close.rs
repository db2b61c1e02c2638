//! Closing a campaign: the gate first, because that is what stops members; then the row.

use coupon_core::{ids::CouponCode, repo::coupons::CouponStatus, stock::GateOutcome};

use super::{CampaignError, Campaigns, Changed, Remark};

/// Statuses from which a campaign is closed.
const FROM: &[CouponStatus] = &[CouponStatus::Open, CouponStatus::Closed];
/// Statuses from which a campaign is closed that was read as SUSPECT; without it, a suspicion raised meanwhile is kept.
const FROM_SUSPECT: &[CouponStatus] = &[CouponStatus::Suspect, CouponStatus::Closed];

impl Campaigns {
    /// Closes the gate. A SUSPECT campaign accepts nothing anyway: its gate stays SUSPECT, and a rebuild does not open it.
    pub async fn close(&self, code: &CouponCode) -> Result<Changed, CampaignError> {
        let coupon = self.find_unarchived(code).await?;
        match coupon.status {
            CouponStatus::Draft => return Err(CampaignError::NeverOpened(code.clone())),
            CouponStatus::Opening => return Err(CampaignError::Opening(code.clone())),
            CouponStatus::Open | CouponStatus::Closed | CouponStatus::Suspect => {}
        }
        // PostgreSQL alone may have been SUSPECT until now, and the gate has to stay so after the row is CLOSED.
        let is_suspect = coupon.status == CouponStatus::Suspect;
        let from = if is_suspect { FROM_SUSPECT } else { FROM };
        let shut = async |epoch| {
            if is_suspect { self.stock.suspect(code, epoch).await } else { self.stock.close(code, epoch).await }
        };
        let mut remarks = Vec::new();
        let mut gate = shut(coupon.epoch).await?;
        if let GateOutcome::OtherEpoch(epoch) = gate {
            // Closing is right whatever epoch is there; only opening must know which one it is.
            remarks.push(Remark::OtherEpoch { redis: epoch, postgresql: coupon.epoch });
            gate = shut(epoch).await?;
        }
        match gate {
            GateOutcome::Done => {}
            GateOutcome::Missing => remarks.push(Remark::NoData(code.clone())),
            GateOutcome::Suspect => remarks.push(Remark::SuspectInRedis(code.clone())),
            GateOutcome::OtherEpoch(_) => return Err(CampaignError::Changed(code.clone())),
        }
        let coupon = self.set_status(&coupon, from, CouponStatus::Closed).await?;
        // Once more: somebody who was opening it may have come between the gate and the row.
        self.stock.close(code, coupon.epoch).await?;
        if is_suspect {
            remarks.push(Remark::OpensOnlyAfterRebuild(code.clone()));
        }
        Ok(Changed { coupon, remarks })
    }
}
