//! Deleting outbox entries once Kafka has acknowledged their events, many at a time.

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

use crate::publish::{Acknowledged, InFlightGuard};

/// Most entries deleted together.
const MAX_BATCH_ENTRIES: usize = 512;
/// How long a batch waits for more entries. Members wait as long: no process may find the entry of a request that a member
/// was told is accepted.
const BATCH_WINDOW: Duration = Duration::from_millis(2);
/// How long a deletion is retried while Redis is away.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts the deletion, which ends with the stop of `tasks`: that stop has to come once the acknowledged entries are deleted.
pub fn spawn(stock: Stock, tasks: &Tasks) -> UnboundedSender<Acknowledged> {
    let (sender, receiver) = unbounded_channel();
    tasks.spawn_until_stop("acknowledgements", work(stock, receiver));
    sender
}

async fn work(stock: Stock, mut receiver: UnboundedReceiver<Acknowledged>) {
    let mut batch = Vec::with_capacity(MAX_BATCH_ENTRIES);
    while let Some(first) = receiver.recv().await {
        batch.push(first);
        tokio::time::sleep(BATCH_WINDOW).await;
        while batch.len() < MAX_BATCH_ENTRIES
            && let Ok(next) = receiver.try_recv()
        {
            batch.push(next);
        }
        let mut by_coupon: HashMap<CouponCode, Deletion> = HashMap::new();
        for Acknowledged { code, entry, guard, deleted } in batch.drain(..) {
            let deletion = by_coupon.entry(code).or_default();
            deletion.entries.push(entry);
            deletion.waiting.push((guard, deleted));
        }
        for (code, Deletion { entries, waiting }) in by_coupon {
            let is_deleted = delete(&stock, &code, &entries).await;
            for (guard, deleted) in waiting {
                drop(guard);
                if is_deleted {
                    // The client may have hung up.
                    let _ = deleted.send(());
                }
            }
        }
    }
    // All that publish are gone before the stop of this task begins: the task has not ended by itself.
    std::future::pending::<()>().await;
}

/// Entries of one campaign, and what waits until they are deleted.
#[derive(Default)]
struct Deletion {
    entries: Vec<OutboxEntry>,
    waiting: Vec<(InFlightGuard, oneshot::Sender<()>)>,
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
