//! Publishing reservations: at once by the handlers, again by the relay, and never the same one twice at a time.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    event::CouponIssued,
    ids::{CouponCode, RequestId},
    kafka::{PublishError, Publisher},
    runtime::chain,
    stock::{OutboxEntry, Stock, StockError},
};
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    time::Instant,
};

use crate::{
    detached::{Detached, Piece},
    progress::Progress,
};

/// Publishes events and hands the acknowledged ones on for deletion from the outbox. Clones share everything.
#[derive(Clone)]
pub struct Publishing {
    publisher: Publisher,
    progress: Arc<Progress>,
    acknowledged: UnboundedSender<Acknowledged>,
    detached: Detached,
}

/// What became of the wish to publish.
#[derive(Debug)]
pub enum PublishStart {
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
        Self { publisher, progress: Arc::default(), acknowledged, detached }
    }

    /// Publishes an event that is in the outbox; nobody can cancel what follows from the acknowledgement.
    pub fn start(&self, event: &CouponIssued) -> PublishStart {
        let (code, entry) = (event.coupon_code.clone(), OutboxEntry::of(event));
        if !self.progress.begin(&code, &entry, Instant::now()) {
            return PublishStart::InFlight;
        }
        let flight = Flight {
            request_id: entry.request_id,
            progress: Arc::clone(&self.progress),
            _piece: self.detached.begin(),
        };
        let (told, tell) = oneshot::channel();
        let acknowledged = self.acknowledged.clone();
        let queued = self.publisher.publish(event, move |delivered| match delivered {
            Ok(_) => {
                flight.progress.acknowledged(flight.request_id, Instant::now());
                // During a stop the deletion may be gone: the relay repeats it.
                let _ = acknowledged.send(Acknowledged { code, entry, flight, told });
            }
            Err(error) => {
                flight.progress.failed(flight.request_id, Instant::now());
                metrics::counter!("coupon_publish_failures_total").increment(1);
                tracing::debug!(error = %chain(&error), request_id = %entry.request_id, "a publication was not acknowledged");
            }
        });
        match queued {
            Ok(()) => PublishStart::Queued(tell),
            Err(error) => {
                self.progress.refused(event.coupon_code.clone(), OutboxEntry::of(event), Instant::now());
                metrics::counter!("coupon_publish_failures_total").increment(1);
                PublishStart::Refused(error)
            }
        }
    }

    /// Whether this process is publishing it now, or deleting it from the outbox.
    pub fn is_in_flight(&self, request_id: RequestId) -> bool {
        self.progress.is_in_flight(request_id)
    }

    /// For how long nothing of this process was acknowledged although it tried; zero when all is well.
    pub fn unacknowledged_for(&self) -> Duration {
        self.progress.unacknowledged_for(Instant::now())
    }

    /// Whether something that is not acknowledged is still on its way.
    pub fn is_waiting(&self) -> bool {
        self.progress.is_waiting()
    }

    /// Whether this process alone is cut off from Kafka: others publish what it cannot. It then accepts nothing new.
    pub fn is_cut_off(&self) -> bool {
        self.progress.is_cut_off()
    }

    /// Finds out, and again at each call, whether this process alone is cut off: nothing of it was acknowledged for
    /// `patience`, and yet what it has reserved leaves the outboxes, which only the acknowledgement of another process
    /// does. While Kafka is away for everybody nothing leaves them, and what waits there, of whatever process, becomes old
    /// (`oldest`): then this process goes on accepting like all others.
    pub async fn judge(&self, stock: &Stock, oldest: Duration, patience: Duration, grace: Duration) -> bool {
        if let Some((code, entry)) = self.progress.suspicion(Instant::now(), patience) {
            match others_publish(stock, &code, &entry).await {
                Ok(true) if oldest < patience => {
                    self.progress.others_publish(entry.request_id, Instant::now(), grace);
                }
                Ok(_) => self.progress.nobody_publishes(),
                Err(error) => tracing::debug!(error = %chain(&error), "whether others publish cannot be seen now"),
            }
        }
        self.is_cut_off()
    }
}

/// Whether another process has published it: its promise is gone, and its member still holds the coupon by it. Data that
/// Redis has lost, or that went with a campaign, has neither.
async fn others_publish(stock: &Stock, code: &CouponCode, entry: &OutboxEntry) -> Result<bool, StockError> {
    // The mark is read last: what goes with its promise must not look as if the promise alone had gone.
    if stock.is_pending(code, entry).await? {
        return Ok(false);
    }
    let marks = stock.marks_of(code, &[entry.member_id.as_str()]).await?;
    Ok(marks == [Some(entry.request_id.to_string())])
}

/// One publication, from the queue to the deletion of its promise; a stop waits for it.
#[derive(Debug)]
pub struct Flight {
    request_id: RequestId,
    progress: Arc<Progress>,
    _piece: Piece,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.progress.end(self.request_id);
    }
}
