//! `coupon set-window`: absolute times under a version, so that a late or repeated call never undoes a newer one.

use coupon_core::{
    repo::coupons::{Coupon, CouponStatus, NewWindow, WindowRefusal, WindowSet},
    runtime::operator::Usage,
    stock::SetWindow,
};

use super::{CommandError, Desk, WindowArgs, say};

impl Desk {
    /// Changes the row first, then Redis; what Redis has no data of, the next filling takes over.
    pub(super) async fn set_window(&self, args: WindowArgs) -> anyhow::Result<Coupon> {
        let WindowArgs { code, opens_at, closes_at, no_closes_at, valid_days } = args;
        let new =
            NewWindow { opens_at, closes_at: if no_closes_at { Some(None) } else { closes_at.map(Some) }, valid_days };
        if new.opens_at.is_none() && new.closes_at.is_none() && new.valid_days.is_none() {
            let what = "say what is to change: --opens-at, --closes-at, --no-closes-at, --valid-days";
            return Err(Usage(what.to_owned()).into());
        }
        let set = self.database.set_window(code.clone(), new, self.actor()).await?;
        let coupon = match set.ok_or_else(|| CommandError::Unknown(code.clone()))? {
            WindowSet::Set(coupon) => coupon,
            WindowSet::Refused(why, wanted) => {
                return Err(match why {
                    WindowRefusal::Archived => CommandError::Archived(code),
                    WindowRefusal::Opening => CommandError::Filling(code),
                    WindowRefusal::Backwards => CommandError::Backwards(Box::new(wanted)),
                }
                .into());
            }
        };
        let closes_at = coupon.closes_at.map(|at| at.timestamp_millis());
        match self.stock.set_window(&code, coupon.opens_at.timestamp_millis(), closes_at, coupon.window_version).await?
        {
            SetWindow::Set => {}
            SetWindow::Newer => return Err(CommandError::WindowSuperseded(code).into()),
            SetWindow::Missing if coupon.status == CouponStatus::Draft => {}
            SetWindow::Missing => say(format_args!(
                "note: Redis has no data of {code}, and takes the window over with `dlq-consumer rebuild {code} --by NAME`"
            )),
        }
        say(format_args!("the window of {code} is set"));
        Ok(coupon)
    }
}
