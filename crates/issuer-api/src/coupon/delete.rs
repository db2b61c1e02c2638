//! `coupon delete`: for a code that was mistyped.

use coupon_core::{ids::CouponCode, repo::coupons::CouponStatus};

use super::{CommandError, Desk, say};

impl Desk {
    /// Deletes a campaign that was never opened; nobody can hold anything of it.
    pub(super) async fn delete(&self, code: &CouponCode) -> Result<(), CommandError> {
        if self.database.coupons().delete_draft(code.clone(), self.actor()).await? {
            say(format_args!("{code} is deleted"));
            return Ok(());
        }
        let status = self.coupon(code).await?.status;
        Err(CommandError::NotDeleted { code: code.clone(), is_draft: status == CouponStatus::Draft })
    }
}
