//! Publishing reservations: at once by the handlers, again by the relay, and never the same one by both at a time.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    event::CouponIssued,
    ids::{CouponCode, RequestId},
    kafka::{PublishError, Publisher},
    runtime::{TraceParent, chain},
    stock::{OutboxEntry, Stock, StockError},
};
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    time::Instant,
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{detached::Detached, in_flight::InFlight};

/// Publishes events and hands the acknowledged ones on for deletion from the outbox. Clones share everything.
#[derive(Clone)]
pub struct Publishing {
    publisher: Publisher,
    /// What this process is publishing.
    pub(crate) in_flight: Arc<InFlight>,
    acknowledged: UnboundedSender<Acknowledged>,
    detached: Detached,
}

/// Told when Kafka has acknowledged an event and its outbox entry is deleted, so that nobody who asks afterwards, whatever
/// process, finds the entry waiting. Silence proves nothing; the record may have arrived.
pub type Acknowledgement = oneshot::Receiver<()>;

/// An event that Kafka has acknowledged.
#[derive(Debug)]
pub struct Acknowledged {
    /// The campaign.
    pub code: CouponCode,
    /// The outbox entry of the event.
    pub entry: OutboxEntry,
    /// Kept until the entry is deleted, so that the relay leaves it alone meanwhile.
    pub guard: InFlightGuard,
    /// Told when the entry is deleted.
    pub deleted: oneshot::Sender<()>,
}

impl Publishing {
    /// Over one client of Kafka; what is acknowledged goes to `acknowledged`.
    pub fn new(publisher: Publisher, acknowledged: UnboundedSender<Acknowledged>, detached: Detached) -> Self {
        metrics::counter!("coupon_publish_failures_total").increment(0);
        Self { publisher, in_flight: Arc::default(), acknowledged, detached }
    }

    /// Publishes an event that is in the outbox; no client can cancel what follows from the acknowledgement. `None`: this
    /// process is publishing the event already. An error: the event is not even queued, and the relay tries again. The trace
    /// context of the request goes along; the outbox has none, so what the relay publishes carries none.
    pub fn start(
        &self,
        event: &CouponIssued,
        trace: Option<TraceParent>,
    ) -> Result<Option<Acknowledgement>, PublishError> {
        let (code, entry) = (event.coupon_code.clone(), OutboxEntry::of(event));
        if !self.in_flight.begin(&code, &entry, Instant::now()) {
            return Ok(None);
        }
        let guard = InFlightGuard {
            request_id: entry.request_id,
            in_flight: Arc::clone(&self.in_flight),
            _work: self.detached.begin(),
        };
        let (deleted, acknowledgement) = oneshot::channel();
        let acknowledged = self.acknowledged.clone();
        let queued = self.publisher.publish(event, trace, move |delivered| match delivered {
            Ok(_) => {
                guard.in_flight.acknowledged(guard.request_id, Instant::now());
                // During a stop the deletion may be gone: the relay repeats it.
                let _ = acknowledged.send(Acknowledged { code, entry, guard, deleted });
            }
            Err(error) => {
                guard.in_flight.failed(guard.request_id, Instant::now());
                metrics::counter!("coupon_publish_failures_total").increment(1);
                tracing::debug!(error = %chain(&error), request_id = %entry.request_id, "a publication was not acknowledged");
            }
        });
        match queued {
            Ok(()) => Ok(Some(acknowledgement)),
            Err(error) => {
                self.in_flight.refused(event.coupon_code.clone(), OutboxEntry::of(event), Instant::now());
                metrics::counter!("coupon_publish_failures_total").increment(1);
                Err(error)
            }
        }
    }

    /// Checks whether this process alone is cut off from Kafka: nothing of it was acknowledged for `patience`, and yet the
    /// entries that it has made leave the outboxes, which takes the acknowledgement of another process. While Kafka is away
    /// for everybody nothing leaves the outboxes, and the entries there, of whatever process, become old (`oldest`): then
    /// this process goes on accepting like all others.
    pub async fn check_cut_off(&self, stock: &Stock, oldest: Duration, patience: Duration, grace: Duration) -> bool {
        if let Some((code, entry)) = self.in_flight.cut_off_evidence(Instant::now(), patience) {
            match others_publish(stock, &code, &entry).await {
                Ok(true) if oldest < patience => {
                    self.in_flight.others_publish(entry.request_id, Instant::now(), grace);
                }
                Ok(_) => self.in_flight.nobody_publishes(),
                Err(error) => tracing::debug!(error = %chain(&error), "whether others publish cannot be seen now"),
            }
        }
        self.in_flight.is_cut_off()
    }
}

/// Whether another process has published the event of an entry: the entry is gone, and its member still holds the coupon by
/// its request. Data that Redis has lost, or that went with a campaign, has neither.
async fn others_publish(stock: &Stock, code: &CouponCode, entry: &OutboxEntry) -> Result<bool, StockError> {
    // The holder entry is read last: where both have gone, it must not look as if the outbox entry alone had.
    if stock.are_pending(code, std::slice::from_ref(entry)).await? == [true] {
        return Ok(false);
    }
    let holders = stock.holders_of(code, &[entry.member_id.as_str()]).await?;
    Ok(holders == [Some(entry.request_id.to_string())])
}

/// Keeps a publication in flight, from the queue to the deletion of the outbox entry; a stop waits for it.
#[derive(Debug)]
pub struct InFlightGuard {
    request_id: RequestId,
    in_flight: Arc<InFlight>,
    _work: TaskTrackerToken,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.in_flight.end(self.request_id);
    }
}
