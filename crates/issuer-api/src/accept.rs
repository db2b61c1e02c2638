//! Accepting a request: reserve, publish, and tell how far it got. Knows nothing of HTTP.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    failure::{Class, Classified},
    ids::{CouponCode, MemberId, RequestId},
    repo::{coupon_issues::Decided, coupons::CouponStatus},
    runtime::{Throttle, chain},
    stock::{Refused, Reservation, Reserved, Stock, StockError},
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    campaigns::Campaigns,
    detached::Detached,
    publish::{PublishStart, Publishing},
    sold_out::Memories,
    standing::State,
    suspects::Suspects,
};

/// A campaign that is still being prepared may open any moment.
const SOON: Duration = Duration::from_secs(5);

/// The first stage.
pub struct Accept {
    /// Where reservations are made.
    pub stock: Stock,
    /// What PostgreSQL knows.
    pub campaigns: Campaigns,
    /// Where reservations are published.
    pub publishing: Publishing,
    /// What is known to be sold out.
    pub sold_out: Arc<Memories>,
    /// Who is told of lost data.
    pub suspects: Suspects,
    /// Runs what must not be torn.
    pub detached: Detached,
    /// Time of the request ids.
    pub clock: Arc<dyn Clock>,
    /// Promises of one coupon that may wait.
    pub outbox_cap: u64,
}

/// A member that holds a coupon.
#[derive(Debug)]
pub struct Held {
    /// The reservation.
    pub request_id: RequestId,
    /// Whether the member had asked before.
    pub is_repeat: bool,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Kafka has it.
    Acknowledged,
    /// In the outbox, and on its way.
    Queued(oneshot::Receiver<()>),
    /// In the outbox.
    Promised,
}

/// Why a member holds nothing by this request, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// Every coupon is held by somebody.
    SoldOut,
    /// The campaign opens in about this long.
    NotOpen(Duration),
    /// The campaign was closed, or its time is over.
    Closed,
    /// Nobody knows such a campaign.
    Unknown,
    /// Redis is being filled.
    GateClosed,
    /// Redis has lost data of it: nothing is accepted until somebody has had it rebuilt.
    Suspect,
    /// Kafka is away for too long, for all or for this process alone.
    OutboxFull,
    /// Redis gave no usable answer: the member may hold one after all.
    NoAnswer,
    /// PostgreSQL was needed to tell, and gives no answer.
    DatabaseAway,
}

impl Held {
    /// How far the request has got, after waiting for Kafka's acknowledgement for at most `bound`.
    pub async fn state(self, bound: Duration) -> State {
        match self.progress {
            Progress::Acknowledged => State::Accepted,
            Progress::Promised => State::Reserved,
            Progress::Queued(tell) => match timeout(bound, tell).await {
                Ok(Ok(())) => State::Accepted,
                _ => State::Reserved,
            },
        }
    }
}

impl Accept {
    /// Reserves a coupon for a member and begins to publish it.
    pub async fn accept(self: &Arc<Self>, code: &CouponCode, member: &MemberId) -> Result<Held, NotHeld> {
        if self.sold_out.refuse(code, member) {
            return Err(NotHeld::SoldOut);
        }
        let work = {
            let (this, code, member) = (Arc::clone(self), code.clone(), member.clone());
            async move { this.reserve(&code, &member).await }
        };
        // Detached: a client that hangs up drops this future, and must not tear the work between script and publish.
        match self.detached.run(work).await {
            Ok(Ok(held)) => Ok(held),
            // Boxed: what these need of PostgreSQL would otherwise be room that every request takes along.
            Ok(Err(refused)) => Box::pin(self.explain(code, member, refused)).await,
            Err(error) => {
                say(code, &error);
                Box::pin(self.issued_or(code, member, NotHeld::NoAnswer)).await
            }
        }
    }

    async fn reserve(&self, code: &CouponCode, member: &MemberId) -> Result<Result<Held, Refused>, StockError> {
        let request_id = RequestId::make(self.clock.as_ref());
        // A process that alone cannot publish promises nothing more: with no room in the outbox holders, and those who come
        // too early or too late, still get their own answers.
        let outbox_cap = if self.publishing.is_cut_off() { 0 } else { self.outbox_cap };
        Ok(match self.stock.reserve(code, member, request_id, outbox_cap).await? {
            Reservation::Reserved(reserved) => {
                self.sold_out.forget(code);
                Ok(self.publish(&reserved))
            }
            // Not published here: whoever reserved it is at it, or the relay will be.
            Reservation::Already(Reserved { event, pending }) => {
                let progress = if pending { Progress::Promised } else { Progress::Acknowledged };
                Ok(Held { request_id: event.request_id, is_repeat: true, progress })
            }
            Reservation::Refused(refused) => Err(refused),
        })
    }

    fn publish(&self, Reserved { event, pending }: &Reserved) -> Held {
        let progress = if *pending {
            match self.publishing.start(event) {
                PublishStart::Queued(tell) => Progress::Queued(tell),
                PublishStart::InFlight => Progress::Promised,
                PublishStart::Refused(error) => {
                    tracing::debug!(error = %chain(&error), "a reservation could not be queued, the relay publishes it");
                    Progress::Promised
                }
            }
        } else {
            Progress::Acknowledged
        };
        Held { request_id: event.request_id, is_repeat: false, progress }
    }

    async fn explain(
        self: &Arc<Self>,
        code: &CouponCode,
        member: &MemberId,
        refused: Refused,
    ) -> Result<Held, NotHeld> {
        let why = match refused {
            Refused::SoldOut => {
                self.sold_out.learn(code);
                NotHeld::SoldOut
            }
            Refused::NotOpen(wait) => NotHeld::NotOpen(wait),
            Refused::Closed => NotHeld::Closed,
            Refused::OutboxFull => NotHeld::OutboxFull,
            // From here on the map of the holders cannot be trusted, and PostgreSQL is asked.
            Refused::Filling => return self.issued_or(code, member, NotHeld::GateClosed).await,
            Refused::Suspect => {
                self.suspects.report(code);
                return self.issued_or(code, member, NotHeld::Suspect).await;
            }
            Refused::Missing => match self.missing(code).await {
                why @ (NotHeld::Unknown | NotHeld::NotOpen(_)) => why,
                why => return self.issued_or(code, member, why).await,
            },
        };
        Err(why)
    }

    /// The coupon that PostgreSQL has issued to the member; without one, `why`. When PostgreSQL gives no answer either,
    /// nobody is told that nothing is held.
    async fn issued_or(&self, code: &CouponCode, member: &MemberId, why: NotHeld) -> Result<Held, NotHeld> {
        match self.campaigns.issued(code, member).await {
            Ok(Some(Decided { request_id, .. })) => {
                Ok(Held { request_id, is_repeat: true, progress: Progress::Acknowledged })
            }
            Err(_) if why == NotHeld::Closed => Err(NotHeld::DatabaseAway),
            Ok(None) | Err(_) => Err(why),
        }
    }

    /// Missing in Redis may mean unknown, not opened yet, archived, or lost. Lost is never read as "nothing sold yet".
    pub async fn missing(&self, code: &CouponCode) -> NotHeld {
        let Ok(found) = self.campaigns.coupon(code).await else { return NotHeld::DatabaseAway };
        let Some(coupon) = found else { return NotHeld::Unknown };
        match coupon.status {
            CouponStatus::Draft => NotHeld::NotOpen((coupon.opens_at - self.clock.now()).to_std().unwrap_or(SOON)),
            CouponStatus::Opening => NotHeld::GateClosed,
            // Everything was decided before its data went: whoever has no row holds nothing.
            CouponStatus::Closed if coupon.archived_at.is_some() => NotHeld::Closed,
            CouponStatus::Closed | CouponStatus::Open | CouponStatus::Suspect => {
                self.suspects.report(code);
                NotHeld::Suspect
            }
        }
    }
}

/// An outage is told by `/readyz` and the metrics; anything else is a fault of ours. Neither is told once for each request.
fn say(code: &CouponCode, error: &StockError) {
    static FAILED: Throttle = Throttle::new();
    if error.class() == Class::Unavailable {
        tracing::debug!(coupon = %code, error = %chain(error), "a reservation got no answer");
    } else if let Some(requests) = FAILED.admit(&error.code()) {
        tracing::error!(
            coupon = %code,
            requests,
            error = %chain(error),
            "reservations fail in redis, {requests} since this was last said"
        );
    }
}
