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

use super::{Desk, DeskError, barrier::Passed, server_errors};

/// Between two looks at the outbox.
const LOOK: Duration = Duration::from_millis(200);

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
    /// The epoch has moved on to this one.
    Epoch(i64),
    /// So many marks of so many are copied.
    Copied(u64, u64),
}

/// Why a rebuild was refused, or stands still. Nothing is lost, and the gate stays closed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No such campaign.
    #[error("there is no coupon {0}; `issuer-api coupon list` shows them all")]
    Unknown(CouponCode),
    /// Never opened, or ended for good.
    #[error("{0} was never opened or was ended for good: there is nothing to rebuild")]
    Nothing(CouponCode),
    /// Somebody else is at it.
    #[error(
        "somebody else is at the data of {0} now: another rebuild, or a reconciliation; ask again when it has ended"
    )]
    Busy(CouponCode),
    /// The outbox does not get empty.
    #[error(
        "{waiting} reservations of {code} still wait to be published: is an issuer-api running, and kafka there? Then ask again"
    )]
    Outbox {
        /// The campaign.
        code: CouponCode,
        /// Promises left.
        waiting: i64,
    },
    /// A consumer has not passed.
    #[error("{0} Then ask again")]
    Behind(String),
    /// Requests without a decision.
    #[error(
        "{held} requests of {code} are held and {parked} parked, undecided: after a rebuild they could only be compensated. \
         Decide them first (`dlq-consumer replay --dead-letters --coupon {code}`, `dlq-consumer compensate --coupon {code}`), \
         or go on with --leave-undecided"
    )]
    Undecided {
        /// The campaign.
        code: CouponCode,
        /// HELD letters.
        held: i64,
        /// PARKED letters that can be read.
        parked: i64,
    },
    /// The row is not what this rebuild left it as.
    #[error("{0} was changed by somebody else meanwhile; look at it with `issuer-api coupon show {0}`, then ask again")]
    Changed(CouponCode),
    /// Redis could not be filled.
    #[error("{0}")]
    Fill(FillError),
    /// What was copied is not what is there.
    #[error(
        "{copied} marks of {code} were copied and {found} are there: somebody else writes to its keys; the gate stays closed"
    )]
    Marks {
        /// The campaign.
        code: CouponCode,
        /// Rows copied.
        copied: i64,
        /// Marks found.
        found: i64,
    },
    /// A server.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

server_errors!(RebuildError);

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
        });
        if (1..redis.epoch).contains(&coupon.epoch) {
            // PostgreSQL was restored to before an earlier rebuild. What is left of the row's own epoch has to be issued
            // before the row moves on.
            told(Progress::Consumers);
            self.passed(options).await?;
        }
        let rebuild = self.database.begin_rebuild(code.clone(), redis, self.me()).await?;
        let rebuild = rebuild.ok_or_else(|| RebuildError::Nothing(code.clone()))?;
        if rebuild.started_at < begun_at {
            told(Progress::Resumed(rebuild.step));
        }
        if rebuild.step == RebuildStep::Draining {
            let redis_epoch = self.shut(code).await?;
            told(Progress::GateClosed);
            self.drain(code, options, told).await?;
            let moved = self.database.begin_filling(code.clone(), rebuild.id, redis_epoch, self.me()).await?;
            let coupon = moved.ok_or_else(|| RebuildError::Changed(code.clone()))?;
            told(Progress::Epoch(coupon.epoch));
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
        let unfinished = self.database.unfinished(code).await?;
        if !options.leave_undecided && unfinished.held + unfinished.parked > 0 {
            let (held, parked) = (unfinished.held, unfinished.parked);
            return Err(RebuildError::Undecided { code: code.clone(), held, parked });
        }
        Ok(())
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
            Some(view) if view.epoch == coupon.epoch && view.status == "FILLING" && view.issued != copied => {
                Err(RebuildError::Marks { code: code.clone(), copied, found: view.issued })
            }
            Some(_) => Ok(()),
            None => Err(RebuildError::Changed(code.clone())),
        }
    }
}
