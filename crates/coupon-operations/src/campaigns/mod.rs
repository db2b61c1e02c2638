//! Campaigns: created, opened, closed, resized, rescheduled and deleted, in the order that keeps PostgreSQL and Redis together.

mod close;
mod draft;
mod error;
mod figures;
mod open;
mod versioned;

use std::{fmt, sync::Arc};

use coupon_core::{
    clock::Clock,
    ids::CouponCode,
    repo::{
        Database,
        audit::{Actor, Identity},
        coupons::{Coupon, CouponStatus},
    },
    stock::Stock,
};

pub use draft::CreateCampaign;
pub use error::CampaignError;
pub use figures::{Funnel, InRedis};

/// Most coupons of one campaign.
pub const MAX_TOTAL: i64 = 1_000_000_000;
/// Most days that a coupon is valid.
pub const MAX_VALID_DAYS: i32 = 3_650;

/// Access to PostgreSQL and Redis in the name of one operator. Campaigns need no Kafka.
#[derive(Clone)]
pub struct Campaigns {
    /// The campaign's row.
    pub database: Database,
    /// The campaign's gate, total and window in Redis.
    pub stock: Stock,
    /// The source of the time that rows get.
    pub clock: Arc<dyn Clock>,
    /// The operator, for the audit.
    pub by: Identity,
}

/// A campaign after a change, and remarks for its operator.
#[derive(Debug)]
pub struct Changed {
    /// The campaign's row.
    pub coupon: Coupon,
    /// What else the operator has to know.
    pub remarks: Vec<Remark>,
}

/// A fact that did not stop a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Remark {
    /// The campaign existed before with the values asked for.
    ExistedBefore(CouponCode),
    /// Redis holds data of another epoch than PostgreSQL.
    OtherEpoch {
        /// Epoch in Redis.
        redis: i64,
        /// Epoch in PostgreSQL.
        postgresql: i64,
    },
    /// Redis has no data of the campaign.
    NoData(CouponCode),
    /// The campaign is SUSPECT in Redis.
    SuspectInRedis(CouponCode),
    /// A SUSPECT campaign was closed.
    OpensOnlyAfterRebuild(CouponCode),
    /// The total is set in PostgreSQL alone; a rebuild takes it over.
    TotalAwaitsRebuild(CouponCode),
    /// The window is set in PostgreSQL alone; a rebuild takes it over.
    WindowAwaitsRebuild(CouponCode),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExistedBefore(code) => write!(f, "{code} is there already"),
            Self::OtherEpoch { redis, postgresql } => {
                write!(f, "Redis holds data of epoch {redis}, PostgreSQL is at epoch {postgresql}")
            }
            Self::NoData(code) => write!(f, "Redis has no data of {code}"),
            Self::SuspectInRedis(code) => {
                write!(f, "{code} is SUSPECT in Redis and accepts nothing until it is rebuilt")
            }
            Self::OpensOnlyAfterRebuild(code) => {
                write!(f, "it cannot be opened before `dlq-consumer rebuild {code} --by NAME`, which leaves it closed")
            }
            Self::TotalAwaitsRebuild(code) => write!(
                f,
                "it is set in PostgreSQL alone: Redis has no data of {code}, and takes the total over with `dlq-consumer rebuild {code} --by NAME`"
            ),
            Self::WindowAwaitsRebuild(code) => write!(
                f,
                "it is set in PostgreSQL alone: Redis has no data of {code}, and takes the window over with `dlq-consumer rebuild {code} --by NAME`"
            ),
        }
    }
}

impl Campaigns {
    /// Returns the campaign's row.
    pub async fn find(&self, code: &CouponCode) -> Result<Coupon, CampaignError> {
        self.database.coupons().find(code).await?.ok_or_else(|| CampaignError::Unknown(code.clone()))
    }

    /// Returns the row of a campaign that can still change.
    async fn find_unarchived(&self, code: &CouponCode) -> Result<Coupon, CampaignError> {
        let coupon = self.find(code).await?;
        if coupon.archived_at.is_some() {
            return Err(CampaignError::Archived(code.clone()));
        }
        Ok(coupon)
    }

    /// Sets whether a unit is reserved only with a token of a waiting room. Each `issuer-api` knows it seconds later.
    pub async fn set_admission(&self, code: &CouponCode, is_required: bool) -> Result<Changed, CampaignError> {
        self.find_unarchived(code).await?;
        let set = self.database.coupons().set_admission(code.clone(), is_required, self.me()).await?;
        // Archived since it was read.
        let coupon = set.ok_or_else(|| CampaignError::Archived(code.clone()))?;
        Ok(Changed { coupon, remarks: Vec::new() })
    }

    /// Sets the status of the row that was read, and returns the row. Fails if its epoch has changed, or its status is none
    /// of `from`.
    async fn set_status(
        &self,
        coupon: &Coupon,
        from: &'static [CouponStatus],
        to: CouponStatus,
    ) -> Result<Coupon, CampaignError> {
        let code = &coupon.coupon_code;
        let changed = self.database.coupons().set_status(code.clone(), coupon.epoch, from, to, self.me()).await?;
        changed.ok_or_else(|| CampaignError::Changed(code.clone()))
    }

    /// Returns the operator with the time of now, for the audit.
    fn me(&self) -> Actor {
        Actor::at(&self.by, self.clock.as_ref())
    }
}
