//! What a member is told whom no waiting room admits.

use coupon_core::ids::{CouponCode, MemberId};

use super::{
    Code, Problem,
    refusal::{RETRY_AFTER_OUTAGE, RETRY_AFTER_REPAIR},
};
use crate::{
    accept::NotHeld,
    admission::{Admission, NotAdmitted, NotLookedUp},
    standing::Standing,
};

/// Returns what a member who is not admitted holds already, or else why the member is not admitted.
pub(super) async fn held_or(
    admission: &Admission,
    code: &CouponCode,
    member: &MemberId,
    why: NotAdmitted,
) -> Result<Standing, Problem> {
    match admission.held(code, member).await {
        Ok(Some(standing)) => Ok(standing),
        Ok(None) => Err(why.into()),
        Err(NotLookedUp::Away(away)) => Err(away.into()),
        Err(NotLookedUp::Busy) => {
            let detail =
                "what members hold who are not admitted is looked up for too many others; asking again is safe";
            Err(Problem::new(Code::TooManyRequests, detail).after_about(RETRY_AFTER_OUTAGE))
        }
    }
}

impl From<NotAdmitted> for Problem {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::Missing => {
                let detail = "the campaign requires a token of its waiting room, in the header Coupon-Admission";
                Self::new(Code::AdmissionRequired, detail)
            }
            NotAdmitted::Expired => Self::new(Code::AdmissionExpired, "the token of the waiting room has expired"),
            NotAdmitted::Invalid(wrong) => Self::new(Code::AdmissionInvalid, format!("Coupon-Admission: {wrong}")),
            NotAdmitted::NoKey => {
                let detail = "the campaign requires admission, and this server knows no key of its waiting room";
                Self::new(Code::GateClosed, detail).after_about(RETRY_AFTER_REPAIR)
            }
            NotAdmitted::DatabaseAway => NotHeld::DatabaseAway.into(),
        }
    }
}
