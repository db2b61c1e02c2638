//! `coupon close`: the gate first, because that is what stops members; then the row.

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus},
    stock::GateOutcome,
};

use super::{CommandError, Desk, say};

/// Where a campaign can be closed from.
const FROM: &[CouponStatus] = &[CouponStatus::Open, CouponStatus::Closed];
/// And one that was seen to be SUSPECT: a suspicion that is raised meanwhile is not overwritten.
const FROM_SUSPECT: &[CouponStatus] = &[CouponStatus::Suspect, CouponStatus::Closed];

impl Desk {
    /// Closes the gate. A SUSPECT campaign accepts nothing anyway: its gate stays SUSPECT, and a rebuild does not open it.
    pub(super) async fn close(&self, code: &CouponCode) -> Result<Coupon, CommandError> {
        let coupon = self.living(code).await?;
        match coupon.status {
            CouponStatus::Draft => return Err(CommandError::NeverOpened(code.clone())),
            CouponStatus::Opening => return Err(CommandError::Opening(code.clone())),
            CouponStatus::Open | CouponStatus::Closed | CouponStatus::Suspect => {}
        }
        // The suspicion may be PostgreSQL's alone until now, and must outlive the row's word.
        let is_suspect = coupon.status == CouponStatus::Suspect;
        let from = if is_suspect { FROM_SUSPECT } else { FROM };
        let shut = async |epoch| {
            if is_suspect { self.stock.suspect(code, epoch).await } else { self.stock.close(code, epoch).await }
        };
        let mut gate = shut(coupon.epoch).await?;
        if let GateOutcome::OtherEpoch(epoch) = gate {
            // Closing is right whatever epoch is there; only opening must know which one it is.
            say(format_args!("note: Redis holds data of epoch {epoch}, PostgreSQL is at epoch {}", coupon.epoch));
            gate = shut(epoch).await?;
        }
        match gate {
            GateOutcome::Done => {}
            GateOutcome::Missing => say(format_args!("note: Redis has no data of {code}")),
            GateOutcome::Suspect => {
                say(format_args!("note: {code} is SUSPECT in Redis and accepts nothing until it is rebuilt"));
            }
            GateOutcome::OtherEpoch(_) => return Err(CommandError::Changed(code.clone())),
        }
        let changed =
            self.database.coupons().set_status(code.clone(), coupon.epoch, from, CouponStatus::Closed, self.actor());
        let coupon = changed.await?.ok_or_else(|| CommandError::Changed(code.clone()))?;
        // Once more: somebody who was opening it may have come between the gate and the row.
        self.stock.close(code, coupon.epoch).await?;
        say(format_args!("{code} is closed"));
        if is_suspect {
            say(format_args!(
                "note: it cannot be opened before `dlq-consumer rebuild {code} --by NAME`, which leaves it closed"
            ));
        }
        Ok(coupon)
    }
}
