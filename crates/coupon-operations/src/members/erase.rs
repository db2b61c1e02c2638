//! The erasure of a member: the pseudonym in the place of the id, campaign by campaign and table by table.
//!
//! Each step may be killed and repeated: what has the pseudonym is not found again. The id itself is kept nowhere, so an erasure
//! that was cut off goes on when somebody erases the member again.

use std::{collections::BTreeMap, time::Duration};

use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::personal_data::{FoundRow, NewErasure, PLACES, Place, RewrittenRow},
    stock::RenameOutcome,
};
use serde::Serialize;

use super::{ErasurePlan, MemberError, scrub::Scrub};
use crate::{Operations, OperationsError, barrier::CatchUp};

/// The lock of erasures: one at a time, so that two keys never meet.
const LOCK: &str = "member erasure";

/// The outcome of [`Operations::erase_member`].
#[derive(Clone, Debug, Serialize)]
pub struct Erased {
    /// What stands in the place of the id.
    pub pseudonym: MemberId,
    /// Rows and holder entries that this call has changed, by table; those of Redis under `redis`.
    pub changed: BTreeMap<String, i64>,
}

impl Erased {
    /// Whether nothing had to be changed.
    pub fn is_nothing(&self) -> bool {
        self.changed.is_empty()
    }

    fn count(&mut self, table: &str, rows: i64) {
        if rows > 0 {
            *self.changed.entry(table.to_owned()).or_default() += rows;
        }
    }
}

impl Operations {
    /// Puts a pseudonym in the place of a member's id, wherever it is stored. Waits at most `wait` until the consumers have caught
    /// up with what is published, so that no record of the member comes later. May be repeated: a second call changes nothing.
    pub async fn erase_member(&self, member: &MemberId, reason: &str, wait: Duration) -> Result<Erased, MemberError> {
        let erased = self.with_lock(LOCK, Box::pin(self.erase_locked(member, reason, wait))).await?;
        erased.unwrap_or(Err(MemberError::Busy))
    }

    async fn erase_locked(&self, member: &MemberId, reason: &str, wait: Duration) -> Result<Erased, MemberError> {
        let key_id = self.erasure.key()?.id();
        let mut plan = self.plan_erasure(member).await?;
        let pseudonym = plan.pseudonym.clone();
        let scrub = Scrub::new(member, &pseudonym);
        if scrub.is_named_in(reason) {
            return Err(MemberError::Reason);
        }
        let unfinished = self.database.personal_data().unfinished_erasures().await?;
        if let Some(other) = unfinished.into_iter().find(|erasure| erasure.key_id != key_id) {
            return Err(MemberError::OtherKey { begun: other.key_id, here: key_id });
        }
        if plan.total() > 0 {
            // What is refused at once needs no waiting; and what comes while it waits is seen by the second plan.
            must_be_free(&plan)?;
            match self.wait_for_consumers(wait).await? {
                CatchUp::Done => {}
                lagging @ CatchUp::Lagging { .. } => return Err(MemberError::Lag(lagging.to_string())),
            }
            plan = self.plan_erasure(member).await?;
            must_be_free(&plan)?;
        }
        let mut erased = Erased { pseudonym: pseudonym.clone(), changed: BTreeMap::new() };
        if plan.total() > 0 {
            let new = NewErasure { pseudonym: pseudonym.clone(), key_id, reason: reason.to_owned() };
            self.database.personal_data().begin_erasure(new, self.me()).await?;
            for campaign in &plan.campaigns {
                self.erase_of_campaign(&campaign.coupon_code, member, &mut erased).await?;
            }
            for place in PLACES {
                self.erase_of_place(place, &scrub, &mut erased).await?;
            }
            let left = self.plan_erasure(member).await?.total();
            if left > 0 {
                return Err(MemberError::Again(left));
            }
        }
        self.database.personal_data().finish_erasure(&pseudonym, reason.to_owned(), self.me()).await?;
        Ok(erased)
    }

    /// Changes the decisions of a campaign, then its holder entry. In this order: from the first change on the campaign cannot be
    /// opened again, so that the member, whom Redis no longer knows after the second, gets no other coupon.
    async fn erase_of_campaign(
        &self,
        code: &CouponCode,
        member: &MemberId,
        erased: &mut Erased,
    ) -> Result<(), MemberError> {
        let renamed = self.with_data_lock(code, Box::pin(self.rename_in_campaign(code, member, erased))).await?;
        renamed.unwrap_or_else(|| Err(OperationsError::Busy(code.clone()).into()))
    }

    async fn rename_in_campaign(
        &self,
        code: &CouponCode,
        member: &MemberId,
        erased: &mut Erased,
    ) -> Result<(), MemberError> {
        let (data, pseudonym, now) = (self.database.personal_data(), erased.pseudonym.clone(), self.clock.now());
        let Some(decisions) = data.rename_decisions(code.clone(), member, &pseudonym, now).await? else {
            return Err(OperationsError::Changed(code.clone()).into());
        };
        erased.count("coupon_issues", decisions);
        match self.stock.rename_holder(code, member, &pseudonym).await? {
            RenameOutcome::Done => {
                data.count_renamed(&pseudonym, 1, now).await?;
                erased.count("redis", 1);
                Ok(())
            }
            RenameOutcome::NotHeld => Ok(()),
            RenameOutcome::Unpublished(waiting) => {
                let waiting = u64::try_from(waiting).unwrap_or(0);
                Err(OperationsError::UnderWay(waiting, "they wait in the outbox".to_owned()).into())
            }
            RenameOutcome::NotClosed(_) => Err(OperationsError::Changed(code.clone()).into()),
            RenameOutcome::Taken => Err(OperationsError::Drift(code.clone()).into()),
        }
    }

    async fn erase_of_place(
        &self,
        place: &'static Place,
        scrub: &Scrub,
        erased: &mut Erased,
    ) -> Result<(), MemberError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.database.personal_data().page(place, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let rewritten = |found: FoundRow| {
                let new = scrub.row(place, &found.row).filter(|_| !place.is_open(&found.row))?;
                Some(RewrittenRow { found, new })
            };
            let rows: Vec<RewrittenRow> = page.into_iter().filter_map(rewritten).collect();
            if !rows.is_empty() {
                let now = self.clock.now();
                let written = self.database.personal_data().rewrite(place, &erased.pseudonym, rows, now).await?;
                erased.count(place.table, written);
            }
        }
    }
}

fn must_be_free(plan: &ErasurePlan) -> Result<(), MemberError> {
    if plan.in_the_way.is_empty() { Ok(()) } else { Err(MemberError::InTheWay(plan.in_the_way.clone())) }
}
