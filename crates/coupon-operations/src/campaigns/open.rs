//! Opening a campaign: PostgreSQL is read first and written first, so that Redis is never ahead of it.

use coupon_core::{
    filling::{self, FillError},
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus},
    stock::GateOutcome,
};

use super::{CampaignError, Campaigns, Changed};
use crate::operations::is_ahead;

/// Statuses from which a filled campaign is opened.
const FROM: &[CouponStatus] = &[CouponStatus::Opening, CouponStatus::Open, CouponStatus::Closed];

impl Campaigns {
    /// Fills Redis if that was never finished, and opens the gate. A call after a crash goes on where the earlier one broke
    /// off; data that Redis has lost is never replaced by an empty beginning.
    pub async fn open(&self, code: &CouponCode) -> Result<Changed, CampaignError> {
        let mut coupon = self.find_unarchived(code).await?;
        // An opening that broke off is finished all the same: nothing else leads out of it.
        if let Some(closes_at) = coupon.closes_at.filter(|closes_at| *closes_at <= self.clock.now())
            && coupon.status != CouponStatus::Opening
        {
            return Err(CampaignError::Over { code: code.clone(), closes_at });
        }
        if coupon.members_erased_at.is_some() {
            return Err(CampaignError::MembersErased(code.clone()));
        }
        if coupon.status == CouponStatus::Draft {
            // Never opened, so this can only be of a campaign that PostgreSQL has forgotten. Data of the
            // row's epoch that is found later is our own.
            if self.stock.has_data(code).await? {
                return Err(needs_rebuild(code, "Redis holds data of an earlier campaign of this name"));
            }
            // Under the row's lock: of two commands one raises the epoch, the other finds it OPENING.
            coupon = match self.database.coupons().begin_opening(code.clone(), self.me()).await? {
                Some(coupon) => coupon,
                None => self.find(code).await?,
            };
        }
        let coupon = match coupon.status {
            CouponStatus::Opening => {
                self.fill(&coupon).await?;
                self.set_status(&coupon, FROM, CouponStatus::Open).await?
            }
            CouponStatus::Open | CouponStatus::Closed => {
                self.must_have_data(&coupon).await?;
                self.set_status(&coupon, FROM, CouponStatus::Open).await?
            }
            CouponStatus::Suspect => return Err(CampaignError::Suspect(code.clone())),
            CouponStatus::Draft => return Err(CampaignError::Changed(code.clone())),
        };
        match self.stock.open(code, coupon.epoch, coupon.total_quantity, coupon.total_version).await? {
            GateOutcome::Done => {
                self.stays_open(&coupon).await?;
                Ok(Changed { coupon, remarks: Vec::new() })
            }
            GateOutcome::Suspect => Err(CampaignError::Suspect(code.clone())),
            GateOutcome::Missing => Err(needs_rebuild(code, MISSING)),
            GateOutcome::OtherEpoch(epoch) => Err(other_epoch(&coupon, epoch)),
        }
    }

    /// Somebody may have closed the campaign between its row and its gate; the row has the last word.
    async fn stays_open(&self, coupon: &Coupon) -> Result<(), CampaignError> {
        let code = &coupon.coupon_code;
        let now = self.find(code).await?;
        if now.status == CouponStatus::Open && now.epoch == coupon.epoch {
            return Ok(());
        }
        self.stock.close(code, coupon.epoch).await?;
        Err(CampaignError::Changed(code.clone()))
    }

    /// Fills Redis with the row's epoch and the holder entries.
    async fn fill(&self, coupon: &Coupon) -> Result<(), CampaignError> {
        let code = &coupon.coupon_code;
        let filled = filling::fill(&self.database, &self.stock, coupon, false, |_| {}).await;
        filled.map(drop).map_err(|error| match error {
            FillError::Repo(error) => error.into(),
            FillError::Stock(error) => error.into(),
            refused => needs_rebuild(code, refused.to_string()),
        })
    }

    /// Refuses a campaign that was opened before and whose data Redis has lost.
    async fn must_have_data(&self, coupon: &Coupon) -> Result<(), CampaignError> {
        let code = &coupon.coupon_code;
        match self.stock.view(code).await? {
            None => Err(needs_rebuild(code, MISSING)),
            Some(view) if view.epoch != coupon.epoch => Err(other_epoch(coupon, view.epoch)),
            Some(view) if view.status == CouponStatus::Suspect.as_str() => Err(CampaignError::Suspect(code.clone())),
            Some(view) if !is_ahead(&self.database, coupon, &view).await? => {
                let (redis, seen) = (view.seq, coupon.high_seq);
                let what = format!("Redis went back in time: it is at {redis}, and {seen} was seen in an event");
                Err(needs_rebuild(code, what))
            }
            // An opening broke off between the row and the gate. The filling is repeated, however far it had got.
            Some(view) if view.is_filling() => self.fill(coupon).await,
            Some(_) => Ok(()),
        }
    }
}

const MISSING: &str = "Redis has no data of it any more";

fn needs_rebuild(code: &CouponCode, what: impl Into<String>) -> CampaignError {
    CampaignError::NeedsRebuild { code: code.clone(), what: what.into() }
}

fn other_epoch(coupon: &Coupon, found: i64) -> CampaignError {
    needs_rebuild(
        &coupon.coupon_code,
        format!("Redis holds data of epoch {found}, PostgreSQL is at epoch {}", coupon.epoch),
    )
}
