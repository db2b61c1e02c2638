//! The rebuild of a campaign's data in Redis from PostgreSQL, with the gate closed.
//!
//! The order is what makes it safe: nothing new is reserved, what was reserved is published and then decided, held or
//! parked, then the epoch moves on so that no late event of the old data can be issued any more, and only then the holder
//! entries are copied. PostgreSQL has the step of the rebuild, so the same command goes on wherever an earlier one ended.

use std::time::Duration;

use coupon_core::{
    filling::beginning_of,
    ids::CouponCode,
    repo::{
        Database,
        coupons::{Coupon, CouponStatus},
        rebuilds::{RebuildStep, RedisGate},
    },
    stock::Stock,
};
use serde::{Deserialize, Serialize};

use crate::{Operations, OperationsError};

mod drain;
mod gate;

/// How to rebuild.
#[derive(Clone, Copy, Debug)]
pub struct RebuildOptions {
    /// Longest single wait: for the outbox to get empty, for the consumers to catch up.
    pub wait: Duration,
    /// Whether to go on although requests are held or parked: their units are sold again, and they can only be
    /// compensated.
    pub leave_undecided: bool,
}

/// A step of a rebuild that was reached, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildProgress {
    /// An earlier rebuild is continued from this step.
    Resumed(RebuildStep),
    /// The gate is closed; nothing is reserved any more.
    GateClosed,
    /// This many reservations wait in the outbox to be published.
    Outbox(i64),
    /// The consumers have to catch up.
    Consumers,
    /// This many requests that only Redis knew are requeued.
    Requeued(u64),
    /// The campaign's epoch is this one from now on.
    Epoch(i64),
    /// Holder entries copied, and all there are to copy.
    Copied(u64, u64),
    /// The rebuild cannot go on; it has changed nothing, and the campaign has this status.
    Left(CouponStatus),
}

/// Returns the end of a rebuild in a sentence.
pub fn rebuilt(coupon: &Coupon) -> String {
    let Coupon { coupon_code, status, epoch, issued_quantity, .. } = coupon;
    format!("{coupon_code} is rebuilt and {status}: epoch {epoch}, {issued_quantity} coupons issued")
}

/// A rebuild of one campaign, under the lock of its data.
struct Rebuilding<'a> {
    operations: &'a Operations,
    database: &'a Database,
    stock: &'a Stock,
    code: &'a CouponCode,
    options: RebuildOptions,
    progress: &'a (dyn Fn(RebuildProgress) + Sync),
}

impl Operations {
    /// Rebuilds a campaign, or continues the rebuild under way. Returns the campaign's row at the end.
    pub async fn rebuild(
        &self,
        code: &CouponCode,
        options: RebuildOptions,
        progress: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<Coupon, OperationsError> {
        let (database, stock) = (&self.database, &self.stock);
        let rebuilding = Rebuilding { operations: self, database, stock, code, options, progress };
        let rebuilt = self.with_data_lock(code, Box::pin(rebuilding.run())).await?;
        rebuilt.unwrap_or_else(|| Err(OperationsError::Busy(code.clone())))
    }
}

impl Operations {
    /// Ends a rebuild that was begun and is not to go on, as one that cannot: the gate is as it was before. Returns the status
    /// of the campaign; `None` when none is under way, or its epoch has begun, from where on it has to be finished.
    pub async fn leave_rebuild(&self, code: &CouponCode) -> Result<Option<CouponStatus>, OperationsError> {
        let left = self.with_data_lock(code, async {
            let under_way = self.database.rebuilds().find_under_way(code).await?;
            let Some(rebuild) = under_way.filter(|rebuild| rebuild.step == RebuildStep::Draining) else {
                return Ok(None);
            };
            let options = RebuildOptions { wait: Duration::ZERO, leave_undecided: false };
            let (database, stock) = (&self.database, &self.stock);
            let rebuilding = Rebuilding { operations: self, database, stock, code, options, progress: &|_| {} };
            rebuilding.leave_as_found(&rebuild).await
        });
        Box::pin(left).await?.unwrap_or_else(|| Err(OperationsError::Busy(code.clone())))
    }
}

impl Rebuilding<'_> {
    async fn run(&self) -> Result<Coupon, OperationsError> {
        let (operations, code) = (self.operations, self.code);
        let begun_at = operations.clock.now();
        let coupon = self.coupon().await?.ok_or_else(|| OperationsError::Unknown(code.clone()))?;
        let under_way = self.database.rebuilds().find_under_way(code).await?;
        let step = under_way.map(|rebuild| rebuild.step);
        let mut is_adopted = false;
        if step != Some(RebuildStep::Filling) {
            self.must_be_possible(&coupon).await?;
            if coupon.is_live() {
                is_adopted = self.stock.adopt(code, &beginning_of(&coupon, true)).await?;
            }
        }
        let view = self.stock.view(code).await?;
        let redis = view.as_ref().map_or_else(RedisGate::default, |view| RedisGate {
            epoch: view.epoch,
            is_closed: view.gate() == CouponStatus::Closed.as_str(),
            is_filling: view.is_filling(),
        });
        if coupon.archived_at.is_some() || coupon.epoch.max(redis.epoch) == 0 {
            return Err(OperationsError::Nothing(code.clone()));
        }
        if (1..redis.epoch).contains(&coupon.epoch) {
            // PostgreSQL was restored to before an earlier rebuild. What is left of the row's own epoch has to be issued
            // before the row moves on.
            (self.progress)(RebuildProgress::Consumers);
            self.wait_for_consumers().await?;
        }
        // The gate before the row: an API that hears SUSPECT and sees why does not raise an alarm about it.
        let is_resumed = step == Some(RebuildStep::Draining);
        let redis_epoch = self.shut(&coupon, view.as_ref(), is_adopted, is_resumed).await?;
        (self.progress)(RebuildProgress::GateClosed);
        let rebuild = self.database.rebuilds().begin(code.clone(), redis, operations.me()).await?;
        let mut rebuild = rebuild.ok_or_else(|| OperationsError::Nothing(code.clone()))?;
        if rebuild.started_at < begun_at {
            (self.progress)(RebuildProgress::Resumed(rebuild.step));
        }
        if rebuild.step == RebuildStep::Draining {
            if let Err(error) = self.settle_holder_entries().await {
                // If this fails too, the rebuild stays under way, the gate stays closed, and the next call goes on.
                if let Ok(Some(status)) = self.leave_as_found(&rebuild).await {
                    (self.progress)(RebuildProgress::Left(status));
                }
                return Err(error);
            }
            let rebuilds = self.database.rebuilds();
            let moved = rebuilds.begin_filling(code.clone(), rebuild.id, redis_epoch, operations.me()).await?;
            let coupon = moved.ok_or_else(|| self.changed())?;
            (self.progress)(RebuildProgress::Epoch(coupon.epoch));
            // Somebody may have closed the campaign while it was drained.
            rebuild = rebuilds.find_under_way(code).await?.ok_or_else(|| self.changed())?;
        }
        let coupon = self.coupon().await?.ok_or_else(|| self.changed())?;
        self.fill(&coupon).await?;
        self.open(&rebuild, &coupon).await
    }

    async fn coupon(&self) -> Result<Option<Coupon>, OperationsError> {
        Ok(self.database.coupons().find(self.code).await?)
    }

    fn changed(&self) -> OperationsError {
        OperationsError::Changed(self.code.clone())
    }

    /// Refuses before the gate is closed what can be known to fail: topics or groups cannot be read, there are more rows
    /// than coupons, requests are undecided.
    async fn must_be_possible(&self, coupon: &Coupon) -> Result<(), OperationsError> {
        self.operations.can_see_consumers().await?;
        let code = &coupon.coupon_code;
        if let Some(count) = self.database.reconciliations().count_rows(code).await?
            && count.rows > count.total
        {
            return Err(OperationsError::Oversold { code: code.clone(), rows: count.rows, total: count.total });
        }
        self.must_be_decided().await
    }

    async fn must_be_decided(&self) -> Result<(), OperationsError> {
        let unfinished = self.database.rebuilds().unfinished(self.code).await?;
        if !self.options.leave_undecided && unfinished.held + unfinished.parked > 0 {
            let (held, parked) = (unfinished.held, unfinished.parked);
            return Err(OperationsError::Undecided { code: self.code.clone(), held, parked });
        }
        Ok(())
    }
}
