//! Compensating undecided letters by hand: where writing them is hopeless, or nobody wants it any more.

use coupon_core::{
    event::{CouponIssued, VERSION},
    repo::{
        coupon_issues::{CompensationOutcome, Operator, Remedy},
        replays::Plan,
        work_list::Filter,
    },
    writing::codes,
};

use crate::{Operations, OperationsError};

/// Letters read at a time.
const PAGE: i64 = 200;

/// What became of the letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compensated {
    /// Decided COMPENSATED by this call.
    pub compensated: u64,
    /// Decided before, one way or the other; the letter was moved on.
    pub decided_before: u64,
    /// Left as they are: their coupon is unknown, their event cannot be read, or claims the request of another member.
    pub left: u64,
}

impl Operations {
    /// How many letters of a filter can be compensated, and why others cannot. Changes nothing.
    pub async fn plan_compensation(&self, filter: &Filter) -> Result<Plan, OperationsError> {
        let mut plan = self.database.dlq_events().plan_replay(filter, VERSION).await?;
        // An ended campaign issues no more, but what is undecided in it can still be decided against.
        plan.eligible += plan.refused.remove("ARCHIVED").unwrap_or(0);
        Ok(plan)
    }

    /// Compensates the letters of a filter that are HELD, or PARKED and readable, each in a transaction of its own with
    /// its audit. May be repeated: what is decided is neither any more.
    pub async fn compensate(
        &self,
        filter: &Filter,
        reason: &str,
        told: &(dyn Fn(&Compensated) + Sync),
    ) -> Result<Compensated, OperationsError> {
        let (mut after, mut sum) = (0, Compensated::default());
        loop {
            let letters = self.database.dlq_events().undecided(filter, after, PAGE).await?;
            let Some(last) = letters.last() else { return Ok(sum) };
            after = last.id;
            for letter in letters {
                let event = CouponIssued::decode(letter.record.payload.as_deref(), VERSION).ok();
                let Some(event) = event.filter(|_| letter.failure.code != codes::OTHER_MEMBER) else {
                    sum.left += 1;
                    continue;
                };
                let by = Operator { name: self.by.clone(), reason: reason.to_owned(), is_by_hand: true };
                let failure = letter.failure.clone();
                let given_up = self.compensate_letter(letter, &event, failure, Remedy::GiveBack, by).await?;
                match given_up {
                    CompensationOutcome::Compensated { .. } => sum.compensated += 1,
                    CompensationOutcome::CompensatedBefore | CompensationOutcome::Issued => sum.decided_before += 1,
                    CompensationOutcome::Held | CompensationOutcome::Parked => sum.left += 1,
                }
                told(&sum);
            }
        }
    }
}
