//! Deleting promises from the outbox once Kafka has acknowledged their events, many at a time.

use std::{collections::HashMap, time::Duration};

use coupon_core::{
    ids::CouponCode,
    retry::Backoff,
    runtime::{Tasks, chain},
    stock::{OutboxEntry, Stock},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::Instant,
};

use crate::publish::{Acknowledged, Flight};

/// Most promises of one round.
const BATCH: usize = 512;
/// How long a round waits for company. Members wait with it: what is told as accepted must not be found waiting by who asks
/// next.
const COMPANY: Duration = Duration::from_millis(2);
/// How long a deletion is repeated while Redis is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the deletion; it ends with the stop of `tasks`, which has to come after what was acknowledged is deleted.
pub fn spawn(stock: Stock, tasks: &Tasks) -> UnboundedSender<Acknowledged> {
    let (sender, receiver) = unbounded_channel();
    tasks.spawn_until_stop("acknowledgements", work(stock, receiver));
    sender
}

async fn work(stock: Stock, mut receiver: UnboundedReceiver<Acknowledged>) {
    let mut round = Vec::with_capacity(BATCH);
    while let Some(first) = receiver.recv().await {
        round.push(first);
        tokio::time::sleep(COMPANY).await;
        while round.len() < BATCH
            && let Ok(next) = receiver.try_recv()
        {
            round.push(next);
        }
        let mut by_coupon: HashMap<CouponCode, Deletion> = HashMap::new();
        for Acknowledged { code, entry, flight, told } in round.drain(..) {
            let deletion = by_coupon.entry(code).or_default();
            deletion.entries.push(entry);
            deletion.waiting.push((flight, told));
        }
        for (code, Deletion { entries, waiting }) in by_coupon {
            let is_deleted = delete(&stock, &code, &entries).await;
            for (flight, told) in waiting {
                drop(flight);
                if is_deleted {
                    // Whoever asked may be gone.
                    let _ = told.send(());
                }
            }
        }
    }
    // Whoever publishes is gone before the stop of this task begins: that is no end of its own.
    std::future::pending::<()>().await;
}

/// Entries of one campaign, and who waits until they are deleted.
#[derive(Default)]
struct Deletion {
    entries: Vec<OutboxEntry>,
    waiting: Vec<(Flight, oneshot::Sender<()>)>,
}

/// Whether they are deleted.
async fn delete(stock: &Stock, code: &CouponCode, entries: &[OutboxEntry]) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let end = Instant::now() + PATIENCE;
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
