//! Deleting outbox entries once Kafka has acknowledged their events: at once while few are acknowledged, many at a time under
//! load.
//!
//! No deletion waits for a clock, because the member waits as long: no process may find the entry of a request that a member was
//! told is accepted. Each campaign has one deletion on its way, and what is acknowledged meanwhile is its next one.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    retry::Backoff,
    runtime::{Tasks, chain},
    stock::{OutboxEntry, Stock},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::Instant,
};

use crate::{
    batches::Batches,
    publish::{Acknowledged, InFlightGuard},
};

/// Most entries deleted together.
const MAX_BATCH_ENTRIES: usize = 512;
/// How long a deletion is retried while Redis is away.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts the deletion, which ends with the stop of `tasks`: that stop has to come once the acknowledged entries are deleted.
pub fn spawn(stock: Stock, tasks: &Tasks) -> UnboundedSender<Acknowledged> {
    let (sender, receiver) = unbounded_channel();
    tasks.spawn_until_stop("acknowledgements", work(stock, receiver));
    sender
}

async fn work(stock: Stock, mut receiver: UnboundedReceiver<Acknowledged>) {
    let mut arrived = Vec::with_capacity(MAX_BATCH_ENTRIES);
    let mut batches = Batches::new(MAX_BATCH_ENTRIES);
    let (mut deletions, mut is_open) = (FuturesUnordered::new(), true);
    loop {
        tokio::select! {
            received = receiver.recv_many(&mut arrived, MAX_BATCH_ENTRIES), if is_open => {
                is_open = received > 0;
                for acknowledged in arrived.drain(..) {
                    let Acknowledged { code, entry, guard, deleted } = acknowledged;
                    batches.add(&code, (entry, (guard, deleted)));
                }
                while let Some((code, batch)) = batches.next_idle() {
                    deletions.push(settle(&stock, code, batch));
                }
            }
            Some(code) = deletions.next() => {
                if let Some(batch) = batches.next_of(&code) {
                    deletions.push(settle(&stock, code, batch));
                }
            }
            // All that publish are gone before the stop of this task begins: the task has not ended by itself.
            else => std::future::pending::<()>().await,
        }
    }
}

/// Kept until an entry is deleted, and told then.
type Waiting = (InFlightGuard, oneshot::Sender<()>);

/// Deletes entries of one campaign, and tells whoever waits for that. Returns the campaign.
async fn settle(stock: &Stock, code: CouponCode, batch: Vec<(OutboxEntry, Waiting)>) -> CouponCode {
    let (entries, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let is_deleted = delete(stock, &code, &entries).await;
    for (guard, deleted) in waiting {
        drop(guard);
        if is_deleted {
            // The client may have hung up.
            let _ = deleted.send(());
        }
    }
    code
}

/// Deletes entries, again and again while Redis is away; `false` when they stay.
async fn delete(stock: &Stock, code: &CouponCode, entries: &[OutboxEntry]) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let end = Instant::now() + RETRY_TIMEOUT;
    while let Err(error) = stock.acknowledge(code, entries).await {
        if Instant::now() >= end {
            // The relay finds them and publishes them again, which changes nothing downstream.
            tracing::debug!(error = %chain(&error), entries = entries.len(), "acknowledged promises stay in the outbox for the relay");
            return false;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    true
}
