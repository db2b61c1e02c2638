//! `coupon create`.

use coupon_core::{
    repo::coupons::{Coupon, NewCoupon},
    runtime::SettingsError,
};

use super::{CommandError, CreateArgs, Desk, say};

impl Desk {
    /// Creates a DRAFT. A code that is taken is left as it is; with `if_absent` that is right if it says the same.
    pub(super) async fn create(&self, args: CreateArgs) -> anyhow::Result<Coupon> {
        let actor = self.actor();
        let opens_at = args.opens_at.unwrap_or(actor.now);
        if let Some(closes_at) = args.closes_at.filter(|closes_at| *closes_at <= opens_at) {
            let allowed = format!("later than --opens-at, which is {}", opens_at.to_rfc3339());
            return Err(SettingsError::invalid("--closes-at", closes_at.to_rfc3339(), allowed).into());
        }
        let is_asked_for = |found: &Coupon| {
            found.total_quantity == args.total
                && found.valid_days == args.valid_days
                && found.closes_at == args.closes_at
                && args.opens_at.is_none_or(|opens_at| opens_at == found.opens_at)
        };
        let new = NewCoupon {
            coupon_code: args.code.clone(),
            total_quantity: args.total,
            opens_at,
            closes_at: args.closes_at,
            valid_days: args.valid_days,
        };
        if !self.database.coupons().create(new, actor).await? {
            let found = self.coupon(&args.code).await?;
            if args.if_absent && is_asked_for(&found) {
                say(format_args!("{} is there already", args.code));
                return Ok(found);
            }
            return Err(CommandError::Taken(args.code).into());
        }
        say(format_args!("{0} is created; `coupon open {0} --by NAME` lets members ask", args.code));
        Ok(self.coupon(&args.code).await?)
    }
}
