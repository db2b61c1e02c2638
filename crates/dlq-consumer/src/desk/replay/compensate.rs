//! Compensating held letters by hand: where writing them is hopeless, or nobody wants it any more.

use coupon_core::{
    event::{CouponIssued, VERSION},
    repo::{
        dead_letters::LetterStatus,
        filter::Filter,
        give_ups::{GivenUp, Remedy},
    },
};

use crate::desk::{Desk, DeskError};

/// Letters read at a time.
const PAGE: i64 = 200;

/// What became of the letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compensated {
    /// Decided COMPENSATED by this call.
    pub compensated: u64,
    /// Decided before, one way or the other; the letter was moved on.
    pub decided_before: u64,
    /// Left as they are: their coupon is unknown, or their event cannot be read.
    pub left: u64,
}

impl Desk {
    /// Compensates the HELD letters of a filter, each in a transaction of its own with its audit. May be repeated: what
    /// is decided is not HELD any more.
    pub async fn compensate(
        &self,
        filter: &Filter,
        reason: &str,
        told: &(dyn Fn(&Compensated) + Sync),
    ) -> Result<Compensated, DeskError> {
        let filter = filter.clone().of_letter_status(LetterStatus::Held);
        let (mut after, mut sum) = (0, Compensated::default());
        loop {
            let letters = self.database.undecided_letters(&filter, after, PAGE).await?;
            let Some(last) = letters.last() else { return Ok(sum) };
            after = last.id;
            for letter in letters {
                let Ok(event) = CouponIssued::decode(letter.letter.payload.as_deref(), VERSION) else {
                    sum.left += 1;
                    continue;
                };
                let failure = letter.failure.clone();
                let given_up =
                    self.compensate_letter(letter, &event, failure, Remedy::GiveBack, reason.to_owned()).await?;
                match given_up {
                    GivenUp::Compensated { .. } => sum.compensated += 1,
                    GivenUp::CompensatedBefore | GivenUp::Issued => sum.decided_before += 1,
                    GivenUp::Held | GivenUp::Parked => sum.left += 1,
                }
                told(&sum);
            }
        }
    }
}
