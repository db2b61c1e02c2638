//! What a member is told who holds no coupon by a request.

use std::time::Duration;

use coupon_core::stock::Refused;

use super::{Code, Problem};
use crate::accept::NotHeld;

/// Least wait told where a gate may be open again soon, or a server be back.
pub(super) const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(1);
/// Least wait told where a person has to be alarmed, look, and run a command: data was lost, or a server has to be set.
pub(super) const RETRY_AFTER_REPAIR: Duration = Duration::from_secs(30);

impl From<NotHeld> for Problem {
    /// Every 503 leaves open, or denies, that the member holds one: asking again is safe.
    fn from(why: NotHeld) -> Self {
        let unavailable = |code, detail| Self::new(code, detail).after_about(RETRY_AFTER_OUTAGE);
        match why {
            NotHeld::Refused(Refused::SoldOut) => Self::sold_out(),
            NotHeld::Refused(Refused::NotOpen(wait)) => {
                Self::new(Code::NotOpen, "the campaign has not opened yet").after(wait)
            }
            NotHeld::Refused(Refused::Closed) => Self::new(Code::Closed, "the campaign is closed"),
            NotHeld::Refused(Refused::Missing) => Self::new(Code::CouponNotFound, "there is no such coupon"),
            NotHeld::Refused(Refused::Filling) => {
                unavailable(Code::GateClosed, "the campaign is being prepared; asking again is safe")
            }
            NotHeld::Refused(Refused::Suspect) => Self::new(
                Code::GateClosed,
                "the campaign is being repaired, which needs a person; the outcome is unknown or negative, asking again is \
                 safe",
            )
            .after_about(RETRY_AFTER_REPAIR),
            NotHeld::Refused(Refused::OutboxFull) => {
                unavailable(Code::OutboxFull, "too many reservations wait to be written; asking again is safe")
            }
            NotHeld::NoAnswer => {
                unavailable(Code::StockUnavailable, "the outcome is unknown or negative; asking again is safe")
            }
            NotHeld::DatabaseAway => unavailable(
                Code::DatabaseUnavailable,
                "what is known of the request or the campaign cannot be looked up now; asking again is safe",
            ),
        }
    }
}
