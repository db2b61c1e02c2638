//! The gate of a rebuild: shut at its beginning, open again at its end, or as it was found when the rebuild cannot go on.

use coupon_core::{
    filling::{self, FillError},
    repo::{
        coupons::{Coupon, CouponStatus},
        rebuilds::Rebuild,
    },
    stock::{GateOutcome, View},
};

use super::{RebuildProgress, Rebuilding};
use crate::{OperationsError, operations::is_ahead};

impl Rebuilding<'_> {
    /// Closes the gate, whatever epoch Redis's data is of, and returns that epoch; 0 when Redis has no data. A gate whose
    /// data nobody suspects is shut so that it can be opened again if the rebuild cannot go on; a rebuild that `is_resumed`
    /// has noted that before. Data that `is_adopted` was broken or of an older epoch, whatever it says now.
    pub(super) async fn shut(
        &self,
        coupon: &Coupon,
        view: Option<&View>,
        is_adopted: bool,
        is_resumed: bool,
    ) -> Result<i64, OperationsError> {
        // Without this no relay would empty what is left of the outbox.
        self.stock.register(self.code).await?;
        let Some(view) = view else { return Ok(0) };
        let outcome = if view.is_filling() {
            // Accepts nothing, and is what a rebuild goes on with.
            GateOutcome::Done
        } else if is_resumed {
            self.stock.suspect(self.code, view.epoch).await?
        } else {
            let is_sound = !is_adopted
                && coupon.status.as_str() == view.gate()
                && coupon.epoch == view.epoch
                && [CouponStatus::Open, CouponStatus::Closed].contains(&coupon.status)
                && is_ahead(self.database, coupon, view).await?;
            self.stock.shut(self.code, view.epoch, is_sound).await?
        };
        match outcome {
            GateOutcome::OtherEpoch(_) => Err(self.changed()),
            GateOutcome::Done | GateOutcome::Missing | GateOutcome::Suspect => Ok(view.epoch),
        }
    }

    /// Ends a rebuild that cannot go on, the row first as always, and opens the gate again where nobody suspects the
    /// data. Returns the status the campaign has then.
    pub(super) async fn leave_as_found(&self, rebuild: &Rebuild) -> Result<Option<CouponStatus>, OperationsError> {
        let (code, me) = (self.code, self.operations.me());
        let is_sound = self.stock.view(code).await?.is_some_and(|view| view.shut_from.is_some());
        let left = self.database.rebuilds().abandon(code.clone(), rebuild.id, is_sound, me).await?;
        let Some(coupon) = left else { return Ok(None) };
        if is_sound && [CouponStatus::Open, CouponStatus::Closed].contains(&coupon.status) {
            self.stock.resume(code, coupon.epoch, coupon.status.as_str()).await?;
        }
        Ok(Some(coupon.status))
    }

    /// Copies the holder entries of every ISSUED row into the new data, while the row says OPENING: once the gate was open
    /// under this epoch, members have reserved in it.
    pub(super) async fn fill(&self, coupon: &Coupon) -> Result<(), OperationsError> {
        if coupon.status != CouponStatus::Opening {
            return Ok(());
        }
        let all = u64::try_from(coupon.issued_quantity).unwrap_or(0);
        let on_page = |copied| (self.progress)(RebuildProgress::Copied(copied, all));
        let filled =
            filling::fill(self.database, self.stock, coupon, true, on_page).await.map_err(|error| match error {
                FillError::Repo(error) => error.into(),
                FillError::Stock(error) => error.into(),
                refused => OperationsError::Fill(refused),
            })?;
        let Some(copied) = filled else { return Ok(()) };
        let copied = i64::try_from(copied).unwrap_or(i64::MAX);
        if copied != coupon.issued_quantity {
            self.count_rows().await?;
        }
        // Nobody else may have written to the new data.
        match self.stock.view(self.code).await? {
            Some(view) if view.epoch == coupon.epoch && view.is_filling() && view.issued != copied => {
                Err(OperationsError::HolderEntries { code: self.code.clone(), copied, found: view.issued })
            }
            Some(_) => Ok(()),
            None => Err(self.changed()),
        }
    }

    /// Sets the row's status, opens the gate unless the campaign stays CLOSED, and finishes the rebuild.
    pub(super) async fn open(&self, rebuild: &Rebuild, coupon: &Coupon) -> Result<Coupon, OperationsError> {
        let (code, to) = (self.code, rebuild.reopen_as);
        let from: &'static [CouponStatus] = match to {
            CouponStatus::Closed => &[CouponStatus::Opening, CouponStatus::Closed],
            _ => &[CouponStatus::Opening, CouponStatus::Open],
        };
        let me = self.operations.me();
        let opened = self.database.coupons().set_status(code.clone(), coupon.epoch, from, to, me).await?;
        let coupon = opened.ok_or_else(|| self.changed())?;
        let gate = match to {
            CouponStatus::Closed => self.stock.close(code, coupon.epoch).await?,
            _ => self.stock.open(code, coupon.epoch, coupon.total_quantity, coupon.total_version).await?,
        };
        if gate != GateOutcome::Done {
            return Err(self.changed());
        }
        self.database.rebuilds().finish(rebuild.id, self.operations.clock.now()).await?;
        Ok(coupon)
    }
}
