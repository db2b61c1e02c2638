//! The compensation of undecided dead letters by hand: their events cannot be written, or nobody wants the coupon any more.

use coupon_core::{
    event::VERSION,
    repo::{
        coupon_issues::{CompensationOutcome, Operator, Remedy},
        replays::Plan,
        work_list::Filter,
    },
    writing::codes,
};

use crate::{Operations, OperationsError};

/// Dead letters read by one query.
const COMPENSATE_PAGE_ROWS: i64 = 200;

/// Dead letters by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Compensated {
    /// Decided COMPENSATED by this call.
    pub compensated: u64,
    /// Decided before, one way or the other; the dead letter has the status of that decision.
    pub decided_before: u64,
    /// Unchanged: the coupon is unknown, the event cannot be read, is not signed by us or claims the request of another member.
    pub left: u64,
}

impl Operations {
    /// Returns how many dead letters of a filter can be compensated, and why others are refused. Changes nothing.
    pub async fn plan_compensation(&self, filter: &Filter) -> Result<Plan, OperationsError> {
        let mut plan = self.database.dlq_events().plan_replay(filter, VERSION, self.events.refused_codes()).await?;
        // An archived campaign issues no more, but its undecided requests can still be compensated.
        plan.eligible += plan.refused.remove("ARCHIVED").unwrap_or(0);
        Ok(plan)
    }

    /// Compensates the dead letters of a filter that are HELD, or PARKED and readable, each in a transaction of its own with
    /// its audit. `progress` gets the sums so far. May be repeated: a decided request is not decided again.
    pub async fn compensate(
        &self,
        filter: &Filter,
        reason: &str,
        progress: &(dyn Fn(&Compensated) + Sync),
    ) -> Result<Compensated, OperationsError> {
        let (mut after, mut sum) = (0, Compensated::default());
        while let Some(last) =
            self.compensate_page(filter, (after, COMPENSATE_PAGE_ROWS), reason, &mut sum, progress).await?
        {
            after = last;
        }
        Ok(sum)
    }

    /// Compensates up to `limit` dead letters after the number `after`, and adds them to the sums. Returns the number of the
    /// last one; `None`: none is left.
    pub(crate) async fn compensate_page(
        &self,
        filter: &Filter,
        (after, limit): (i64, i64),
        reason: &str,
        sum: &mut Compensated,
        progress: &(dyn Fn(&Compensated) + Sync),
    ) -> Result<Option<i64>, OperationsError> {
        let dead_letters = self.database.dlq_events().undecided(filter, after, limit).await?;
        let last = dead_letters.last().map(|last| last.id);
        for dead_letter in dead_letters {
            let event = self.event_of(&dead_letter).ok();
            let Some(event) = event.filter(|_| dead_letter.failure.code != codes::OTHER_MEMBER) else {
                sum.left += 1;
                continue;
            };
            let by = Operator { identity: self.by.clone(), reason: reason.to_owned(), is_by_hand: true };
            let failure = dead_letter.failure.clone();
            match self.compensate_dead_letter(dead_letter, &event, failure, Remedy::GiveBack, by).await? {
                CompensationOutcome::Compensated { .. } => sum.compensated += 1,
                CompensationOutcome::CompensatedBefore | CompensationOutcome::Issued => sum.decided_before += 1,
                CompensationOutcome::Held | CompensationOutcome::Parked => sum.left += 1,
            }
            progress(sum);
        }
        Ok(last)
    }
}
