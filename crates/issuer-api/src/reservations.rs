//! Reserving: what waits for a campaign is decided and published together, and goes on when clients hang up.
//!
//! A member alone waits for nobody: the first request for a campaign goes to Redis at once. What comes before the answer is there
//! goes together after it, so that under load one script decides for as many as have come. Redis and this process do far less for each
//! then, and nobody waits for a clock.

use std::sync::{Arc, Mutex, PoisonError};

use coupon_core::{
    failure::{Class, Classified},
    ids::{CouponCode, MemberId, RequestId},
    runtime::{Throttle, TraceParent, chain},
    stock::{Held, MAX_RESERVATIONS, Stock, StockError},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    accept::NotHeld,
    batches::{Batches, work_off},
    detached::Asked,
    publish::{Acknowledgement, Publishing},
    sold_out::SoldOutCache,
};

/// What a member holds, and who tells when Kafka has acknowledged it; or why the member holds nothing by this request.
type Answer = Result<(Held, Option<Acknowledgement>), NotHeld>;

/// Makes the reservations of a process.
pub struct Reservations(Arc<Shared>);

struct Shared {
    stock: Stock,
    publishing: Publishing,
    sold_out: Arc<SoldOutCache>,
    /// Most entries of one coupon's outbox.
    outbox_cap: u64,
    waiting: Mutex<Batches<Request>>,
}

/// A request that waits to be decided.
struct Request {
    id: RequestId,
    member: MemberId,
    trace: Option<TraceParent>,
    since: Instant,
    answer: oneshot::Sender<Answer>,
    _undecided: Asked,
}

impl Reservations {
    /// Of coupons with at most `outbox_cap` entries in their outboxes. What is reserved is published.
    pub fn new(stock: Stock, publishing: Publishing, sold_out: Arc<SoldOutCache>, outbox_cap: u64) -> Self {
        let waiting = Mutex::new(Batches::new(MAX_RESERVATIONS));
        Self(Arc::new(Shared { stock, publishing, sold_out, outbox_cap, waiting }))
    }

    /// Reserves a coupon for a member and publishes the reservation, also when the caller hangs up. The event carries the trace
    /// context of the request. [`NotHeld::NoAnswer`]: Redis gave none within its bound.
    /// `undecided` is kept until the request is decided.
    pub async fn ask(
        &self,
        code: &CouponCode,
        member: &MemberId,
        id: RequestId,
        trace: Option<TraceParent>,
        undecided: Asked,
    ) -> Answer {
        let shared = &self.0;
        let (answer, answered) = oneshot::channel();
        let (member, since) = (member.clone(), Instant::now());
        let request = Request { id, member, trace, since, answer, _undecided: undecided };
        let first = {
            let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.add(code, request);
            waiting.next_idle()
        };
        if let Some((code, batch)) = first {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                work_off(&shared.waiting, &code, batch, |batch| shared.reserve(&code, batch)).await;
            });
        }
        match timeout(shared.stock.bound(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(NotHeld::NoAnswer),
        }
    }
}

impl Shared {
    async fn reserve(&self, code: &CouponCode, mut batch: Vec<Request>) {
        // Whoever has waited for longer was told that Redis gives no answer; while it is away, what waits would only grow.
        batch.retain(|request| request.since.elapsed() < self.stock.bound());
        // A process that alone cannot publish reserves nothing more: with no room in the outbox holders, and those who come
        // too early or too late, still get their own answers.
        let outbox_cap = if self.publishing.in_flight.is_cut_off() { 0 } else { self.outbox_cap };
        let requests: Vec<_> = batch.iter().map(|request| (request.id, &request.member)).collect();
        match self.stock.reserve_all(code, &requests, outbox_cap).await {
            Ok(reservations) => {
                for (request, reservation) in batch.into_iter().zip(reservations) {
                    let answer = match reservation {
                        Ok(reservation) => {
                            reservation.map(|held| self.publish(code, held, request.trace)).map_err(NotHeld::from)
                        }
                        Err(error) => {
                            log_failure(code, &error);
                            Err(NotHeld::NoAnswer)
                        }
                    };
                    // The client may have hung up.
                    let _ = request.answer.send(answer);
                }
            }
            Err(error) => {
                for request in batch {
                    log_failure(code, &error);
                    let _ = request.answer.send(Err(NotHeld::NoAnswer));
                }
            }
        }
    }

    fn publish(&self, code: &CouponCode, held: Held, trace: Option<TraceParent>) -> (Held, Option<Acknowledgement>) {
        // A repeat is not published here: the process that reserved it publishes it, or a relay does.
        if held.is_repeat {
            return (held, None);
        }
        self.sold_out.forget(code);
        let Some(event) = &held.pending else { return (held, None) };
        let acknowledgement = self.publishing.start(event, trace).unwrap_or_else(|error| {
            tracing::debug!(error = %chain(&error), "a reservation could not be queued, the relay publishes it");
            None
        });
        (held, acknowledgement)
    }
}

/// Logs an outage, which `/readyz` and the metrics show too, at debug; any other failure is a fault of ours. Neither is a
/// line for each request.
fn log_failure(code: &CouponCode, error: &StockError) {
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
