//! Closing a campaign: the gate first, because that is what stops members; then the row.

use coupon_core::{ids::CouponCode, repo::coupons::CouponStatus, stock::GateOutcome};

use super::{CampaignError, Campaigns, Changed, Remark};

/// Where a campaign can be closed from.
const FROM: &[CouponStatus] = &[CouponStatus::Open, CouponStatus::Closed];
/// And one that was seen to be SUSPECT: a suspicion that is raised meanwhile is not overwritten.
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
        // The suspicion may be PostgreSQL's alone until now, and must outlive the row's word.
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
        let changed =
            self.database.coupons().set_status(code.clone(), coupon.epoch, from, CouponStatus::Closed, self.actor());
        let coupon = changed.await?.ok_or_else(|| CampaignError::Changed(code.clone()))?;
        // Once more: somebody who was opening it may have come between the gate and the row.
        self.stock.close(code, coupon.epoch).await?;
        if is_suspect {
            remarks.push(Remark::OpensOnlyAfterRebuild(code.clone()));
        }
        Ok(Changed { coupon, remarks })
    }
}
