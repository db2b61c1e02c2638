//! Decisions as events: publishing those of a range of numbers again, for a consumer that has lost some, and going on after rows
//! were changed by hand.

use coupon_core::{decisions, ids::CouponCode, kafka::Publisher, repo::coupon_decision_batches::AcceptedNumbers};
use serde_json::json;

use crate::{Operations, OperationsError};

/// Most decisions that are published at once.
const PAGE: i64 = 2000;

impl Operations {
    /// Publishes the decisions with the numbers `from` to `to` of a campaign again, in their order, with the request ids that
    /// they had as event ids. `progress` gets the number up to which all are acknowledged. The mark of the relay stays where
    /// it is. Returns how many were published.
    ///
    /// The numbers have to be there: an error names the first one that was purged or not given yet, and nothing is published.
    pub async fn replay_decisions(
        &self,
        code: &CouponCode,
        (from, to): (i64, i64),
        publisher: &Publisher,
        progress: &(dyn Fn(i64) + Sync),
    ) -> Result<i64, OperationsError> {
        let batches = self.database.coupon_decision_batches();
        let numbers = batches.numbers(code).await?.ok_or_else(|| OperationsError::Unknown(code.clone()))?;
        if to > numbers.last {
            return Err(OperationsError::NotDecidedYet { code: code.clone(), last: numbers.last });
        }
        let first_kept = numbers.first_kept.unwrap_or(numbers.last + 1);
        if from < first_kept {
            return Err(OperationsError::NumbersPurged { code: code.clone(), number: from, first_kept });
        }
        let change = json!({ "asked": { "from": from, "to": to, "topic": publisher.topic() } });
        self.database
            .audit()
            .append(self.me(), "decisions.replay".to_owned(), format!("coupons/{code}"), change)
            .await?;
        let mut next = from;
        while next <= to {
            let page = batches.page(numbers.coupon_id, next, to.min(next + PAGE - 1)).await?;
            let records: Vec<_> =
                page.decisions.iter().map(|decision| decisions::event(publisher.topic(), code, decision)).collect();
            publisher.publish_decisions(&records).await?;
            next += i64::try_from(records.len()).unwrap_or(0);
            if let Some(number) = page.missing {
                return Err(OperationsError::NumbersPurged { code: code.clone(), number, first_kept: number + 1 });
            }
            progress(next - 1);
        }
        Ok(next - from)
    }

    /// Accepts the numbers of a campaign as they are, after somebody has changed rows by hand that cannot be put back. Decisions that
    /// have lost their number get another one; numbers that have lost their decision are passed over by the relay, and the
    /// difference of the two counts is none to `reconcile` any more. Refused while a decision may be among those numbers that
    /// exists and was told to nobody. May be repeated.
    pub async fn accept_missing_decisions(&self, code: &CouponCode) -> Result<AcceptedNumbers, OperationsError> {
        let accepted = self.with_data_lock(code, Box::pin(self.accept_missing_locked(code))).await?;
        accepted.unwrap_or_else(|| Err(OperationsError::Busy(code.clone())))
    }

    async fn accept_missing_locked(&self, code: &CouponCode) -> Result<AcceptedNumbers, OperationsError> {
        let batches = self.database.coupon_decision_batches();
        let coupon = self.database.coupons().find(code).await?;
        let coupon = coupon.ok_or_else(|| OperationsError::Unknown(code.clone()))?;
        if coupon.archived_at.is_some() {
            return Err(OperationsError::Archived(code.clone()));
        }
        while batches.number_lost(code).await? > 0 {}
        let gaps = batches.gaps(code).await?.ok_or_else(|| OperationsError::Archived(code.clone()))?;
        if gaps.lost > 0 {
            return Err(OperationsError::NumbersLost { code: code.clone(), decisions: gaps.lost });
        }
        let accepted = batches.accept(code.clone(), gaps, self.me()).await?;
        accepted.ok_or_else(|| OperationsError::Archived(code.clone()))
    }
}
