//! Rebuilding a campaign's data in Redis from PostgreSQL, with the gate closed.
//!
//! The order is what makes it safe: nothing new is reserved, what was reserved is published, written or decided, then the
//! epoch moves on so that no straggler of the old data can be issued any more, and only then the marks are copied. How far
//! it has come stands in PostgreSQL, so the same command goes on wherever an earlier one ended.

use std::time::Duration;

use coupon_core::{
    filling::{self, FillError, beginning_of},
    ids::CouponCode,
    repo::{
        coupons::{Coupon, CouponStatus},
        rebuilds::{Rebuild, RebuildStep, RedisGate},
    },
    stock::{GateOutcome, View},
};
use tokio::time::{Instant, sleep};

mod error;

pub use error::RebuildError;

use crate::{
    Operations, OperationsError,
    barrier::Passed,
    reconcile::{Drift, ReconcileOptions, Report},
};

/// Between two looks at the outbox.
const LOOK: Duration = Duration::from_millis(200);
/// How often what nobody has decided is published again before an operator has to look.
const ROUNDS: u32 = 3;

/// How to rebuild.
#[derive(Clone, Copy, Debug)]
pub struct RebuildOptions {
    /// How long each single wait may take: for the outbox, for the consumers.
    pub wait: Duration,
    /// Go on although requests wait undecided: their units are sold again, and they can only be compensated.
    pub leave_undecided: bool,
}

/// Where a rebuild is, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebuildProgress {
    /// An earlier rebuild is gone on with.
    Resumed(RebuildStep),
    /// Nothing is reserved any more.
    GateClosed,
    /// So many reservations wait to be published.
    Outbox(i64),
    /// The consumers are waited for.
    Consumers,
    /// So many requests that only Redis knew are published again.
    Promised(u64),
    /// The epoch has moved on to this one.
    Epoch(i64),
    /// So many marks of so many are copied.
    Copied(u64, u64),
    /// Nothing was rebuilt, and the campaign is left with this status.
    Left(CouponStatus),
}

impl Operations {
    /// Rebuilds a campaign, or goes on with the rebuild that was begun. Gives the row as it is at the end.
    pub async fn rebuild(
        &self,
        code: &CouponCode,
        options: RebuildOptions,
        told: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<Coupon, RebuildError> {
        let Some(lock) = self.database.try_lock(&Self::data_lock(code)).await? else {
            return Err(RebuildError::Busy(code.clone()));
        };
        let rebuilt = self.rebuild_locked(code, options, told).await;
        lock.release().await;
        rebuilt
    }

    async fn rebuild_locked(
        &self,
        code: &CouponCode,
        options: RebuildOptions,
        told: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<Coupon, RebuildError> {
        let begun_at = self.clock.now();
        let coupon = self.database.coupons().find(code).await?.ok_or_else(|| RebuildError::Unknown(code.clone()))?;
        let under_way = self.database.rebuilds().find_under_way(code).await?;
        let step = under_way.map(|rebuild| rebuild.step);
        let mut is_adopted = false;
        if step != Some(RebuildStep::Filling) {
            self.must_be_possible(&coupon, options).await?;
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
            return Err(RebuildError::Nothing(code.clone()));
        }
        if (1..redis.epoch).contains(&coupon.epoch) {
            // PostgreSQL was restored to before an earlier rebuild. What is left of the row's own epoch has to be issued
            // before the row moves on.
            told(RebuildProgress::Consumers);
            self.passed(options).await?;
        }
        // The gate before the row: an API that hears SUSPECT and sees why does not raise an alarm about it.
        let is_resumed = step == Some(RebuildStep::Draining);
        let redis_epoch = self.shut(&coupon, view.as_ref(), is_adopted, is_resumed).await?;
        told(RebuildProgress::GateClosed);
        let rebuild = self.database.rebuilds().begin(code.clone(), redis, self.me()).await?;
        let mut rebuild = rebuild.ok_or_else(|| RebuildError::Nothing(code.clone()))?;
        if rebuild.started_at < begun_at {
            told(RebuildProgress::Resumed(rebuild.step));
        }
        if rebuild.step == RebuildStep::Draining {
            if let Err(error) = self.settle_marks(code, options, told).await {
                // If this fails too, the rebuild stays under way, the gate stays closed, and the next call goes on.
                if let Ok(Some(status)) = self.leave_as_found(code, &rebuild).await {
                    told(RebuildProgress::Left(status));
                }
                return Err(error);
            }
            let moved =
                self.database.rebuilds().begin_filling(code.clone(), rebuild.id, redis_epoch, self.me()).await?;
            let coupon = moved.ok_or_else(|| RebuildError::Changed(code.clone()))?;
            told(RebuildProgress::Epoch(coupon.epoch));
            // Somebody may have closed the campaign while it was drained.
            let now = self.database.rebuilds().find_under_way(code).await?;
            rebuild = now.ok_or_else(|| RebuildError::Changed(code.clone()))?;
        }
        self.fill_and_open(code, &rebuild, told).await
    }

    /// Everything that can be known before the gate is closed: topics and groups can be read, no more rows than coupons,
    /// nothing held.
    async fn must_be_possible(&self, coupon: &Coupon, options: RebuildOptions) -> Result<(), RebuildError> {
        self.can_see_consumers().await?;
        let code = &coupon.coupon_code;
        if let Some(count) = self.database.reconciliations().count_rows(code).await?
            && count.rows > count.total
        {
            return Err(RebuildError::Oversold { code: code.clone(), rows: count.rows, total: count.total });
        }
        self.must_be_decided(code, options).await
    }

    async fn must_be_decided(&self, code: &CouponCode, options: RebuildOptions) -> Result<(), RebuildError> {
        let unfinished = self.database.rebuilds().unfinished(code).await?;
        if !options.leave_undecided && unfinished.held + unfinished.parked > 0 {
            let (held, parked) = (unfinished.held, unfinished.parked);
            return Err(RebuildError::Undecided { code: code.clone(), held, parked });
        }
        Ok(())
    }

    /// Closes the gate, whatever epoch Redis's data is of, and returns that epoch; 0 when there is none. What nobody
    /// suspects can be opened again if the rebuild cannot go on; one that `is_resumed` knows that from before. What
    /// `is_adopted` was broken, or of an older epoch, whatever it says now.
    async fn shut(
        &self,
        coupon: &Coupon,
        view: Option<&View>,
        is_adopted: bool,
        is_resumed: bool,
    ) -> Result<i64, RebuildError> {
        let code = &coupon.coupon_code;
        // Without this no relay would empty what is left of the outbox.
        self.stock.register(code).await?;
        let Some(view) = view else { return Ok(0) };
        let outcome = if view.is_filling() {
            // Accepts nothing, and is what a rebuild goes on with.
            GateOutcome::Done
        } else if is_resumed {
            self.stock.suspect(code, view.epoch).await?
        } else {
            let is_sound = !is_adopted
                && coupon.status.as_str() == view.gate()
                && coupon.epoch == view.epoch
                && [CouponStatus::Open, CouponStatus::Closed].contains(&coupon.status)
                && self.is_ahead(coupon, view).await?;
            self.stock.shut(code, view.epoch, is_sound).await?
        };
        match outcome {
            GateOutcome::OtherEpoch(_) => Err(RebuildError::Changed(code.clone())),
            GateOutcome::Done | GateOutcome::Missing | GateOutcome::Suspect => Ok(view.epoch),
        }
    }

    /// Ends a rebuild that cannot go on, the row first as always, and opens the gate again where nobody suspects the
    /// data. Returns the status the campaign has then.
    async fn leave_as_found(
        &self,
        code: &CouponCode,
        rebuild: &Rebuild,
    ) -> Result<Option<CouponStatus>, OperationsError> {
        let is_sound = self.stock.view(code).await?.is_some_and(|view| view.shut_from.is_some());
        let left = self.database.rebuilds().abandon(code.clone(), rebuild.id, is_sound, self.me()).await?;
        let Some(coupon) = left else { return Ok(None) };
        if is_sound && [CouponStatus::Open, CouponStatus::Closed].contains(&coupon.status) {
            self.stock.resume(code, coupon.epoch, coupon.status.as_str()).await?;
        }
        Ok(Some(coupon.status))
    }

    async fn drain(
        &self,
        code: &CouponCode,
        options: RebuildOptions,
        told: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<(), RebuildError> {
        let deadline = Instant::now() + options.wait;
        loop {
            let waiting = self.stock.outbox_len(code).await?;
            told(RebuildProgress::Outbox(waiting));
            if waiting == 0 {
                break;
            }
            if Instant::now() >= deadline {
                return Err(RebuildError::Outbox { code: code.clone(), waiting });
            }
            sleep(LOOK).await;
        }
        told(RebuildProgress::Consumers);
        self.passed(options).await?;
        Ok(())
    }

    /// Everything that was reserved is decided, held or parked. What only its mark in Redis still knows is published
    /// again first, because the marks are about to be replaced: an event that Kafka has lost, a row that a restored
    /// PostgreSQL has forgotten.
    async fn settle_marks(
        &self,
        code: &CouponCode,
        options: RebuildOptions,
        told: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<(), RebuildError> {
        // No relay can publish them, and they are no requests.
        for entry in self.stock.unreadable(code).await? {
            tracing::warn!(coupon = %code, "an outbox entry of {code} names no request and is deleted");
            self.stock.delete_entry(code, &entry).await?;
        }
        // Before anything is published again: a counter that is too high would have it compensated.
        self.count_rows(code).await?;
        let mut rounds = 0;
        loop {
            self.drain(code, options, told).await?;
            let orphans = self.promise_orphans(code, options).await?;
            if orphans == 0 {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS {
                return Err(RebuildError::Orphans { code: code.clone(), orphans });
            }
            told(RebuildProgress::Promised(orphans));
        }
        self.must_be_decided(code, options).await
    }

    /// Makes the counter what the rows are, under the lock of the campaign's data.
    async fn count_rows(&self, code: &CouponCode) -> Result<(), RebuildError> {
        let Some(count) = self.database.reconciliations().count_rows(code).await? else { return Ok(()) };
        if count.counter == count.rows || self.database.reconciliations().correct_counter(code.clone(), count).await? {
            return Ok(());
        }
        Err(RebuildError::Oversold { code: code.clone(), rows: count.rows, total: count.total })
    }

    /// Publishes again what has a mark and nothing else, and says how many there were.
    async fn promise_orphans(&self, code: &CouponCode, options: RebuildOptions) -> Result<u64, RebuildError> {
        let coupon = self.database.coupons().find(code).await?.ok_or_else(|| RebuildError::Unknown(code.clone()))?;
        // Marks of another epoch are of data that an earlier rebuild has replaced.
        if self.stock.view(code).await?.is_none_or(|view| view.epoch != coupon.epoch) {
            return Ok(0);
        }
        let options = ReconcileOptions { apply: true, requeue: true, wait: options.wait };
        let mut report = Report::new(code);
        self.scan_holders(&coupon, options, &|_, _| {}, &mut report).await?;
        match report.waiting_for {
            Some(behind) => Err(RebuildError::Behind(behind)),
            None => Ok(report.drift.get(&Drift::Orphan).map_or(0, |orphans| orphans.found)),
        }
    }

    async fn passed(&self, options: RebuildOptions) -> Result<(), RebuildError> {
        match self.wait_for_consumers(options.wait).await? {
            Passed::Yes => Ok(()),
            not_yet @ Passed::NotYet { .. } => Err(RebuildError::Behind(not_yet.to_string())),
        }
    }

    async fn fill_and_open(
        &self,
        code: &CouponCode,
        rebuild: &Rebuild,
        told: &(dyn Fn(RebuildProgress) + Sync),
    ) -> Result<Coupon, RebuildError> {
        let changed = || RebuildError::Changed(code.clone());
        let coupon = self.database.coupons().find(code).await?.ok_or_else(changed)?;
        // Filled only as long as the row says so: once the gate was open under this epoch, members have reserved in it.
        if coupon.status == CouponStatus::Opening {
            let all = u64::try_from(coupon.issued_quantity).unwrap_or(0);
            let filled = filling::fill(&self.database, &self.stock, &coupon, true, |copied| {
                told(RebuildProgress::Copied(copied, all));
            })
            .await
            .map_err(|error| match error {
                FillError::Repo(error) => error.into(),
                FillError::Stock(error) => error.into(),
                refused => RebuildError::Fill(refused),
            })?;
            if let Some(copied) = filled {
                let copied = i64::try_from(copied).unwrap_or(i64::MAX);
                if copied != coupon.issued_quantity {
                    self.count_rows(code).await?;
                }
                self.compare_marks(code, &coupon, copied).await?;
            }
        }
        let to = rebuild.reopen_as;
        let from: &'static [CouponStatus] = match to {
            CouponStatus::Closed => &[CouponStatus::Opening, CouponStatus::Closed],
            _ => &[CouponStatus::Opening, CouponStatus::Open],
        };
        let opened = self.database.coupons().set_status(code.clone(), coupon.epoch, from, to, self.me()).await?;
        let coupon = opened.ok_or_else(changed)?;
        let gate = match to {
            CouponStatus::Closed => self.stock.close(code, coupon.epoch).await?,
            _ => self.stock.open(code, coupon.epoch, coupon.total_quantity, coupon.total_version).await?,
        };
        if gate != GateOutcome::Done {
            return Err(changed());
        }
        self.database.rebuilds().finish(rebuild.id, self.clock.now()).await?;
        Ok(coupon)
    }

    /// Nobody else may have written to the new data.
    async fn compare_marks(&self, code: &CouponCode, coupon: &Coupon, copied: i64) -> Result<(), RebuildError> {
        match self.stock.view(code).await? {
            Some(view) if view.epoch == coupon.epoch && view.is_filling() && view.issued != copied => {
                Err(RebuildError::Marks { code: code.clone(), copied, found: view.issued })
            }
            Some(_) => Ok(()),
            None => Err(RebuildError::Changed(code.clone())),
        }
    }
}
