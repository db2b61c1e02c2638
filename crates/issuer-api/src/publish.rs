//! Publishing reservations: at once by the handlers, again by the relay, and never the same one twice at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use coupon_core::{
    event::CouponIssued,
    ids::{CouponCode, RequestId},
    kafka::{PublishError, Publisher},
    runtime::chain,
    stock::OutboxEntry,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::detached::{Detached, Piece};

/// Publishes events and hands the acknowledged ones on for deletion from the outbox. Clones share everything.
#[derive(Clone)]
pub struct Publishing {
    publisher: Publisher,
    in_flight: InFlight,
    acknowledged: UnboundedSender<Acknowledged>,
    detached: Detached,
}

/// What became of the wish to publish.
#[derive(Debug)]
pub enum Start {
    /// Queued: told when Kafka has acknowledged it and its promise is deleted, so that nobody who asks afterwards, whatever
    /// process, finds it waiting. Silence proves nothing; the record may have arrived.
    Queued(oneshot::Receiver<()>),
    /// This process is publishing it already.
    InFlight,
    /// Not even queued; the relay tries again.
    Refused(PublishError),
}

/// An event that Kafka has acknowledged.
#[derive(Debug)]
pub struct Acknowledged {
    /// The campaign.
    pub code: CouponCode,
    /// Its promise.
    pub entry: OutboxEntry,
    /// Kept until the promise is deleted, so that the relay leaves it alone meanwhile.
    pub flight: Flight,
    /// Told when the promise is deleted.
    pub told: oneshot::Sender<()>,
}

impl Publishing {
    /// Over one client of Kafka; what is acknowledged goes to `acknowledged`.
    pub fn new(publisher: Publisher, acknowledged: UnboundedSender<Acknowledged>, detached: Detached) -> Self {
        metrics::counter!("coupon_publish_failures_total").increment(0);
        Self { publisher, in_flight: InFlight::default(), acknowledged, detached }
    }

    /// Publishes an event that is in the outbox; nobody can cancel what follows from the acknowledgement.
    pub fn start(&self, event: &CouponIssued) -> Start {
        let Some(flight) = self.in_flight.begin(event.request_id, &self.detached) else { return Start::InFlight };
        let (told, tell) = oneshot::channel();
        let (code, entry) = (event.coupon_code.clone(), OutboxEntry::of(event));
        let acknowledged = self.acknowledged.clone();
        let queued = self.publisher.publish(event, move |delivered| match delivered {
            Ok(_) => {
                // During a stop the deletion may be gone: the relay repeats it.
                let _ = acknowledged.send(Acknowledged { code, entry, flight, told });
            }
            Err(error) => {
                metrics::counter!("coupon_publish_failures_total").increment(1);
                tracing::debug!(error = %chain(&error), request_id = %entry.request_id, "a publication was not acknowledged");
            }
        });
        match queued {
            Ok(()) => Start::Queued(tell),
            Err(error) => {
                metrics::counter!("coupon_publish_failures_total").increment(1);
                Start::Refused(error)
            }
        }
    }

    /// Whether this process is publishing it now, or deleting it from the outbox.
    pub fn is_in_flight(&self, request_id: RequestId) -> bool {
        self.in_flight.contains(request_id)
    }
}

/// What this process is publishing now.
#[derive(Clone, Debug, Default)]
struct InFlight(Arc<Mutex<HashSet<RequestId>>>);

/// One publication, from the queue to the deletion of its promise; a stop waits for it.
#[derive(Debug)]
pub struct Flight {
    request_id: RequestId,
    in_flight: InFlight,
    _piece: Piece,
}

impl InFlight {
    fn begin(&self, request_id: RequestId, detached: &Detached) -> Option<Flight> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request_id);
        is_new.then(|| Flight { request_id, in_flight: self.clone(), _piece: detached.begin() })
    }

    fn contains(&self, request_id: RequestId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&request_id)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request_id);
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_request_is_in_flight_once_and_a_stop_waits_for_it() {
        let (in_flight, detached) = (InFlight::default(), Detached::default());
        let id = RequestId::make(&SystemClock);
        let flight = in_flight.begin(id, &detached);
        assert!(flight.is_some() && in_flight.begin(id, &detached).is_none());
        assert_eq!(detached.pieces(), 1);
        drop(flight);
        assert!(!in_flight.contains(id));
        detached.idle().await;
    }
}
