//! Rebuilding a campaign's data in Redis from PostgreSQL, with the gate closed.
//!
//! The order is what makes it safe: nothing new is reserved, what was reserved is published, written or decided, then the
//! epoch moves on so that no straggler of the old data can be issued any more, and only then the marks are copied. How far
//! it has come stands in PostgreSQL, so the same command goes on wherever an earlier one ended.

use std::time::Duration;

use coupon_core::{
    filling::{self, FillError},
    ids::CouponCode,
    repo::{
        coupons::{Coupon, CouponStatus},
        rebuilds::{InRedis, Rebuild, RebuildStep},
    },
    stock::GateOutcome,
};
use tokio::time::{Instant, sleep};

mod error;

pub use error::RebuildError;

use super::{
    Desk,
    barrier::Passed,
    reconcile::{self, Drift, Report},
};

/// Between two looks at the outbox.
const LOOK: Duration = Duration::from_millis(200);
/// How often what nobody has decided is published again before an operator has to look.
const ROUNDS: u32 = 3;

/// How to rebuild.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long to wait for the outbox, and then for the consumers.
    pub wait: Duration,
    /// Go on although requests wait undecided: their units are sold again, and they can only be compensated.
    pub leave_undecided: bool,
}

/// Where a rebuild is, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
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
}

impl Desk {
    /// Rebuilds a campaign, or goes on with the rebuild that was begun. Gives the row as it is at the end.
    pub async fn rebuild(
        &self,
        code: &CouponCode,
        options: Options,
        told: &(dyn Fn(Progress) + Sync),
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
        options: Options,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<Coupon, RebuildError> {
        let begun_at = self.clock.now();
        let coupon = self.database.coupon(code).await?.ok_or_else(|| RebuildError::Unknown(code.clone()))?;
        let redis = self.stock.view(code).await?.map_or_else(InRedis::default, |view| InRedis {
            epoch: view.epoch,
            is_closed: view.status == CouponStatus::Closed.as_str(),
            is_filling: view.is_filling(),
        });
        if (1..redis.epoch).contains(&coupon.epoch) {
            // PostgreSQL was restored to before an earlier rebuild. What is left of the row's own epoch has to be issued
            // before the row moves on.
            told(Progress::Consumers);
            self.passed(options).await?;
        }
        let rebuild = self.database.begin_rebuild(code.clone(), redis, self.me()).await?;
        let mut rebuild = rebuild.ok_or_else(|| RebuildError::Nothing(code.clone()))?;
        if rebuild.started_at < begun_at {
            told(Progress::Resumed(rebuild.step));
        }
        if rebuild.step == RebuildStep::Draining {
            let redis_epoch = self.shut(code).await?;
            told(Progress::GateClosed);
            self.settle_marks(code, options, told).await?;
            let moved = self.database.begin_filling(code.clone(), rebuild.id, redis_epoch, self.me()).await?;
            let coupon = moved.ok_or_else(|| RebuildError::Changed(code.clone()))?;
            told(Progress::Epoch(coupon.epoch));
            // Somebody may have closed the campaign while it was drained.
            let now = self.database.rebuild_under_way(code).await?;
            rebuild = now.ok_or_else(|| RebuildError::Changed(code.clone()))?;
        }
        self.fill_and_open(code, &rebuild, told).await
    }

    /// Closes the gate, whatever epoch Redis's data is of, and gives that epoch; 0 when there is none.
    async fn shut(&self, code: &CouponCode) -> Result<i64, RebuildError> {
        // Without this no relay would empty what is left of the outbox.
        self.stock.make_known(code).await?;
        let epoch = self.stock.view(code).await?.map_or(0, |view| view.epoch);
        // MISSING: meta is not whole, and then nothing is accepted either.
        match self.stock.suspect(code, epoch).await? {
            GateOutcome::OtherEpoch(_) => Err(RebuildError::Changed(code.clone())),
            GateOutcome::Done | GateOutcome::Missing | GateOutcome::Suspect => Ok(epoch),
        }
    }

    async fn drain(
        &self,
        code: &CouponCode,
        options: Options,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), RebuildError> {
        let deadline = Instant::now() + options.wait;
        loop {
            let waiting = self.stock.promises(code).await?;
            told(Progress::Outbox(waiting));
            if waiting == 0 {
                break;
            }
            if Instant::now() >= deadline {
                return Err(RebuildError::Outbox { code: code.clone(), waiting });
            }
            sleep(LOOK).await;
        }
        told(Progress::Consumers);
        self.passed(options).await?;
        Ok(())
    }

    /// Everything that was reserved is decided, held or parked. What only its mark in Redis still knows is published
    /// again first, because the marks are about to be replaced: an event that Kafka has lost, a row that a restored
    /// PostgreSQL has forgotten.
    async fn settle_marks(
        &self,
        code: &CouponCode,
        options: Options,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), RebuildError> {
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
            told(Progress::Promised(orphans));
        }
        let unfinished = self.database.unfinished(code).await?;
        if !options.leave_undecided && unfinished.held + unfinished.parked > 0 {
            let (held, parked) = (unfinished.held, unfinished.parked);
            return Err(RebuildError::Undecided { code: code.clone(), held, parked });
        }
        Ok(())
    }

    /// Publishes again what has a mark and nothing else, and says how many there were.
    async fn promise_orphans(&self, code: &CouponCode, options: Options) -> Result<u64, RebuildError> {
        let coupon = self.database.coupon(code).await?.ok_or_else(|| RebuildError::Unknown(code.clone()))?;
        // Marks of another epoch are of data that an earlier rebuild has replaced.
        if self.stock.view(code).await?.is_none_or(|view| view.epoch != coupon.epoch) {
            return Ok(0);
        }
        let options = reconcile::Options { apply: true, wait: options.wait };
        let mut report = Report::new(code);
        self.scan_marks(&coupon, options, &|_, _| {}, &mut report).await?;
        match report.waiting_for {
            Some(behind) => Err(RebuildError::Behind(behind)),
            None => Ok(report.drift.get(&Drift::Orphan).map_or(0, |orphans| orphans.found)),
        }
    }

    async fn passed(&self, options: Options) -> Result<(), RebuildError> {
        match self.wait_for_consumers(options.wait).await? {
            Passed::Yes => Ok(()),
            not_yet @ Passed::NotYet { .. } => Err(RebuildError::Behind(not_yet.to_string())),
        }
    }

    async fn fill_and_open(
        &self,
        code: &CouponCode,
        rebuild: &Rebuild,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<Coupon, RebuildError> {
        let changed = || RebuildError::Changed(code.clone());
        let coupon = self.database.coupon(code).await?.ok_or_else(changed)?;
        // Filled only as long as the row says so: once the gate was open under this epoch, members have reserved in it.
        if coupon.status == CouponStatus::Opening {
            let all = u64::try_from(coupon.issued_quantity).unwrap_or(0);
            let filled =
                filling::fill(&self.database, &self.stock, &coupon, true, |copied| told(Progress::Copied(copied, all)))
                    .await
                    .map_err(|error| match error {
                        FillError::Repo(error) => error.into(),
                        FillError::Stock(error) => error.into(),
                        refused => RebuildError::Fill(refused),
                    })?;
            if let Some(copied) = filled {
                self.compare_marks(code, &coupon, i64::try_from(copied).unwrap_or(i64::MAX)).await?;
            }
        }
        let to = rebuild.reopen_as;
        let from: &'static [CouponStatus] = match to {
            CouponStatus::Closed => &[CouponStatus::Opening, CouponStatus::Closed],
            _ => &[CouponStatus::Opening, CouponStatus::Open],
        };
        let opened = self.database.set_coupon_status(code.clone(), coupon.epoch, from, to, self.me()).await?;
        let coupon = opened.ok_or_else(changed)?;
        let gate = match to {
            CouponStatus::Closed => self.stock.close(code, coupon.epoch).await?,
            _ => self.stock.open(code, coupon.epoch, coupon.total_quantity, coupon.total_version).await?,
        };
        if gate != GateOutcome::Done {
            return Err(changed());
        }
        self.database.finish_rebuild(rebuild.id, self.clock.now()).await?;
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
