//! Accepting a request: reserve, publish, and wait for Kafka's acknowledgement. Knows nothing of HTTP.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    ids::{CouponCode, MemberId, RequestId},
    repo::coupons::CouponStatus,
    runtime::TraceParent,
    stock::{Held, Refused, Stock},
};
use tokio::time::timeout;

use crate::{
    coupon_lookup::{CouponLookup, DatabaseAway},
    data_loss::DataLossReporter,
    detached::Detached,
    reservations::Reservations,
    sold_out::SoldOutCache,
};

/// Wait told for a campaign that is still a draft after its opening time: it may open any moment.
const DRAFT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The first stage.
pub struct Accept {
    /// Redis.
    pub stock: Stock,
    /// Where reservations are made and published.
    pub reservations: Reservations,
    /// The few questions to PostgreSQL that members may cause.
    pub lookup: CouponLookup,
    /// Refusals that need no question to Redis.
    pub sold_out: Arc<SoldOutCache>,
    /// Reports data that Redis has lost.
    pub data_loss: DataLossReporter,
    /// Counts the work that goes on when the client hangs up.
    pub detached: Detached,
    /// Time of the request ids.
    pub clock: Arc<dyn Clock>,
}

/// Why a member holds no coupon by this request, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// Redis refused, or PostgreSQL knows why Redis has no data. [`Refused::Missing`]: neither knows the campaign.
    Refused(Refused),
    /// Redis gave no usable answer: the member may hold a coupon after all.
    NoAnswer,
    /// PostgreSQL was needed and gave no answer.
    DatabaseAway,
}

impl From<Refused> for NotHeld {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<DatabaseAway> for NotHeld {
    fn from(_: DatabaseAway) -> Self {
        Self::DatabaseAway
    }
}

impl Accept {
    /// Reserves a coupon for a member, publishes the reservation, and waits for Kafka's acknowledgement for at most `bound`.
    /// The event carries the trace context of the request.
    pub async fn accept(
        &self,
        code: &CouponCode,
        member: &MemberId,
        bound: Duration,
        trace: Option<TraceParent>,
    ) -> Result<Held, NotHeld> {
        if self.sold_out.refuses(code, member) {
            return Err(Refused::SoldOut.into());
        }
        let request_id = RequestId::make(self.clock.as_ref());
        // Present until the answer is there, also when that takes PostgreSQL.
        let (undecided, _present) = self.detached.ask();
        match self.reservations.ask(code, member, request_id, trace, undecided).await {
            Ok((mut held, acknowledgement)) => {
                if let Some(acknowledgement) = acknowledgement
                    && let Ok(Ok(())) = timeout(bound, acknowledgement).await
                {
                    held.pending = None;
                }
                Ok(held)
            }
            // Boxed: what these need of PostgreSQL would otherwise be room that every request takes along.
            Err(NotHeld::Refused(refused)) => Box::pin(self.explain(code, member, refused)).await,
            Err(why) => Box::pin(self.issued_or(code, member, why)).await,
        }
    }

    /// Turns a refusal of Redis into the answer. Where the holder entries cannot be trusted, PostgreSQL is asked first.
    async fn explain(&self, code: &CouponCode, member: &MemberId, refused: Refused) -> Result<Held, NotHeld> {
        let why = match refused {
            Refused::SoldOut => {
                self.sold_out.count_refusal(code);
                return Err(refused.into());
            }
            Refused::NotOpen(_) | Refused::Closed | Refused::OutboxFull => return Err(refused.into()),
            Refused::Filling => refused.into(),
            Refused::Suspect => {
                self.data_loss.report(code);
                refused.into()
            }
            Refused::Missing => match self.missing(code).await {
                why @ NotHeld::Refused(Refused::Missing | Refused::NotOpen(_)) => return Err(why),
                why => why,
            },
        };
        self.issued_or(code, member, why).await
    }

    /// The coupon that PostgreSQL has issued to the member; without one, `why`. When PostgreSQL gives no answer either,
    /// no member is told that they hold nothing.
    async fn issued_or(&self, code: &CouponCode, member: &MemberId, why: NotHeld) -> Result<Held, NotHeld> {
        match self.lookup.issued(code, member).await {
            Ok(Some(decided)) => Ok(Held { request_id: decided.request_id, is_repeat: true, pending: None }),
            Err(away) if why == NotHeld::Refused(Refused::Closed) => Err(away.into()),
            Ok(None) | Err(_) => Err(why),
        }
    }

    /// Why Redis has no data of a coupon: it is unknown, not opened yet, archived, or lost. Lost is never read as "nothing
    /// sold yet".
    pub async fn missing(&self, code: &CouponCode) -> NotHeld {
        let Ok(found) = self.lookup.coupon(code).await else { return NotHeld::DatabaseAway };
        let Some(coupon) = found else { return Refused::Missing.into() };
        let refused = match coupon.status {
            CouponStatus::Draft => {
                Refused::NotOpen((coupon.opens_at - self.clock.now()).to_std().unwrap_or(DRAFT_RETRY_AFTER))
            }
            CouponStatus::Opening => Refused::Filling,
            // Everything was decided before its data went: whoever has no row holds nothing.
            CouponStatus::Closed if coupon.archived_at.is_some() => Refused::Closed,
            CouponStatus::Closed | CouponStatus::Open | CouponStatus::Suspect => {
                self.data_loss.report(code);
                Refused::Suspect
            }
        };
        refused.into()
    }
}
